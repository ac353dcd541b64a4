with wanted as (
    select unnest($1::text[]) as key
    union
    select key from gateway_charges where id = any($2::text[])
    union
    select c.key from gateway_refunds r join gateway_charges c on c.id = r.charge_id where r.key = any($3::text[])
    union
    select c.key from gateway_acts a join gateway_charges c on c.id = a.charge_id where a.id = any($4::text[])
    union
    select key from gateway_charges where decide_at <= statement_timestamp()
)
select
    t.now as "now!",
    k.key as "key?",
    k.amount as "asked_amount?",
    k.currency as "asked_currency?",
    k.payment_method as "asked_payment_method?",
    k.charge_calls as "charge_calls?",
    k.lookup_calls as "lookup_calls?",
    k.closed as "closed?",
    c.id as "charge_id?",
    c.status as "status?",
    c.amount as "amount?",
    c.currency as "currency?",
    c.reference as "reference?",
    c.decline_code as "decline_code?",
    c.decide_at as "decide_at?",
    c.created_at as "created_at?"
from (select statement_timestamp() as now) t
left join (wanted join gateway_keys k using (key)) on true
left join gateway_charges c on c.key = k.key
order by k.key, c.created_at, c.id
