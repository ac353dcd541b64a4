-- Payments that had ended when the gateway's journal was copied, beside what moved money at the gateway under their keys:
-- one charge of what is owed for each that succeeded, nothing for the others. Whatever led to an end was in the journal
-- before it, so the copy has it. Of one that was corrected, what its last correction says, once the copy is younger than that.
-- A charge stands as far as it was not given back, be it by voids or by refunds.
with ended as materialized (
    select p.id, p.status, p.amount, p.currency, 'pay_' || replace(p.id::text, '-', '') as key,
           coalesce(c.amount, case when p.status = 'succeeded' then p.amount else 0 end) as expected,
           c.id is not null as is_corrected,
           exists (select from decisions d where d.payment_id = p.id and d.is_unproven and d.outcome = 'done') as is_unproven
      from payments p
      left join lateral (
            select id, amount, ended_at from corrections c
             where c.payment_id = p.id and c.outcome = 'posted'
             order by c.id desc limit 1) c on true
     where p.id = any($2) and p.terminal_at <= $3 and (c.ended_at is null or c.ended_at <= $3)
),
beside as materialized (
    select ended.*, e.charges, e.taken, o.is_other, o.effects, o.charge_id
      from ended
     cross join lateral (
        select count(*) filter (where net > 0) as charges, coalesce(sum(net), 0) as taken
          from (select sum(case kind when 'charge' then amount else -amount end) as net
                  from gateway_effects e
                 where e.gateway = $1 and e.key = ended.key
                 group by e.charge_id) by_charge) e
     cross join lateral (
        select coalesce(bool_or(e.currency <> ended.currency or e.reference is distinct from ended.key), false) as is_other,
               coalesce(jsonb_agg(jsonb_build_object('seq', seq, 'kind', kind, 'charge_id', charge_id, 'amount', amount::text,
                                                     'currency', e.currency, 'reference', reference, 'at', at)
                                  order by seq), '[]') as effects,
               case when count(distinct charge_id) = 1 then min(charge_id) end as charge_id
          from gateway_effects e
         where e.gateway = $1 and e.key = ended.key) o
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
                          'gateway', effects)
       || case when is_corrected then jsonb_build_object('corrected_to', expected::text) else '{}' end
       -- As a late result names it: a person who has closed a break for that result has closed it for this one.
       || case when kind = 'charged_after_end' and charge_id is not null then jsonb_build_object('charge_id', charge_id)
               else '{}' end as "detail!"
  from judged
 where kind is not null
