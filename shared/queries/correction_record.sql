-- What became of a correction, fenced by the claim's token: posted together with its transfer and the end of the breaks that it
-- explains, or refused. May be repeated.
with mine as materialized (
    select c.id, c.payment_id, c.approved_by, c.proposed_by, c.reason, c.looks, p.merchant_id, p.gateway, p.currency,
           clock_timestamp() as at
      from corrections c
      join payments p on p.id = c.payment_id
     where c.id = $1 and c.token = $2 and c.ended_at is null
       for no key update of c
),
recorded as (
    update corrections c
       set ended_at = case when $3::text is not null then m.at end,
           outcome = $3,
           refusal = $4,
           seen = $5,
           look = $6,
           delta = case when $3 = 'posted' then $7::numeric end,
           -- What is not clear yet is looked at again.
           token = case when $3 is not null then c.token end,
           due_at = case when $3 is null then m.at + c.looks * interval '1 second' end
      from mine m
     where c.id = m.id
    returning c.outcome
),
posted as (
    -- An account that is missing is a null here, which the table refuses. What is taken back moves the other way round.
    insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id,
                                  created_at)
    select m.payment_id,
           case when $7 > 0 then a.gateway_side else a.merchant_side end,
           case when $7 > 0 then a.merchant_side else a.gateway_side end,
           abs($7), m.currency, 'correction_' || m.id, m.payment_id, m.at
      from mine m
     cross join lateral (
           select (select id from ledger_accounts a
                    where a.kind = $8 and a.currency = m.currency and a.merchant_id is null
                      and a.gateway = m.gateway) as gateway_side,
                  (select id from ledger_accounts a
                    where a.kind = $9 and a.currency = m.currency and a.merchant_id = m.merchant_id
                      and a.gateway = 'default') as merchant_side) a
     where $3 = 'posted' and $7 <> 0
),
closed as (
    update breaks b
       set closed_at = m.at, closed_by = m.approved_by, closed_reason = 'correction ' || m.id || ': ' || m.reason
      from mine m
     where $3 = 'posted'
       and b.payment_id = m.payment_id
       and b.closed_at is null
       -- Those that were open when it was compared, of the kinds that it explains.
       and b.id <= $10
       and b.kind in ('missing_at_gateway', 'charge_differs', 'charge_denied', 'unproven_refuted')
)
select exists (select from recorded) as "took_effect!",
       exists (select from corrections where id = $1 and token = $2 and ended_at is not null) as "was_recorded!"
