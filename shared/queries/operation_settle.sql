-- What a claim on an operation came to, fenced by its token: row, event, totals, transfer and break in one statement. A result whose
-- token is gone changes nothing and is kept as late evidence. May be repeated. The operation is locked before the totals.
with said as materialized (
    select *, clock_timestamp() as at
      from (values ($1::uuid, $2::uuid, $3::text, $4::text, $5::text, $6::jsonb, $7::bigint, $8::bool, $9::bool, $10::bool, $11::text,
                    $12::text, $13::text, $14::text))
        as s (id, claim_token, event_type, status, reason, evidence, wait_ms, may_send, spends, counts_not_found, gateway_transaction_id,
              failure_code, failure_message, held_reason)
),
moved as (
    update operations o
       set status = s.status,
           version = o.version + 1,
           claim_token = null,
           due_at = s.at + s.wait_ms * interval '1 millisecond',
           may_send = s.may_send,
           in_doubt = o.in_doubt or s.event_type = 'outcome_unknown',
           doubt_since = coalesce(o.doubt_since, case when s.event_type = 'outcome_unknown' then s.at end),
           held_reason = s.held_reason,
           retries_spent = o.retries_spent + s.spends::int,
           delay_count = case when s.event_type <> 'retry_scheduled' then o.delay_count
                              when s.spends then 0 else o.delay_count + 1 end,
           verify_count = o.verify_count + (s.event_type = 'outcome_unknown')::int,
           not_found_count = o.not_found_count + s.counts_not_found::int,
           gateway_transaction_id = s.gateway_transaction_id,
           failure_code = s.failure_code,
           failure_message = s.failure_message,
           updated_at = s.at,
           terminal_at = case when s.status <> 'pending' then s.at end
      from said s
     where o.id = s.id and o.claim_token = s.claim_token and o.status = 'pending'
    returning o.id, o.payment_id, o.merchant_id, o.amount, o.currency, o.gateway, o.version, o.due_at, o.status, o.held_reason,
              s.event_type, s.reason, s.evidence, s.claim_token, s.at
),
logged as (
    insert into operation_events (operation_id, version, type, reason, evidence, claim_token, due_at, at)
    select id, version, event_type, reason, evidence, claim_token, due_at, at from moved
),
totalled as (
    update refund_totals t
       set reserved = t.reserved - m.amount,
           refunded = t.refunded + case m.status when 'succeeded' then m.amount else 0 end,
           version = t.version + 1
      from moved m
     where t.payment_id = m.payment_id and m.status <> 'pending'
    returning t.payment_id
),
posted as (
    -- An account that is missing is a null here, which the table refuses, and so are totals that are missing.
    insert into operation_transfers (operation_id, code, debit_account_id, credit_account_id, amount, currency, created_at)
    select m.id, r.code,
           (select id from ledger_accounts a
             where a.kind = r.debit_kind and a.currency = m.currency and a.merchant_id is null and a.gateway = m.gateway
               and exists (select from totalled)),
           case r.credit_kind when 'merchant_payable'
                then (select id from ledger_accounts a
                       where a.kind = r.credit_kind and a.currency = m.currency and a.merchant_id = m.merchant_id
                         and a.gateway = 'default')
                else (select id from ledger_accounts a
                       where a.kind = r.credit_kind and a.currency = m.currency and a.merchant_id is null and a.gateway = m.gateway) end,
           m.amount, m.currency, m.at
      from moved m
      join unnest($15::text[], $16::text[], $17::text[], $18::text[]) as r (event_type, debit_kind, credit_kind, code)
        on r.event_type = m.event_type
),
contradicted as (
    insert into breaks (subject, kind, detail, opened_at)
    select 'refund re_' || replace(id::text, '-', ''), 'refund_held',
           evidence || jsonb_build_object('payment', 'pay_' || replace(payment_id::text, '-', ''), 'held_reason', held_reason), at
      from moved
     where held_reason is not null
        on conflict (subject, kind) where closed_at is null and subject is not null do nothing
),
too_late as materialized (
    select s.*
      from said s
     where not exists (select from moved)
       -- Not late, but sent twice.
       and not exists (select from operation_events e
                        where e.operation_id = s.id and e.claim_token = s.claim_token and e.type = s.event_type)
),
kept as (
    insert into late_evidence (payment_id, claim_token, event_type, reason, evidence, at, operation_id)
    select o.payment_id, l.claim_token, 'refund_' || l.event_type, l.reason, l.evidence, l.at, l.id
      from too_late l
      join operations o on o.id = l.id
        on conflict on constraint late_evidence_once do nothing
),
-- Money that went back for a refund that had ended without: the merchant has it, and the customer too.
exposed as (
    insert into breaks (subject, kind, detail, opened_at)
    select 'refund re_' || replace(o.id::text, '-', ''), 'refunded_after_end',
           l.evidence || jsonb_build_object('payment', 'pay_' || replace(o.payment_id::text, '-', '')), l.at
      from too_late l
      join operations o on o.id = l.id
     where o.status = 'failed' and l.event_type = 'succeeded'
        on conflict (subject, kind) where closed_at is null and subject is not null do nothing
),
-- A claim that is forgotten here, with the end of a log that a server lost. What became of it is asked.
unaware as materialized (
    select o.id
      from operations o
      join too_late l on l.id = o.id
     where o.status = 'pending' and o.held_reason is null and not o.in_doubt
       for no key update of o
),
doubted as (
    update operations o
       set version = o.version + 1, claim_token = null, due_at = s.at, may_send = false, in_doubt = true, doubt_since = s.at,
           updated_at = s.at
      from said s
     where o.id = s.id and o.id = any(array(select id from unaware))
    returning o.id, o.version, o.due_at, s.at, s.claim_token, s.event_type
),
logged_doubt as (
    insert into operation_events (operation_id, version, type, reason, evidence, due_at, at)
    select id, version, 'doubted', 'late_evidence', jsonb_build_object('claim', claim_token, 'said', event_type), due_at, at
      from doubted
)
select exists (select from moved) as "moved!", exists (select from too_late) as "is_late!"
