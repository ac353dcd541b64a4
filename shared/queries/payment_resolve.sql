-- The event `released`, the one decision that needs no look: a person gives a held payment back to the machine. Fenced by its version: of two
-- who decide about the same version one wins. Nobody does so while a decision about it is being checked at the gateway.
-- Status, event, job and the end of its breaks are one statement.
-- What is looked at first is so no more, unless a charge of a forgotten payment stands under its key: then a look is all there is.
with mine as materialized (
    select id, look_first and exists (select from orphans o
                                       where o.key = p.gateway_key and o.adopted_by is null) as looks_first
      from payments p
     where id = $1 and version = $2 and held_reason is not null and terminal_at is null
       and p.created_at >= (select own_since from installation)
       and not exists (select from decisions d where d.payment_id = p.id and d.ended_at is null)
       for no key update
),
stamped as materialized (
    select id, looks_first, clock_timestamp() as at from mine
),
moved as (
    update payments p
       set status = 'processing', version = p.version + 1, due_at = s.at, held_reason = null, look_first = s.looks_first,
           updated_at = s.at
      from stamped s
     where p.id = s.id
    returning p.id, p.version, p.gateway, p.due_at, p.correlation_id, s.looks_first, s.at
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, due_at, correlation_id, at)
    select id, version, 'released', 'processing', 'processing', $3,
           $4::jsonb || case when looks_first then '{"look_first": true}'::jsonb else '{}'::jsonb end, due_at, correlation_id, at from moved
),
queued as (
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select j.id, $7, job_for(j.job, m.gateway), 'Pending', 0, 1, now(), 0, ''::hstore, m.id || ':' || m.version
      from moved m
     cross join unnest($5::text[], $6::bytea[]) as j (id, job)
        on conflict (job_type, idempotency_key) do nothing
),
closed as (
    update breaks b
       set closed_at = m.at, closed_by = $8, closed_reason = $9
      from moved m
     where b.payment_id = m.id and b.closed_at is null
),
unburied as (
    update dead_letters l
       set closed_at = m.at, closed_by = $8, closed_reason = $9, closed_as = 'replayed'
      from moved m
     where l.payment_id = m.id and l.closed_at is null
)
select version from moved
