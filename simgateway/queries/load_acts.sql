select id, charge_id, status, amount, currency, created_at
from gateway_acts
where charge_id = any($1)
order by created_at, id
