-- T1. One statement: key, payment, event, job and the accounts its ledger entries will need, or nothing of them.
-- Payments are made only for the keys that this statement inserted. A key that another one holds is not here: the
-- caller reads the winner by a second statement, because this one's snapshot cannot see a concurrent winner.
with wanted as (
    select *
      from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::numeric[], $7::text[], $8::text[],
                  $9::text[], $10::jsonb[], $11::text[], $12::text[], $13::bytea[])
        as w (payment_id, merchant_id, customer_id, key, fingerprint, amount, currency, payment_method,
              description, metadata, correlation_id, job_id, job)
),
won as (
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
    select merchant_id, $14, customer_id, key, fingerprint, payment_id, $15, clock_timestamp()
      from wanted
     order by merchant_id, customer_id, key
        on conflict on constraint idempotency_keys_pkey do nothing
    returning payment_id, created_at
),
made as (
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, description, metadata,
                          correlation_id, created_at, status, due_at, version, updated_at)
    select w.payment_id, w.merchant_id, w.customer_id, w.amount, w.currency, w.payment_method, w.description, w.metadata,
           w.correlation_id, won.created_at, 'pending', won.created_at, 1, won.created_at
      from wanted w
      join won using (payment_id)
     order by w.payment_id
    returning id, merchant_id, customer_id, amount, currency, payment_method, description, metadata, correlation_id,
              status, version, due_at, created_at
),
logged as (
    insert into payment_events (payment_id, version, type, to_status, evidence, due_at, correlation_id, at)
    select id, version, 'created', status,
           jsonb_build_object('merchant_id', merchant_id, 'customer_id', customer_id, 'amount', amount::text,
                              'currency', currency, 'payment_method', payment_method, 'description', description,
                              'metadata', metadata),
           due_at, correlation_id, created_at
      from made
),
queued as (
    -- `now()` and not the slightly later `due_at`: the queue wakes its workers only for jobs that are due when inserted.
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select w.job_id, $16, w.job, 'Pending', 0, 1, now(), 0, ''::hstore, made.id || ':' || made.version
      from made
      join wanted w on w.payment_id = made.id
        on conflict (job_type, idempotency_key) do nothing
),
opened as (
    insert into ledger_accounts (merchant_id, kind, currency)
    select distinct a.merchant_id, a.kind, made.currency
      from made
     cross join lateral (values ('gateway_clearing', null::uuid), ('merchant_payable', made.merchant_id))
        as a (kind, merchant_id)
     order by 1, 2, 3
        on conflict on constraint ledger_accounts_one_each do nothing
)
select id, customer_id, amount, currency, payment_method, description, metadata, created_at
  from made
