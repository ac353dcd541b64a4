-- The event `created`, in one statement: key, payment, event, job and the accounts its ledger entries will need, or nothing of them.
-- Payments are made only for the keys that this statement inserted. For a key that was taken before it tells what that one made.
-- A key that is neither was taken by a concurrent statement, which this one's snapshot cannot see: asked again, it can.
-- `is true`, so that `in` is not made a join: without an index that reads each of a batch for each of it.
-- A request whose API key opens nothing, or no payments, is not wanted. A payment is charged at its merchant's gateway. Each API
-- key of the batch is looked for once: the requests say by its number which of them is theirs.
-- The key at the gateway is derived from what makes the payment unique, and so is the same again where it was forgotten. Where a
-- charge of a forgotten payment is known under that key, at whatever gateway, the new one is looked at first; where its own
-- gateway shows nothing then, a person decides.
with callers as materialized (
    select array_agg(api_key.merchant_id order by k.n) as merchants, array_agg(api_key.gateway order by k.n) as gateways
      from unnest($17::uuid[], $18::bytea[], $19::bytea[]) with ordinality as k (named, hash, other_hash, n)
      left join lateral (
            select a.merchant_id, m.gateway
              from key_of(k.named, k.hash, k.other_hash) a
              join merchants m on m.id = a.merchant_id
             where 'payments:write' = any (a.scopes)
            offset 0) as api_key on true
),
wanted as materialized (
    select w.*, (select merchants from callers)[w.caller] as merchant_id, (select gateways from callers)[w.caller] as gateway,
           clock_timestamp() as at
      from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bytea[], $6::numeric[], $7::text[], $8::text[],
                  $9::text[], $10::jsonb[], $11::text[], $12::text[], $13::bytea[])
        as w (payment_id, caller, customer_id, key, fingerprint, amount, currency, payment_method,
              description, metadata, correlation_id, job_id, job)
     where (select must_restore is null or door_is_open() from installation)
       and (select merchants from callers)[w.caller] is not null
),
won as (
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
    select merchant_id, $14, customer_id, key, fingerprint, payment_id, $15, at
      from wanted
     order by merchant_id, customer_id, key
        on conflict on constraint idempotency_keys_pkey do nothing
    returning payment_id
),
-- What the rules of risk say of those whose keys were taken, and so are counted once. Nothing is asked where there are no rules. Each key
-- is taken before any counter: all of `won` is read first.
judged as materialized (
    select j.payment_id, j.risk, j.risk ->> 'decision' as decision, j.review_s
      from (select array_agg(payment_id) as ids, array_agg(merchant_id) as merchants, array_agg(customer_id) as customers,
                   array_agg(amount) as amounts, array_agg(currency) as currencies, array_agg(payment_method) as methods
              from (select * from wanted w
                     where (w.payment_id in (select payment_id from won)) is true
                       and exists (select from risk_rules r
                                    where r.removed_at is null and (r.merchant_id is null or r.merchant_id = w.merchant_id))
                     order by merchant_id, customer_id, key) as concerned) as asked
     cross join lateral judge(asked.ids, asked.merchants, asked.customers, asked.amounts, asked.currencies, asked.methods) j
     where asked.ids is not null and (select exists (select from risk_rules where removed_at is null))
),
made as (
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, description, metadata,
                          correlation_id, created_at, gateway, gateway_key, look_first, status, due_at, version, updated_at,
                          terminal_at, failure_code, failure_message, failure_retryable, accepted_as)
    select wanted.payment_id, merchant_id, customer_id, amount, currency, payment_method, description, metadata, correlation_id,
           at, gateway, derived.gateway_key,
           (select exists (select from orphans where adopted_by is null))
               and exists (select from orphans o where o.key = derived.gateway_key and o.adopted_by is null),
           case decision when 'review' then 'in_review' when 'deny' then 'failed' else 'pending' end,
           case when decision in ('review', 'deny') then null else at end,
           case when decision in ('review', 'deny') then 2 else 1 end, at,
           case decision when 'deny' then at end, case decision when 'deny' then 'risk_denied' end,
           case decision when 'deny' then 'refused by the rules of risk' end, case decision when 'deny' then false end,
           case when risk is not null
                then jsonb_build_object('outcome', case decision when 'review' then 'in_review' when 'deny' then 'denied'
                                                                 else 'pending' end, 'risk', risk) end
      from wanted
      left join judged on judged.payment_id = wanted.payment_id
     cross join lateral (
            -- Null where the installation does not derive keys yet.
            select 'pk1_' || left(encode(sha256((select length_prefixed('pk1') || length_prefixed(key_space) || length_prefixed($14)
                                                   from installation where key_scheme = 2)
                                                || length_prefixed(wanted.merchant_id::text) || length_prefixed(wanted.customer_id)
                                                || length_prefixed(wanted.key)), 'hex'), 40) as gateway_key
            offset 0) as derived
     where (wanted.payment_id in (select payment_id from won)) is true
     order by wanted.payment_id
    returning id, merchant_id, customer_id, amount, currency, payment_method, description, metadata, correlation_id,
              status, version, due_at, created_at, gateway, gateway_key, look_first, accepted_as
),
logged as (
    insert into payment_events (payment_id, version, type, to_status, evidence, due_at, correlation_id, at)
    select id, 1, 'created', 'pending',
           jsonb_build_object('merchant_id', merchant_id, 'customer_id', customer_id, 'amount', amount::text,
                              'currency', currency, 'payment_method', payment_method, 'description', description,
                              'metadata', metadata, 'gateway_key', gateway_key, 'look_first', look_first)
               || case when gateway = 'default' then '{}' else jsonb_build_object('gateway', gateway) end
               || case when accepted_as is null then '{}' else jsonb_build_object('accepted_as', accepted_as) end,
           created_at, correlation_id, created_at
      from made
),
logged_decisions as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at)
    select id, version, case status when 'in_review' then 'review_started' else 'failed' end, 'pending', status,
           case status when 'in_review' then 'risk' else 'risk_denied' end,
           case status when 'in_review' then '{}'
                else '{"failure": {"code": "risk_denied", "message": "refused by the rules of risk", "retryable": false}}' end::jsonb,
           correlation_id, created_at
      from made
     where version = 2
),
reviewed as (
    insert into reviews (payment_id, merchant_id, risk, opened_at, expires_at, status)
    select id, merchant_id, risk, created_at, created_at + review_s * interval '1 second', 'open'
      from made
      join judged on judged.payment_id = made.id
     where status = 'in_review'
),
queued as (
    -- `now()` and not the slightly later `due_at`: the queue wakes its workers only for jobs that are due when inserted.
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select job_id, $16, job_for(job, gateway), 'Pending', 0, 1, now(), 0, ''::hstore, payment_id || ':1'
      from wanted
     where (payment_id in (select id from made where status = 'pending')) is true
        on conflict (job_type, idempotency_key) do nothing
),
opened as (
    insert into ledger_accounts (merchant_id, kind, currency, gateway)
    select distinct a.merchant_id, a.kind, made.currency, a.gateway
      from made
     cross join lateral (values ('gateway_clearing', null::uuid, made.gateway), ('merchant_payable', made.merchant_id, 'default'))
        as a (kind, merchant_id, gateway)
     order by 1, 2, 3, 4
        on conflict on constraint ledger_accounts_one_each do nothing
)
select id as "asked_id!", null::bytea as fingerprint, null::smallint as renderer, id as "id!", customer_id as "customer_id!",
       amount as "amount!", currency as "currency!", payment_method as "payment_method!", description, metadata as "metadata!",
       created_at as "created_at!", accepted_as
  from made
 union all
select w.payment_id, k.fingerprint, k.renderer, p.id, p.customer_id, p.amount, p.currency, p.payment_method, p.description,
       p.metadata, p.created_at, p.accepted_as
  from wanted w
 cross join lateral (
        select fingerprint, renderer, payment_id from idempotency_keys
         where merchant_id = w.merchant_id and operation = $14 and customer_id = w.customer_id and key = w.key
        offset 0) as k
  join payments p on p.id = k.payment_id
 where (w.payment_id in (select payment_id from won)) is not true
