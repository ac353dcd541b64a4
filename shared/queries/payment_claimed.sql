-- The claims that a statement with this token took, when its answer was lost. Ages as of the claim.
select p.id, p.merchant_id, p.amount::text as "amount!", p.currency, p.payment_method, p.correlation_id, e.at as "at!",
       e.type = 'attempt_started' as "may_charge!", e.type = 'taken_over' as "lease_expired!",
       p.void_started_at is not null as "voiding!", p.first_sent_at < e.at and p.first_sent_at is distinct from p.left_nothing_at as "was_sent!",
       (select count(*) from payment_events n where n.payment_id = p.id) = p.version as "is_whole!",
       p.takeover_count as "takeovers!",
       coalesce((e.evidence ->> 'blamed')::bool, false) as "is_blamed!",
       p.in_doubt, p.retries_spent, p.delay_count, p.verify_count, p.not_found_count,
       (extract(epoch from coalesce(e.at - before.due_at, '0')) * 1000)::bigint as "delay_ms!",
       (extract(epoch from e.at - p.created_at) * 1000)::bigint as "age_ms!",
       (extract(epoch from coalesce(e.at - p.doubt_since, '0')) * 1000)::bigint as "doubt_age_ms!",
       (extract(epoch from e.at - p.first_sent_at) * 1000)::bigint as "first_sent_age_ms!",
       (extract(epoch from greatest(e.at - p.send_by, '0')) * 1000)::bigint as "send_by_age_ms!",
       (extract(epoch from coalesce(e.at - p.void_started_at, '0')) * 1000)::bigint as "void_age_ms!"
  from payments p
  join payment_events e on e.payment_id = p.id and e.version = p.version
  join payment_events before on before.payment_id = p.id and before.version = p.version - 1
 where p.id = any($1) and p.claim_token = $2
