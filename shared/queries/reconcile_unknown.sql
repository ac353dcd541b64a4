-- Keys under which something stands at the gateway that is no payment's. What is called by a payment's id is that payment's, if that
-- is its key, or of who adopted it; what is called by none is the payment's whose id is the key.
select k.key as "key!", e.effects as "effects!"
  from unnest($2::text[]) as k (key)
 cross join lateral (
        select sum(case kind when 'charge' then amount else -amount end) as taken,
               jsonb_agg(jsonb_build_object('seq', seq, 'kind', kind, 'charge_id', charge_id, 'amount', amount::text,
                                            'currency', currency, 'reference', reference, 'at', at)
                         order by seq) as effects
          from (select g.*,
                       case when g.reference ~ '^pay_[0-9a-f]{32}$' then substr(g.reference, 5)::uuid
                            when g.key ~ '^pay_[0-9a-f]{32}$' then substr(g.key, 5)::uuid end as payment_id
                  from gateway_effects g
                 where g.gateway = $1 and g.key = k.key and g.kind in ('charge', 'void', 'refund')) as g
         where not exists (select from payments p
                            where p.id = g.payment_id and p.gateway = $1
                              and coalesce(p.gateway_key, 'pay_' || replace(p.id::text, '-', '')) = g.key
                           offset 0)
           and not exists (select from orphans o
                            where o.gateway = $1 and o.key = g.key and o.adopted_by is not null
                              and o.reference is not distinct from g.reference)) as e
 where e.taken <> 0
   -- Of what is kept as an orphan a break tells already.
   and not exists (select from orphans o where o.gateway = $1 and o.key = k.key and o.adopted_by is null)
