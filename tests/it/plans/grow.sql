-- Payments that are over and all that belongs to them, numbers $from to $to of the test's own, without triggers. Those that
-- come first are rare among the others: a few failed, and each customer's stand together.
set session_replication_role = replica;

insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                      status, attempt_count, gateway_transaction_id, failure_code, version, updated_at, terminal_at)
select plans_payment(n), $merchant, 'customer-' || n / 100, 1, 'EUR', 'sim_ok', '{}', 'x', '2020-01-01',
       case when n < 50 then 'failed' else 'succeeded' end, 1, case when n >= 50 then 'ch_1' end,
       case when n < 50 then 'declined' end, 3, '2020-01-01', '2020-01-01'
  from generate_series($from, $to) n;

insert into payment_events (payment_id, version, type, to_status, correlation_id, at)
select plans_payment(n), 1, 'created', 'pending', 'x', '2020-01-01' from generate_series($from, $to) n;

insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
select $merchant, 'create_payment', 'customer-' || n / 100, 'stored-' || n, sha256('x'), plans_payment(n), 1, '2020-01-01'
  from generate_series($from, $to) n;

insert into ledger_transfers (id, transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id,
                              created_at)
select plans_payment(n), plans_payment(n), $merchant, plans_payment(0), 1, 'EUR', 'payment', plans_payment(n), '2020-01-01'
  from generate_series($from, $to) n;

insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, lock_by, done_at, priority, metadata,
                         idempotency_key)
select 'stored-' || to_char(n, 'FM0000000'), 'payments', 'x', 'Done', 1, 1, '2020-01-01', 'a worker', '2020-01-01', 0, '',
       plans_payment(n) || ':1'
  from generate_series($from, $to) n;

insert into api_keys (id, merchant_id, name, prefix, secret_hash)
select plans_payment(n), $merchant, 'x', 'x', sha256(n::text::bytea) from generate_series($from, $to, 10) n;

insert into ledger_accounts (merchant_id, kind, currency)
select plans_payment(n), 'merchant_payable', 'EUR' from generate_series($from, $to, 10) n;

insert into merchants (id, name) select plans_payment(n), 'merchant ' || n from generate_series($from, $to, 10) n;
