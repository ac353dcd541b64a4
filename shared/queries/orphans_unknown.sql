-- Keys at the gateway, of effects after $2, under which a charge stands and which are no payment's; with $3 also those that are
-- known as such: kept before, or told in a break. What stands is what was charged less what was given back, charge by charge.
with touched as materialized (
    select distinct key from gateway_effects where gateway = $1 and seq > $2
),
standing as materialized (
    select key, sum(net) as amount, min(currency) filter (where net <> 0) as currency,
           min(charge_id) filter (where net <> 0) as charge_id, min(reference) filter (where net <> 0) as reference
      from (select e.key, charge_id, min(currency) as currency, min(reference) as reference,
                   sum(case kind when 'charge' then amount else -amount end) as net
              from gateway_effects e
              join touched on touched.key = e.key
             where e.gateway = $1
             group by e.key, charge_id) as by_charge
     group by key
    having bool_or(net <> 0)
),
named as materialized (
    select standing.*,
           case when key ~ '^pay_[0-9a-f]{32}$' then substr(key, 5)::uuid end as id_of_key,
           case when reference ~ '^pay_[0-9a-f]{32}$' then substr(reference, 5)::uuid end as id_of_reference
      from standing
),
strange as materialized (
    select *
      from named n
     where not exists (select from payments p where p.id = n.id_of_key and p.gateway = $1 and p.gateway_key is null)
       and not exists (select from payments p where p.id = n.id_of_reference and p.gateway = $1 and p.gateway_key = n.key)
       and ($3 or not exists (select from orphans o where o.gateway = $1 and o.key = n.key))
       and ($3 or not exists (select from breaks b where b.subject = key_subject($1, n.key) and b.kind in ('orphan', 'charge_unknown')))
)
select key as "key!", reference, charge_id as "charge_id!", amount as "amount!", currency as "currency!",
       (select jsonb_agg(jsonb_build_object('seq', seq, 'kind', kind, 'charge_id', e.charge_id, 'amount', e.amount::text,
                                            'currency', e.currency, 'reference', e.reference, 'at', at)
                         order by seq)
          from gateway_effects e where e.gateway = $1 and e.key = s.key) as "effects!"
  from strange s
 -- Whoever has that key, under whatever name it was charged. No index has it, so all payments are read, once.
 where not exists (select from payments p where p.gateway = $1 and p.gateway_key = s.key)
 order by key
