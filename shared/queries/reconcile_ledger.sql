-- Payments beside their ledger transfers: each that succeeded has exactly those that the rules name, of what is owed and
-- between the right accounts, every other payment has none, and each correction that was posted has one of what it changed. A
-- transfer of no payment cannot be. Payment by payment: whatever is joined to a page without an index is read once for each
-- of its rows.
with page as materialized (
    select id, merchant_id, gateway, case when from_balance then 'paid from a balance' else status end as status, amount, currency
      from payments where id = any($1)
),
rules as materialized (
    -- The event that moves money and the status that it leads to have one name.
    select *
      from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as r (status, debit_kind, credit_kind, code)
)
select p.id as "payment_id!", o.kind as "kind!",
       jsonb_build_object('payment', to_jsonb(p) - 'gateway', 'transfer', o.transfer) as "detail!"
  from page p
 cross join lateral (
    with founded as (
        select p.amount, r.debit_kind, r.credit_kind, r.code from rules r where r.status = p.status
         union all
        -- What is taken back moves the other way round.
        select abs(c.delta), case when c.delta > 0 then r.debit_kind else r.credit_kind end,
               case when c.delta > 0 then r.credit_kind else r.debit_kind end, 'correction_' || c.id
          from corrections c
          join rules r on r.status = 'succeeded'
         where c.payment_id = p.id and c.outcome = 'posted' and c.delta <> 0
    )
    select case when t.id is null then 'transfer_missing' else 'transfer_differs' end as kind, to_jsonb(t) as transfer
      from founded r
      left join ledger_transfers t on t.payment_id = p.id and t.code = r.code
      left join ledger_accounts debit on debit.id = t.debit_account_id
      left join ledger_accounts credit on credit.id = t.credit_account_id
     where (t.amount, t.currency) is distinct from (r.amount, p.currency)
        -- The merchant's account, or that of the house for the payment's gateway.
        or (debit.kind, debit.currency, coalesce(debit.merchant_id, p.merchant_id),
            case when debit.merchant_id is null then debit.gateway else p.gateway end)
           is distinct from (r.debit_kind, p.currency, p.merchant_id, p.gateway)
        or (credit.kind, credit.currency, coalesce(credit.merchant_id, p.merchant_id),
            case when credit.merchant_id is null then credit.gateway else p.gateway end)
           is distinct from (r.credit_kind, p.currency, p.merchant_id, p.gateway)
     union all
    select 'transfer_unfounded', to_jsonb(t)
      from ledger_transfers t
     where t.payment_id = p.id and not exists (select from founded r where r.code = t.code)
) o
