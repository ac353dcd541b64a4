-- What was done to the charges of these payments, by the copy of a gateway's journal, and does not stand here. Each is adopted by itself, which decides.
select e.seq, p.id as payment_id
  from payments p
  join gateway_effects e
    on e.gateway = p.gateway and e.key = coalesce(p.gateway_key, 'pay_' || replace(p.id::text, '-', ''))
 where p.id = any($2) and p.gateway = $1 and p.status = 'succeeded'
   and e.kind not in ('charge', 'void') and e.act_id is not null and not is_operation(e)
 order by p.id, e.seq
