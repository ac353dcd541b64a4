-- Payments beside their ledger transfers: each that succeeded has exactly those that the rules name, of what is owed and
-- between the right accounts, every other payment has none, and each correction that was posted has one of what it changed. A
-- transfer of no payment cannot be.
with page as materialized (
    select id, merchant_id, status, amount, currency from payments where id = any($1)
),
rules as materialized (
    -- The event that moves money and the status that it leads to have one name.
    select *
      from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as r (status, debit_kind, credit_kind, code)
),
founded as materialized (
    select p.id, p.amount, r.debit_kind, r.credit_kind, r.code
      from page p
      join rules r on r.status = p.status
     union all
    -- What is taken back moves the other way round.
    select p.id, abs(c.delta), case when c.delta > 0 then r.debit_kind else r.credit_kind end,
           case when c.delta > 0 then r.credit_kind else r.debit_kind end, 'correction_' || c.id
      from page p
      join corrections c on c.payment_id = p.id and c.outcome = 'posted' and c.delta <> 0
      join rules r on r.status = 'succeeded'
)
select p.id as "payment_id!", case when t.id is null then 'transfer_missing' else 'transfer_differs' end as "kind!",
       jsonb_build_object('payment', to_jsonb(p), 'transfer', to_jsonb(t)) as "detail!"
  from page p
  join founded r on r.id = p.id
  left join ledger_transfers t on t.payment_id = p.id and t.code = r.code
  left join ledger_accounts debit on debit.id = t.debit_account_id
  left join ledger_accounts credit on credit.id = t.credit_account_id
 where (t.amount, t.currency) is distinct from (r.amount, p.currency)
    or (debit.kind, debit.currency, coalesce(debit.merchant_id, p.merchant_id))
       is distinct from (r.debit_kind, p.currency, p.merchant_id)
    or (credit.kind, credit.currency, coalesce(credit.merchant_id, p.merchant_id))
       is distinct from (r.credit_kind, p.currency, p.merchant_id)
union all
select p.id, 'transfer_unfounded', jsonb_build_object('payment', to_jsonb(p), 'transfer', to_jsonb(t))
  from page p
  join ledger_transfers t on t.payment_id = p.id
 where not exists (select from founded r where r.id = p.id and r.code = t.code)
