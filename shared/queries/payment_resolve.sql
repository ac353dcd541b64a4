-- T19. What a person decided about a held payment, fenced by its version: of two who decide about the same version one
-- wins, and the other decides nothing. Status, event, ledger, job and the end of its breaks are one statement.
with mine as materialized (
    select id
      from payments
     where id = $1 and version = $2 and held_reason is not null and terminal_at is null
       for no key update
),
stamped as materialized (
    select id, clock_timestamp() as at from mine
),
moved as (
    update payments p
       set status = $4,
           version = p.version + 1,
           due_at = case when $3 = 'released' then s.at end,
           held_reason = null,
           gateway_transaction_id = $6,
           failure_code = $7,
           failure_message = $8,
           failure_retryable = $9,
           updated_at = s.at,
           terminal_at = case when $3 <> 'released' then s.at end
      from stamped s
     where p.id = s.id
    returning p.id, p.merchant_id, p.amount, p.currency, p.version, p.due_at, p.correlation_id, s.at
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, due_at, correlation_id, at)
    select id, version, $3, 'processing', $4, $10, $5, due_at, correlation_id, at from moved
),
posted as (
    -- As in settling: an account that is missing is a null here, which the table refuses.
    insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id,
                                  created_at)
    select m.id,
           coalesce((select id from ledger_accounts a
                      where a.kind = r.debit_kind and a.currency = m.currency and a.merchant_id = m.merchant_id),
                    (select id from ledger_accounts a
                      where a.kind = r.debit_kind and a.currency = m.currency and a.merchant_id is null)),
           coalesce((select id from ledger_accounts a
                      where a.kind = r.credit_kind and a.currency = m.currency and a.merchant_id = m.merchant_id),
                    (select id from ledger_accounts a
                      where a.kind = r.credit_kind and a.currency = m.currency and a.merchant_id is null)),
           m.amount, m.currency, r.code, m.id, m.at
      from moved m
      join unnest($11::text[], $12::text[], $13::text[], $14::text[]) as r (event_type, debit_kind, credit_kind, code)
        on r.event_type = $3
),
queued as (
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
    select j.id, $17, j.job, 'Pending', 0, 1, now(), 0, ''::hstore, m.id || ':' || m.version
      from moved m
     cross join unnest($15::text[], $16::bytea[]) as j (id, job)
     where due_at is not null
        on conflict (job_type, idempotency_key) do nothing
),
closed as (
    update breaks b
       set closed_at = m.at, closed_by = $18, closed_reason = $19
      from moved m
     where b.payment_id = m.id and b.closed_at is null
),
unburied as (
    update dead_letters l
       set closed_at = m.at, closed_by = $18, closed_reason = $19,
           closed_as = case when $3 = 'released' then 'replayed' else 'decided' end
      from moved m
     where l.payment_id = m.id and l.closed_at is null
)
select version from moved
