-- The right to ask the gateway once about one operation: whoever locks the row first gets it. What was never sent, or surely did not
-- happen, may be sent. All else may have happened, and its claim may look: doubt sticks.
with due as materialized (
    select o.id, o.may_send and o.claim_token is null as may_send, o.claim_token is not null as lease_expired, o.due_at
      from operations o
     where o.gateway = $3
       -- What this program knows. Another kind is for another program.
       and o.kind = 'refund'
       and (o.due_at <= clock_timestamp())
       and o.status = 'pending'
       and o.held_reason is null
       and (select may_claim())
       and exists (select from payments p where p.id = o.payment_id and p.created_at >= (select own_since from installation))
     order by o.due_at, o.id
     limit 1
       for no key update of o skip locked
),
stamped as materialized (
    select *, clock_timestamp() as at from due
),
claimed as (
    update operations o
       set version = o.version + 1,
           claim_token = $1,
           due_at = s.at + $2::bigint * interval '1 millisecond',
           may_send = false,
           takeover_count = case when s.lease_expired then o.takeover_count + 1 else 0 end,
           attempt_count = o.attempt_count + s.may_send::int,
           verify_count = case when s.may_send then 0 else o.verify_count end,
           not_found_count = case when s.may_send then 0 else o.not_found_count end,
           first_sent_at = coalesce(o.first_sent_at, case when s.may_send then s.at end),
           send_by = case when s.may_send then s.at + $4::bigint * interval '1 millisecond' else o.send_by end,
           in_doubt = o.in_doubt or not s.may_send,
           doubt_since = coalesce(o.doubt_since, case when not s.may_send then s.at end),
           updated_at = s.at
      from stamped s
     where o.id = s.id
    returning o.*, s.may_send as sends, s.lease_expired, s.at
),
logged as (
    insert into operation_events (operation_id, version, type, reason, evidence, claim_token, due_at, at)
    select id, version,
           case when sends then 'attempt_started' when lease_expired then 'taken_over' else 'verifying' end,
           case when sends then 'due' when lease_expired then 'worker_lost' else 'verify_due' end,
           jsonb_build_object('send_by', send_by, 'worker', $5::text), claim_token, due_at, at
      from claimed
)
select id, payment_id, amount, currency, gateway_key as "gateway_key!", charge_id, correlation_id, sends as "sends!", in_doubt, takeover_count,
       retries_spent, delay_count, verify_count, not_found_count,
       (extract(epoch from at - created_at) * 1000)::bigint as "age_ms!",
       (extract(epoch from coalesce(at - doubt_since, '0')) * 1000)::bigint as "doubt_age_ms!",
       (extract(epoch from at - coalesce(first_sent_at, created_at)) * 1000)::bigint as "first_sent_age_ms!",
       (extract(epoch from greatest(at - coalesce(send_by, created_at), '0')) * 1000)::bigint as "send_by_age_ms!"
  from claimed
