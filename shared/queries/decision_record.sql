-- What a look made of a person's wish, fenced by the claim's token and the payment's version: done, refused, or only seen.
-- What is done is one statement: status, event, ledger, job, the end of its breaks, and of the decision itself. Where the
-- payment is not held in that version any more, nothing is done but to say so. May be repeated.
with held as materialized (
    select id, version = $3 and held_reason is not null and terminal_at is null as is_held
      from payments
     where id = $2
       for no key update
),
mine as materialized (
    select d.id, d.payment_id, d.asked_by, d.reason, d.asked_at, h.is_held
      from held h
      join decisions d on d.payment_id = h.id
     where d.id = $1 and d.token = $4 and d.ended_at is null
       for no key update of d
),
stamped as materialized (
    select *, clock_timestamp() as at from mine
),
recorded as (
    update decisions d
       set ended_at = case when $5::text is not null then s.at end,
           outcome = case when $5 is null then null when s.is_held then $5 else 'overtaken' end,
           refusal = $6,
           seen = $7,
           look = $8,
           permits = $9,
           -- Where nobody looked, somebody else is to.
           token = case when $5 is not null then d.token end,
           due_at = case when $5 is null then s.at + d.looks * interval '1 second' end
      from stamped s
     where d.id = s.id
    returning d.outcome
),
moved as (
    update payments p
       set status = $11,
           version = p.version + 1,
           due_at = case when $11 = 'processing' then s.at end,
           held_reason = null,
           in_doubt = p.in_doubt or $10 = 'void_started',
           doubt_since = coalesce(p.doubt_since, case when $10 = 'void_started' then s.at end),
           void_started_at = coalesce(p.void_started_at, case when $10 = 'void_started' then s.at end),
           gateway_transaction_id = $13,
           failure_code = $14,
           failure_message = $15,
           failure_retryable = $16,
           updated_at = s.at,
           terminal_at = case when $11 <> 'processing' then s.at end
      from stamped s
     where p.id = s.payment_id and s.is_held and $5 = 'done'
    returning p.id, p.merchant_id, p.gateway, p.amount, p.currency, p.version, p.due_at, p.correlation_id, s.asked_by, s.reason, s.asked_at, s.at
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, due_at, correlation_id, at)
    select id, version, $10, 'processing', $11, $17, $12, due_at, correlation_id, at from moved
),
posted as (
    -- As in settling: an account that is missing is a null here, which the table refuses.
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
        on r.event_type = $10
),
queued as (
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select j.id, $24, job_for(j.job, m.gateway), 'Pending', 0, 1, now(), 0, ''::hstore, m.id || ':' || m.version
      from moved m
     cross join unnest($22::text[], $23::bytea[]) as j (id, job)
     where due_at is not null
        on conflict (job_type, idempotency_key) do nothing
),
closed as (
    update breaks b
       set closed_at = m.at, closed_by = m.asked_by, closed_reason = m.reason
      from moved m
     -- Those that the person may have seen.
     where b.payment_id = m.id and b.closed_at is null and b.opened_at <= m.asked_at
),
unburied as (
    update dead_letters l
       set closed_at = m.at, closed_by = m.asked_by, closed_reason = m.reason,
           closed_as = case when $10 = 'released' then 'replayed' else 'decided' end
      from moved m
     where l.payment_id = m.id and l.closed_at is null
)
select exists (select from recorded) as "took_effect!",
       (select version from moved) as "version?",
       exists (select from decisions where id = $1 and token = $4 and ended_at is not null) as "was_recorded!"
