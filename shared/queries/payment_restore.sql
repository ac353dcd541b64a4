-- A payment that is not over came back with a restored database: what the gateway has of it is not known. It is looked at before
-- anything else, however young it is, and no answer of before counts. A void that had started stays started. Whoever holds a
-- claim on it settles too late. Fenced by its version.
with mine as materialized (
    select p.id, p.status as from_status, w.job_id, w.job, clock_timestamp() as at
      from unnest($1::uuid[], $2::int[], $3::text[], $4::bytea[]) as w (id, version, job_id, job)
      join payments p on p.id = w.id and p.version = w.version
     where p.terminal_at is null and p.status <> 'in_review'
     order by p.id
       for no key update of p
),
moved as (
    update payments p
       set status = 'processing', version = p.version + 1, claim_token = null, look_first = true, in_doubt = true,
           doubt_since = m.at, first_sent_at = least(p.first_sent_at, p.created_at),
           send_by = m.at + $5::bigint * interval '1 millisecond', takeover_count = 0, verify_count = 0, not_found_count = 0,
           left_nothing_at = null, due_at = case when p.held_reason is null then m.at end, updated_at = m.at
      from mine m
     where p.id = m.id
    returning p.id, p.version, p.gateway, p.due_at, p.first_sent_at, p.send_by, p.correlation_id, m.from_status, m.at, m.job_id, m.job
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, evidence, due_at, correlation_id, at)
    select id, version, 'restored', from_status, 'processing',
           jsonb_build_object('epoch', $6::int, 'by', $7::text, 'send_by', send_by, 'first_sent_at', first_sent_at),
           due_at, correlation_id, at
      from moved
),
queued as (
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select job_id, $8, job_for(job, gateway), 'Pending', 0, 1, now(), 0, ''::hstore, id || ':' || version
      from moved
     where due_at is not null
        on conflict (job_type, idempotency_key) do nothing
)
select count(*) as "count!" from moved
