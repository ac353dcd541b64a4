-- In a copy beside the original every payment that is not over belongs to the original: it is held here, for good. Fenced by its
-- version.
with mine as materialized (
    select p.id, clock_timestamp() as at
      from unnest($1::uuid[], $2::int[]) as w (id, version)
      join payments p on p.id = w.id and p.version = w.version
     where p.terminal_at is null and p.held_reason is null and p.status <> 'in_review'
     order by p.id
       for no key update of p
),
moved as (
    update payments p
       set status = 'processing', version = p.version + 1, claim_token = null, due_at = null, held_reason = 'restored',
           updated_at = m.at
      from mine m
     where p.id = m.id
    returning p.id, p.version, p.correlation_id, m.at
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at)
    select id, version, 'held', 'processing', 'processing', 'restored', $3, correlation_id, at from moved
),
opened as (
    insert into breaks (payment_id, kind, detail, opened_at)
    select id, 'restored', $3, at from moved
        on conflict (payment_id, kind) where closed_at is null do nothing
)
select count(*) as "count!" from moved
