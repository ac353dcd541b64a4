select c.id, c.key, c.status, c.amount, c.currency, c.reference, c.created_at, k.payment_method
from gateway_charges c
join gateway_keys k using (key)
where c.id > $1 and c.status in ('pending', 'succeeded', 'failed', 'voided')
order by c.id
limit $2
