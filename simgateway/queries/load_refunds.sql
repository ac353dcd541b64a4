select id, key, charge_id, status, amount, currency, reference, refusal_code, calls, created_at
from gateway_refunds
where charge_id = any($1)
order by created_at, id
