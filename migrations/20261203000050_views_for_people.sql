-- Views for people who ask by SQL: what happened to a payment, what each attempt and each exchange with a gateway came to, and every
-- movement of money. None of them reads `payments`, which may be rebuilt beside itself and exchanged.
-- Old code may run meanwhile: yes (new views, which no program reads).

create view payment_timeline as
    select payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at
      from payment_events;

-- Each claim that might charge, and the event that followed it: `taken_over` if its worker was lost.
create view payment_attempts as
    select a.payment_id, row_number() over (partition by a.payment_id order by a.version)::integer as attempt, a.version,
           a.evidence ->> 'worker' as worker, a.at as started_at, r.type as result, r.reason,
           (r.evidence ->> 'http_status')::numeric as http_status, r.at as ended_at
      from payment_events a
      left join payment_events r on r.payment_id = a.payment_id and r.version = a.version + 1
     where a.type = 'attempt_started';

-- Each exchange with a gateway that an event tells of. What came after its claim was gone changed nothing.
create view provider_attempts as
    select payment_id, version, evidence ->> 'op' as op, type as result, reason, (evidence ->> 'http_status')::numeric as http_status,
           (evidence ->> 'latency_ms')::numeric as latency_ms, false as came_late, evidence, at
      from payment_events
     where evidence ? 'op'
    union all
    select payment_id, null::integer, evidence ->> 'op', event_type, reason, (evidence ->> 'http_status')::numeric,
           (evidence ->> 'latency_ms')::numeric, true, evidence, at
      from late_evidence
     where evidence ? 'op';

-- Each movement of money once: of payments between accounts of the house and merchants, and of transfers between customers' accounts.
create view transactions as
    select id, transaction_id, debit_account_id as debited, credit_account_id as credited, amount, currency, code, payment_id,
           created_at as at
      from ledger_transfers
    union all
    select id, coalesce(group_id, id), debited, credited, posted_amount, currency collate "default",
           case when expires_at is null then 'transfer' else 'post' end, null::uuid, ended_at
      from transfers
     where status = 'posted';
