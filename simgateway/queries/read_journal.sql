select seq, at, kind, op, http_status, key, charge_id, amount, currency, reference, correlation_id, act_key, act_id
from gateway_journal
where seq > $1
order by seq
limit $2
