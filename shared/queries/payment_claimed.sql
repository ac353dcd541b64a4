-- The claims that a statement with this token took, when its answer was lost. Ages as of the claim.
select p.id, p.merchant_id, p.amount::text as "amount!", p.currency, p.payment_method, p.correlation_id, p.gateway_key, e.at as "at!",
       e.type = 'attempt_started' and not p.look_first as "may_charge!", p.look_first as "looks_first!",
       e.type = 'taken_over' as "lease_expired!",
       case when p.gateway_key is not null
            then (abs(extract(epoch from p.created_at - (select returned_at from installation))) * 1000)::bigint
       end as from_a_return_ms,
       p.void_started_at is not null as "voiding!", coalesce(p.first_sent_at < e.at, false) and p.first_sent_at is distinct from p.left_nothing_at as "was_sent!",
       (select count(*) from payment_events n where n.payment_id = p.id) = p.version as "is_whole!",
       p.takeover_count as "takeovers!",
       coalesce((e.evidence ->> 'blamed')::bool, false) as "is_blamed!",
       p.in_doubt, p.retries_spent, p.delay_count, p.verify_count, p.not_found_count,
       (extract(epoch from coalesce(e.at - before.due_at, '0')) * 1000)::bigint as "delay_ms!",
       (extract(epoch from e.at - p.created_at) * 1000)::bigint as "age_ms!",
       (extract(epoch from coalesce(e.at - p.doubt_since, '0')) * 1000)::bigint as "doubt_age_ms!",
       (extract(epoch from e.at - coalesce(p.first_sent_at, p.created_at)) * 1000)::bigint as "first_sent_age_ms!",
       (extract(epoch from greatest(e.at - coalesce(p.send_by, p.created_at), '0')) * 1000)::bigint as "send_by_age_ms!",
       (extract(epoch from coalesce(e.at - p.void_started_at, '0')) * 1000)::bigint as "void_age_ms!"
  from payments p
  join payment_events e on e.payment_id = p.id and e.version = p.version
  join payment_events before on before.payment_id = p.id and before.version = p.version - 1
 where p.id = any($1) and p.claim_token = $2
   and (select may_claim())
   and p.created_at >= (select own_since from installation)
