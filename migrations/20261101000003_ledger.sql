-- Money movements. One row debits one account and credits another by the same amount: balanced by construction.
-- Old code may run meanwhile: yes (new tables).

create table ledger_accounts (
    id          uuid        primary key default gen_random_uuid(),
    -- Null for the accounts of the house.
    merchant_id uuid,
    kind        text        not null constraint ledger_accounts_kind_known check (kind in ('gateway_clearing', 'merchant_payable')),
    currency    text        not null constraint ledger_accounts_currency_code check (currency ~ '^[A-Z]{3}$'),
    created_at  timestamptz not null default clock_timestamp(),
    constraint ledger_accounts_one_each unique nulls not distinct (kind, currency, merchant_id)
);

create table ledger_transfers (
    id                uuid        primary key default gen_random_uuid(),
    -- The movements of one event share it.
    transaction_id    uuid        not null,
    -- No foreign keys: their checks would lock the rows of the busiest accounts. Settling reads both accounts in
    -- the same statement, an account that is missing is a null here and refuses the whole statement.
    debit_account_id  uuid        not null,
    credit_account_id uuid        not null,
    amount            numeric     not null constraint ledger_transfers_amount_positive check (amount > 0),
    currency          text        not null,
    code              text        not null constraint ledger_transfers_code_known check (code in ('payment')),
    payment_id        uuid        not null references payments (id),
    created_at        timestamptz not null,
    constraint ledger_transfers_accounts_differ check (debit_account_id <> credit_account_id),
    constraint ledger_transfers_once unique (payment_id, code)
);

create view ledger_entries as
    select id as transfer_id, transaction_id, debit_account_id as account_id, 'debit' as side,
           amount, currency, code, payment_id, created_at from ledger_transfers
    union all
    select id, transaction_id, credit_account_id, 'credit',
           amount, currency, code, payment_id, created_at from ledger_transfers;

create trigger ledger_transfers_append_only before update or delete on ledger_transfers for each row
    execute function refuse_change('a mistake is corrected by another transfer');
create trigger ledger_transfers_append_only_all before truncate on ledger_transfers
    execute function refuse_change('a mistake is corrected by another transfer');
create trigger ledger_accounts_stay before update or delete on ledger_accounts for each row
    execute function refuse_change('accounts are never changed or deleted');
