-- Payments that had ended when the gateway's journal was copied, beside what moved money at the gateway under their keys:
-- one charge of what is owed for each that succeeded, nothing for the others. Whatever led to an end was in the journal
-- before it, so the copy has it. Of one that was corrected, what its last correction says, once the copy is younger than that.
-- Of one that is being corrected only what no correction explains: two people know of the rest, and its end is compared again.
-- A charge stands as far as it was not given back, be it by voids or by refunds. Refunds that stand here as operations are no
-- difference. One that is called by another payment's id is not
-- this one's, whatever its key, but where this one adopted it.
with ended as materialized (
    select p.id, p.status, p.amount, p.currency, coalesce(p.gateway_key, named.reference) as key, named.reference,
           (select o.reference from orphans o
             where o.gateway = $1 and o.key = coalesce(p.gateway_key, named.reference) and o.adopted_by = p.id) as adopted,
           coalesce(c.amount, case when p.status = 'succeeded' then p.amount else 0 end) as expected,
           c.id is not null as is_corrected,
           exists (select from corrections o
                    where o.payment_id = p.id and o.approved_at is not null and o.ended_at is null) as is_being_corrected,
           exists (select from decisions d where d.payment_id = p.id and d.is_unproven and d.outcome = 'done') as is_unproven
      from payments p
     cross join lateral (select 'pay_' || replace(p.id::text, '-', '') as reference) as named
      left join lateral (
            select id, amount, ended_at from corrections c
             where c.payment_id = p.id and c.outcome = 'posted'
             order by c.id desc limit 1) c on true
     where p.id = any($2) and (p.gateway = $1) is true and not p.from_balance and p.created_at >= (select own_since from installation) and p.terminal_at <= $3 and (c.ended_at is null or c.ended_at <= $3)
),
-- What moved under its key, by charge. What is said of it in full is read for those alone that differ.
beside as materialized (
    select ended.*, e.charges, e.taken, e.is_other
      from ended
     cross join lateral (
        select count(*) filter (where net > 0) as charges, coalesce(sum(net), 0) as taken,
               coalesce(bool_or(by_charge.is_other), false) as is_other
          from (select sum(case kind when 'charge' then amount else -amount end) as net,
                       bool_or(e.currency <> ended.currency
                               or (e.reference in (ended.reference, ended.adopted)) is not true) as is_other
                  from gateway_effects e
                 where e.gateway = $1 and e.key = ended.key and e.kind in ('charge', 'void', 'refund') and not is_operation(e)
                   and (e.reference in (ended.reference, ended.adopted) or (e.reference ~ '^pay_[0-9a-f]{32}$') is not true)
                 group by e.charge_id) by_charge) e
),
judged as (
    select *,
           case when charges > 1 and expected > 0 then 'charged_twice'
                when expected = 0 and (charges > 0 or taken <> 0)
                     then case when status = 'succeeded' then 'charge_differs' else 'charged_after_end' end
                when expected > 0 and charges = 0 then 'missing_at_gateway'
                when expected > 0 and (taken <> expected or is_other) then 'charge_differs'
           end as kind
      from beside
)
select id as "payment_id!", case when is_unproven and kind <> 'charged_twice' then 'unproven_refuted' else kind end as "kind!",
       jsonb_build_object('payment', jsonb_build_object('status', status, 'amount', amount::text, 'currency', currency),
                          'gateway', o.effects)
       || case when is_corrected then jsonb_build_object('corrected_to', expected::text) else '{}' end
       -- As a late result names it: a person who has closed a break for that result has closed it for this one.
       || case when kind = 'charged_after_end' and o.charge_id is not null then jsonb_build_object('charge_id', o.charge_id)
               else '{}' end as "detail!"
  from judged
 cross join lateral (
    select coalesce(jsonb_agg(jsonb_build_object('seq', seq, 'kind', e.kind, 'charge_id', e.charge_id, 'amount', e.amount::text,
                                                 'currency', e.currency, 'reference', e.reference, 'at', e.at)
                              order by seq), '[]') as effects,
           case when count(distinct e.charge_id) = 1 then min(e.charge_id) end as charge_id
      from gateway_effects e
     where e.gateway = $1 and e.key = judged.key
       and (e.reference in (judged.reference, judged.adopted) or (e.reference ~ '^pay_[0-9a-f]{32}$') is not true)) o
 where kind = 'charged_twice' or (kind is not null and not is_being_corrected)
