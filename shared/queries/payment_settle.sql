-- Fenced by status and claim token, not by the clock: a lease that ran out but
-- that nobody took over may still settle. A result whose token is gone changes no payment and is kept as late evidence.
-- Status, event, ledger, next job and break are one statement: together or not at all.
-- Locked in id order, so that crossed batches cannot deadlock. What is written here is not joined with what was written
-- here: without an index that reads each of a batch for each of it.
with said as materialized (
    select *, clock_timestamp() as at
      from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::bigint[], $8::bool[],
                  $9::bool[], $10::text[], $11::text[], $12::text[], $13::bool[], $14::text[], $15::text[], $16::text[],
                  $17::bytea[])
        as s (payment_id, claim_token, event_type, to_status, reason, evidence, wait_ms, spends,
              counts_not_found, gateway_transaction_id, failure_code, failure_message, failure_retryable, held_reason,
              break_kind, job_id, job)
     -- A payment whose history has a hole is halted, whatever was said of it: nothing is built upon what is missing.
      left join lateral (
            select (select count(*) from payment_events e where e.payment_id = p.id) = p.version as is_whole
              from payments p where p.id = s.payment_id
            offset 0) as history on true
     order by payment_id
),
result as materialized (
    select payment_id, claim_token, spends, job_id, job, at, is_whole,
           case when is_whole then event_type else 'held' end as event_type,
           case when is_whole then to_status else 'processing' end as to_status,
           case when is_whole then reason else 'contradiction' end as reason,
           case when is_whole then evidence
                else evidence || jsonb_build_object('history', 'events are missing', 'said', event_type) end as evidence,
           case when is_whole then wait_ms end as wait_ms,
           counts_not_found and is_whole as counts_not_found,
           case when is_whole then gateway_transaction_id end as gateway_transaction_id,
           case when is_whole then failure_code end as failure_code,
           case when is_whole then failure_message end as failure_message,
           case when is_whole then failure_retryable end as failure_retryable,
           case when is_whole then held_reason else 'contradiction' end as held_reason,
           case when is_whole then break_kind else 'contradiction' end as break_kind,
           is_whole and event_type = 'reversed' and reason is not distinct from $24 as is_closed
      from said
),
moved as (
    update payments p
       set status = s.to_status,
           version = p.version + 1,
           claim_token = null,
           due_at = s.at + s.wait_ms * interval '1 millisecond',
           in_doubt = p.in_doubt or s.event_type = 'outcome_unknown' or s.is_closed or not s.is_whole,
           doubt_since = coalesce(p.doubt_since,
                                  case when s.event_type = 'outcome_unknown' or s.is_closed or not s.is_whole then s.at end),
           -- Where the key had been closed, nobody started a void that is known here.
           void_started_at = coalesce(p.void_started_at, case when s.event_type = 'void_started' or s.is_closed then s.at end),
           -- What stands has been looked at, so that the void may go on.
           look_first = p.look_first and s.reason is distinct from $25,
           held_reason = s.held_reason,
           retries_spent = p.retries_spent + s.spends::int,
           delay_count = case when s.event_type <> 'retry_scheduled' then p.delay_count
                              when s.spends then 0 else p.delay_count + 1 end,
           -- As long as nothing has left since the first attempt began, this is when it began.
           left_nothing_at = case when s.evidence @> '{"left": false}' and not p.in_doubt
                                   and p.first_sent_at in (p.updated_at, p.left_nothing_at)
                                  then p.first_sent_at end,
           verify_count = p.verify_count + (s.event_type = 'outcome_unknown')::int,
           not_found_count = p.not_found_count + s.counts_not_found::int,
           gateway_transaction_id = s.gateway_transaction_id,
           failure_code = s.failure_code,
           failure_message = s.failure_message,
           failure_retryable = s.failure_retryable,
           updated_at = s.at,
           terminal_at = case when s.to_status in ('succeeded', 'failed', 'reversed') then s.at end
      from result s
     where p.id = s.payment_id
       and p.claim_token = s.claim_token
       and p.status = 'processing'
    returning p.id, p.merchant_id, p.gateway, p.amount, p.currency, p.version, p.due_at, p.correlation_id, p.held_reason,
              s.break_kind, s.is_whole, s.event_type, s.to_status, s.reason, s.evidence, s.claim_token, s.spends, s.at, s.job_id, s.job
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, claim_token, due_at,
                                spends, correlation_id, at)
    select id, version, event_type, 'processing', to_status, reason, evidence, claim_token, due_at, spends, correlation_id, at
      from moved
),
posted as (
    -- An account that is missing is a null here, which the table refuses: no payment succeeds without its entries.
    -- The house has one for each gateway, a merchant one. Each is looked for by the whole key of an index: joined by one
    -- condition for both, the accounts of all merchants were read for each payment.
    insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id,
                                  created_at)
    select m.id,
           case r.debit_kind when 'gateway_clearing'
                then (select id from ledger_accounts a
                       where a.kind = r.debit_kind and a.currency = m.currency and a.merchant_id is null
                         and a.gateway = m.gateway)
                else (select id from ledger_accounts a
                       where a.kind = r.debit_kind and a.currency = m.currency and a.merchant_id = m.merchant_id
                         and a.gateway = 'default') end,
           case r.credit_kind when 'gateway_clearing'
                then (select id from ledger_accounts a
                       where a.kind = r.credit_kind and a.currency = m.currency and a.merchant_id is null
                         and a.gateway = m.gateway)
                else (select id from ledger_accounts a
                       where a.kind = r.credit_kind and a.currency = m.currency and a.merchant_id = m.merchant_id
                         and a.gateway = 'default') end,
           m.amount, m.currency, r.code, m.id, m.at
      from moved m
      join unnest($18::text[], $19::text[], $20::text[], $21::text[]) as r (event_type, debit_kind, credit_kind, code)
        on r.event_type = m.event_type
),
queued as (
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select job_id, $22, job_for(job, gateway), 'Pending', 0, 1, case when due_at <= at then now() else due_at end, 0, ''::hstore,
           id || ':' || version
      from moved
     where due_at is not null
        on conflict (job_type, idempotency_key) do nothing
),
contradicted as (
    insert into breaks (payment_id, kind, detail, opened_at)
    select id, break_kind, evidence, at
      from moved
     where break_kind is not null
       -- Told once, also where a person has closed it.
       and not (break_kind = $23 and exists (select from breaks b where b.payment_id = moved.id and b.kind = $23))
        on conflict (payment_id, kind) where closed_at is null do nothing
),
answered as (
    update breaks b
       set closed_at = m.at, closed_by = 'payonce', closed_reason = 'the void was confirmed'
      from moved m
     where m.event_type = 'reversed' and b.payment_id = m.id and b.kind = $23 and b.closed_at is null
),
buried as (
    insert into dead_letters (class, queue, job_key, payment_id, error, detail, parked_at)
    select 'poison', $22, id || ':' || version, id, 'each worker that had this payment was lost', evidence, at
      from moved
     where held_reason = 'poison'
        on conflict do nothing
),
too_late as materialized (
    select s.*
      from said s
     where (select count(*) from moved) < (select count(*) from said)
       and not exists (select from moved m where m.id = s.payment_id and m.claim_token = s.claim_token)
       -- Not late, but sent twice: a connection lost after the commit makes the caller repeat itself. `offset 0`, so that
       -- it is looked for by its payment; as a join it reads all events where there were few when the plan was made.
       and not exists (select from payment_events e
                        where e.payment_id = s.payment_id and e.claim_token = s.claim_token
                          and e.type in (s.event_type, 'held')
                       offset 0)
),
kept as (
    insert into late_evidence (payment_id, claim_token, event_type, reason, evidence, at)
    select payment_id, claim_token, event_type, reason, evidence, at
      from too_late
     where is_whole is not null
        on conflict on constraint late_evidence_once do nothing
    returning payment_id, claim_token, event_type
),
exposed as (
    -- What contradicts the payment's end. A charge for one that ended without is voided by whoever claims the break.
    select l.payment_id, l.evidence, l.at,
           case when p.status in ('failed', 'reversed') and (l.event_type = 'succeeded' or l.reason = 'wrong_answer')
                then 'charged_after_end'
                when p.status = 'succeeded'
                     and (l.gateway_transaction_id <> p.gateway_transaction_id
                          or l.failure_code not in ('retries_exhausted', 'expired', 'non_retryable', 'payment_method_unknown')
                          or l.event_type = 'reversed'
                          or l.reason in ('wrong_answer', 'contradiction'))
                  or p.status = 'failed' and l.reason = 'contradiction'
                then 'contradiction' end as kind
      from too_late l
      join payments p on p.id = l.payment_id
),
-- A payment that is under way and not in doubt, although somebody had a claim on it: that claim is forgotten here, with the
-- end of a log that a server lost. What became of it is asked.
unaware as materialized (
    select id, status
      from payments p
     where id = any(array(select payment_id from too_late where is_whole))
       and terminal_at is null and held_reason is null and not in_doubt
       -- A review that is open again ends by a person, whose approval asks the gateway first.
       and status <> 'in_review'
       and id <> all(array(select id from moved))
     order by id
       for no key update
),
doubted as (
    update payments p
       set status = 'processing',
           version = p.version + 1,
           claim_token = null,
           due_at = u.at,
           in_doubt = true,
           doubt_since = u.at,
           left_nothing_at = null,
           updated_at = u.at
      from (select id, status, clock_timestamp() as at from unaware) u
     where p.id = u.id
    returning p.id, p.version, p.due_at, p.correlation_id, u.status as from_status, u.at
),
logged_doubt as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, due_at, correlation_id, at)
    select id, version, 'doubted', from_status, 'processing', 'late_evidence',
           (select jsonb_build_object('claim', l.claim_token, 'said', l.event_type) from too_late l where l.payment_id = d.id limit 1),
           due_at, correlation_id, at
      from doubted d
),
-- A charge of a payment that is forgotten here altogether.
orphaned as (
    insert into orphans (gateway, key, reference, charge_id, amount, currency)
    select $26, charge ->> 'key', charge ->> 'reference', charge ->> 'id', (charge ->> 'amount')::numeric, charge ->> 'currency'
      from too_late
     cross join lateral (select coalesce(evidence -> 'answer' -> 'data' -> 0, evidence -> 'answer') as charge) as told
     where is_whole is null and event_type = 'succeeded' and charge ->> 'key' is not null
        on conflict on constraint orphans_pkey do nothing
    returning key, reference, charge_id, amount, currency
),
told_of_orphans as (
    insert into breaks (subject, kind, detail, opened_at)
    select key_subject($26, key), 'orphan',
           jsonb_build_object('reference', reference, 'charge_id', charge_id, 'amount', amount::text, 'currency', currency),
           clock_timestamp()
      from orphaned
        on conflict (subject, kind) where closed_at is null and subject is not null do nothing
),
contradicted_after_all as (
    insert into breaks (payment_id, kind, detail, opened_at)
    select payment_id, kind, evidence, at from exposed where kind is not null
        on conflict (payment_id, kind) where closed_at is null do nothing
)
select id as "id!", claim_token as "claim_token!", event_type as "event_type!", true as "took_effect!", true as "is_new!",
       held_reason is not distinct from 'poison' as "is_poison!", is_whole as "is_whole!"
  from moved
 union all
select l.payment_id, l.claim_token, l.event_type, false, k.payment_id is not null, false, true
  from too_late l
  left join kept k using (payment_id, claim_token, event_type)
