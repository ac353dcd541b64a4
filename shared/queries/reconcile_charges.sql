-- Payments that had ended when the gateway's journal was copied, beside what moved money at the gateway under their keys:
-- one charge of what is owed for each that succeeded, nothing for the others. Whatever led to an end was in the journal
-- before it, so the copy has it.
with ended as materialized (
    select id, status, amount, currency, 'pay_' || replace(id::text, '-', '') as key
      from payments
     where id = any($2) and terminal_at <= $3
),
beside as materialized (
    select ended.*, e.charges, e.taken, e.is_other, e.effects, e.charge_id
      from ended
     cross join lateral (
        select coalesce(sum(case kind when 'charge' then 1 when 'void' then -1 else 0 end), 0) as charges,
               coalesce(sum(case kind when 'charge' then amount else -amount end), 0) as taken,
               coalesce(bool_or(e.currency <> ended.currency or e.reference is distinct from ended.key), false) as is_other,
               coalesce(jsonb_agg(jsonb_build_object('seq', seq, 'kind', kind, 'charge_id', charge_id, 'amount', amount::text,
                                                     'currency', e.currency, 'reference', reference, 'at', at)
                                  order by seq), '[]') as effects,
               case when count(distinct charge_id) = 1 then min(charge_id) end as charge_id
          from gateway_effects e
         where e.gateway = $1 and e.key = ended.key) e
),
judged as (
    select *,
           case when status <> 'succeeded' then case when charges > 0 or taken <> 0 then 'charged_after_end' end
                when charges = 0 then 'missing_at_gateway'
                when charges > 1 then 'charged_twice'
                when taken <> amount or is_other then 'charge_differs'
           end as kind
      from beside
)
select id as "payment_id!", kind as "kind!",
       jsonb_build_object('payment', jsonb_build_object('status', status, 'amount', amount::text, 'currency', currency),
                          'gateway', effects)
       -- As a late result names it: a person who has closed a break for that result has closed it for this one.
       || case when kind = 'charged_after_end' and charge_id is not null then jsonb_build_object('charge_id', charge_id)
               else '{}' end as "detail!"
  from judged
 where kind is not null
