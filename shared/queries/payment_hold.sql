-- The event `held`, without a claim: takes a payment that is not over out of the machine's hands, because its own history cannot be
-- right. Fenced by its version. Whoever holds a claim on it settles too late, and what that says is kept.
with mine as materialized (
    select id, status
      from payments p
     where id = $1 and version = $2 and terminal_at is null and held_reason is null and status <> 'in_review'
       -- Where later events stand already there is no place for this one, nor for any other: nothing moves it any more.
       and not exists (select from payment_events e where e.payment_id = p.id and e.version > p.version)
       for no key update
),
stamped as materialized (
    select id, status, clock_timestamp() as at from mine
),
moved as (
    update payments p
       set status = 'processing', version = p.version + 1, claim_token = null, due_at = null, held_reason = $3,
           updated_at = s.at
      from stamped s
     where p.id = s.id
    returning p.id, p.version, p.correlation_id, s.status as from_status, s.at
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at)
    select id, version, 'held', from_status, 'processing', $3, $4, correlation_id, at from moved
)
select version from moved
