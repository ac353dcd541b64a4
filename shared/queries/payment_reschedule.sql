-- The event `rescheduled`. What is due further away than any wait of ours got that time from a clock that was wrong, and is pulled near: payments,
-- jobs, and voids that breaks ask for. Each payment is as it was when it was found, or it is left alone.
-- A claim stays whoever's it is, who may settle it as before: it is due, for others to take over, when a lease from now is over.
-- Times of the payment that have not come yet are wrong too. It was sent and doubted by now, and nothing of it is sent later
-- than a lease from now.
with far as materialized (
    select p.id, p.due_at, w.job_id, w.job, clock_timestamp() as at
      from unnest($1::uuid[], $2::int[], $3::text[], $4::bytea[]) as w (id, version, job_id, job)
      join payments p on p.id = w.id and p.version = w.version
     where (p.due_at > now() + $5::bigint * interval '1 millisecond') is true
     order by p.id
       for no key update of p skip locked
),
moved as (
    update payments p
       set version = p.version + 1,
           due_at = case when p.claim_token is null then f.at else f.at + $6::bigint * interval '1 millisecond' end,
           first_sent_at = case when p.first_sent_at > f.at then f.at else p.first_sent_at end,
           doubt_since = case when p.doubt_since > f.at then f.at else p.doubt_since end,
           send_by = case when p.send_by > f.at + $6 * interval '1 millisecond'
                          then f.at + $6 * interval '1 millisecond' else p.send_by end,
           updated_at = f.at
      from far f
     where p.id = f.id
    returning p.id, p.status, p.version, p.gateway, p.due_at, p.claim_token, p.send_by, p.correlation_id, f.due_at as was_due_at, f.at,
              f.job_id, f.job
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, claim_token, due_at,
                                correlation_id, at)
    select id, version, 'rescheduled', status, status, 'due_too_far',
           jsonb_build_object('was_due_at', was_due_at, 'send_by', send_by), claim_token, due_at, correlation_id, at
      from moved
),
queued as (
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select job_id, $7, job_for(job, gateway), 'Pending', 0, 1, case when due_at <= at then now() else due_at end, 0, ''::hstore,
           id || ':' || version
      from moved
        on conflict (job_type, idempotency_key) do nothing
),
far_jobs as materialized (
    select id from apalis.jobs
     where job_type in ($7, $8)
       and (status = 'Pending' or status = 'Failed' and attempts < max_attempts)
       and run_at > now() + $5 * interval '1 millisecond'
     limit $9
       for update skip locked
),
pulled as (
    update apalis.jobs set run_at = now() where id = any(array(select id from far_jobs)) returning id
),
remedied as (
    update breaks
       set void_due_at = clock_timestamp() + case when void_token is null then 0 else $6 end * interval '1 millisecond'
     where kind = 'charged_after_end' and closed_at is null and void_ended_at is null
       and void_due_at > now() + $5 * interval '1 millisecond'
    returning id
)
select m.id as "id?", m.was_due_at as "was_due_at?", (select count(*) from pulled) as "jobs!",
       (select count(*) from remedied) as "remedies!"
  from (select) as always
  left join moved m on true
