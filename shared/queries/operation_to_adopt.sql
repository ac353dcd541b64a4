-- Refunds of these payments in the copy of a gateway's journal that do not stand here. Each is adopted by itself, which decides.
select e.seq, p.id as payment_id
  from payments p
  join gateway_effects e
    on e.gateway = p.gateway and e.key = coalesce(p.gateway_key, 'pay_' || replace(p.id::text, '-', ''))
 where p.id = any($2) and p.gateway = $1 and p.status = 'succeeded'
   and e.kind = 'refund' and e.act_id is not null and not is_operation(e)
 order by p.id, e.seq
