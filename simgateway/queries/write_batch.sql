with keys as (
    insert into gateway_keys (key, amount, currency, payment_method, charge_calls, lookup_calls, closed)
    select key, amount, currency, payment_method, charge_calls, lookup_calls, closed
    from unnest($1::text[], $2::numeric[], $3::text[], $4::text[], $5::integer[], $6::integer[], $7::boolean[])
        as t (key, amount, currency, payment_method, charge_calls, lookup_calls, closed)
    on conflict (key) do update set
        amount = excluded.amount,
        currency = excluded.currency,
        payment_method = excluded.payment_method,
        charge_calls = excluded.charge_calls,
        lookup_calls = excluded.lookup_calls,
        closed = excluded.closed
), charges as (
    insert into gateway_charges
        (id, key, status, amount, currency, reference, decline_code, decide_at, created_at)
    select id, key, status, amount, currency, reference, decline_code, decide_at, created_at
    from unnest($8::text[], $9::text[], $10::text[], $11::numeric[], $12::text[], $13::text[], $14::text[],
                $15::timestamptz[], $16::timestamptz[])
        as t (id, key, status, amount, currency, reference, decline_code, decide_at, created_at)
    on conflict (id) do update set
        status = excluded.status,
        decide_at = excluded.decide_at
), refunds as (
    insert into gateway_refunds
        (id, key, charge_id, status, amount, currency, reference, refusal_code, calls, created_at)
    select id, key, charge_id, status, amount, currency, reference, refusal_code, calls, created_at
    from unnest($27::text[], $28::text[], $29::text[], $30::text[], $31::numeric[], $32::text[], $33::text[],
                $34::text[], $35::integer[], $36::timestamptz[])
        as t (id, key, charge_id, status, amount, currency, reference, refusal_code, calls, created_at)
    on conflict (id) do update set
        status = excluded.status,
        refusal_code = excluded.refusal_code,
        calls = excluded.calls
), acts as (
    insert into gateway_acts (id, charge_id, status, amount, currency, created_at)
    select id, charge_id, status, amount, currency, created_at
    from unnest($39::text[], $40::text[], $41::text[], $42::numeric[], $43::text[], $44::timestamptz[])
        as t (id, charge_id, status, amount, currency, created_at)
    on conflict (id) do update set status = excluded.status
)
insert into gateway_journal
    (seq, at, kind, op, http_status, key, charge_id, amount, currency, reference, correlation_id, act_key, act_id)
select
    (select coalesce(max(seq), 0) from gateway_journal) + nth,
    $17, kind, op, http_status, key, charge_id, amount, currency, reference, correlation_id, act_key, act_id
from unnest($18::text[], $19::text[], $20::integer[], $21::text[], $22::text[], $23::numeric[], $24::text[],
            $25::text[], $26::text[], $37::text[], $38::text[])
    with ordinality
    as t (kind, op, http_status, key, charge_id, amount, currency, reference, correlation_id, act_key, act_id, nth)
order by nth
