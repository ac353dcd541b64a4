-- Payments of the past thirty days that were charged at their first attempt, as Payonce itself would have stored them: row,
-- key, three events, transfer, our copy of the gateway's books. How many, and whose, is told by the settings bench.stored and bench.merchant.
-- The triggers are off meanwhile, since they check foreign keys row by row; everything refers to what is made here.
begin;
set local session_replication_role = replica;

insert into ledger_accounts (merchant_id, kind, currency)
select merchant_id, kind, 'EUR'
  from (values (null, 'gateway_clearing'), (current_setting('bench.merchant')::uuid, 'merchant_payable'))
    as account (merchant_id, kind)
    on conflict on constraint ledger_accounts_one_each do nothing;

-- Ids are of version 7: they begin with the time in milliseconds.
insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id,
                      created_at, status, attempt_count, first_sent_at, send_by, gateway_transaction_id, version,
                      updated_at, terminal_at)
select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || left(random, 3) || '8' || right(random, 15))::uuid,
       current_setting('bench.merchant')::uuid, 'cus_' || n % 10000, 12.50, 'EUR', 'sim_ok', '{}', 'bench-' || n,
       at, 'succeeded', 1, at + interval '2 ms', at + interval '5002 ms', 'ch_' || left(random, 24), 3,
       at + interval '8 ms', at + interval '8 ms'
  from generate_series(1, current_setting('bench.stored')::integer) n
 cross join lateral (select date_trunc('milliseconds', now()) - interval '30 days'
                            + n * (interval '29 days' / current_setting('bench.stored')::integer) as at,
                            md5(n::text) as random) made;

insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
select merchant_id, 'create_payment', customer_id, 'stored-' || id, sha256(id::text::bytea), id, 1, created_at from payments;

insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, claim_token, due_at,
                            correlation_id, at)
select p.id, e.version, e.type, e.from_status, e.to_status, e.reason, e.evidence, e.claim_token, e.due_at,
       p.correlation_id, e.at
  from payments p
 cross join lateral (values
     (1, 'created', null, 'pending', null,
      jsonb_build_object('merchant_id', p.merchant_id, 'customer_id', p.customer_id, 'amount', p.amount::text,
                         'currency', p.currency, 'payment_method', p.payment_method, 'description', p.description,
                         'metadata', p.metadata),
      null, p.created_at, p.created_at),
     (2, 'attempt_started', 'pending', 'processing', 'due',
      jsonb_build_object('send_by', p.send_by, 'worker', 'payonce-bench-0'),
      p.id, p.first_sent_at + interval '30 s', p.first_sent_at),
     (3, 'succeeded', 'processing', 'succeeded', 'charged',
      jsonb_build_object('op', 'charge', 'latency_ms', 3, 'http_status', 201, 'charge_id', p.gateway_transaction_id,
                         'answer', jsonb_build_object('id', p.gateway_transaction_id, 'reference', p.id,
                                                      'amount', p.amount::text, 'currency', p.currency)),
      p.id, null, p.terminal_at))
   as e (version, type, from_status, to_status, reason, evidence, claim_token, due_at, at);

insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id,
                              created_at)
select p.id, debit.id, credit.id, p.amount, p.currency, 'payment', p.id, p.terminal_at
  from payments p
  join ledger_accounts debit on debit.kind = 'gateway_clearing' and debit.currency = p.currency
  join ledger_accounts credit on credit.kind = 'merchant_payable' and credit.currency = p.currency
                             and credit.merchant_id = p.merchant_id;

-- Our copy of what the gateway's journal said of them. The gateway of this run begins its own at 1.
insert into gateway_effects (gateway, seq, kind, key, charge_id, amount, currency, reference, at)
select 'default', row_number() over (order by p.id) - 1 - count(*) over (), 'charge', key, p.gateway_transaction_id,
       p.amount, p.currency, key, p.terminal_at
  from payments p
 cross join lateral (select 'pay_' || replace(p.id::text, '-', '')) as named (key);
commit;
