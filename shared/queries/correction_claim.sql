-- The right to look at the gateway once for one correction that two people agree on. Not before our copy of the gateway's journal,
-- if there is one, is whole as of a moment after the approval: what stands is read from it.
with due as materialized (
    select c.id
      from corrections c
     where c.approved_at is not null
       and c.ended_at is null
       and (c.due_at is null or c.due_at <= clock_timestamp())
       and not exists (select from gateway_cursors g where g.gateway = $3 and g.whole_at < c.approved_at)
       and (select may_claim())
       and exists (select from payments own
                    where own.id = c.payment_id and (own.gateway = $3) is true and own.created_at >= (select own_since from installation))
     order by c.due_at nulls first, c.id
     limit 1
       for no key update of c skip locked
)
update corrections c
   set token = $1,
       due_at = clock_timestamp() + $2::bigint * interval '1 millisecond',
       looks = c.looks + 1
  from due, payments p
 where c.id = due.id and p.id = c.payment_id
returning c.id, c.payment_id, c.kind, c.amount, c.charge_id,
          p.amount as owed, p.currency, p.correlation_id, p.gateway_key,
          case when p.status = 'succeeded' then p.amount else 0 end
              + coalesce((select sum(o.delta) from corrections o
                           where o.payment_id = c.payment_id and o.outcome = 'posted'), 0) as "booked!",
          coalesce((select o.charge_id from corrections o
                     where o.payment_id = c.payment_id and o.outcome = 'posted' and o.charge_id is not null
                     order by o.id desc limit 1), p.gateway_transaction_id) as booked_charge,
          p.status = 'succeeded'
              or exists (select from decisions d
                          where d.payment_id = c.payment_id and d.is_unproven and d.outcome = 'done') as "may_be_charged!",
          exists (select from gateway_cursors g where g.gateway = $3 and g.whole_at is not null) as "has_journal!",
          coalesce((select jsonb_agg(jsonb_build_array(charge_id, net::text))
                      from (select e.charge_id, sum(case e.kind when 'charge' then e.amount else -e.amount end) as net
                              from gateway_effects e
                             where e.gateway = $3 and e.key = coalesce(p.gateway_key, 'pay_' || replace(c.payment_id::text, '-', ''))
                               and e.kind in ('charge', 'void', 'refund') and not is_operation(e)
                             group by e.charge_id) by_charge
                     where net <> 0), '[]') as "standing!",
          (select count(*) from gateway_effects e
            where e.gateway = $3 and e.key = coalesce(p.gateway_key, 'pay_' || replace(c.payment_id::text, '-', ''))) as "effects!",
          exists (select from gateway_effects e
                   where e.gateway = $3 and e.key = coalesce(p.gateway_key, 'pay_' || replace(c.payment_id::text, '-', ''))
                     and (e.currency <> p.currency or e.reference is distinct from 'pay_' || replace(c.payment_id::text, '-', '')
                          and not exists (select from orphans o
                                           where o.gateway = $3 and o.key = e.key and o.adopted_by = c.payment_id
                                             and o.reference = e.reference))) as "is_other!",
          coalesce((select max(b.id) from breaks b where b.payment_id = c.payment_id), 0) as "last_break!"
