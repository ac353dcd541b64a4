-- What customers owe, who holds the right to act on it, and all that ever happened to it.
-- Old code may run meanwhile: yes (new tables).

create table payments (
    id                     uuid        primary key,
    -- No foreign key: its check would lock the merchant's row in every accept, and all of them queue there.
    -- Merchants are never deleted.
    merchant_id            uuid        not null,
    customer_id            text        not null constraint payments_customer_id_length check (length(customer_id) between 1 and 255),
    amount                 numeric     not null constraint payments_amount_range check (amount > 0 and amount <= 1000000000000),
    currency               text        not null constraint payments_currency_code check (currency ~ '^[A-Z]{3}$'),
    payment_method         text        not null constraint payments_payment_method_length check (length(payment_method) between 1 and 255),
    description            text        constraint payments_description_length check (length(description) <= 1000),
    metadata               jsonb       not null constraint payments_metadata_object check (jsonb_typeof(metadata) = 'object'),
    correlation_id         text        not null,
    created_at             timestamptz not null,

    status                 text        not null constraint payments_status_known
                                       check (status in ('pending', 'processing', 'succeeded', 'failed', 'reversed')),
    -- When somebody must look: next attempt, end of the lease, or next verify. Null when terminal or held.
    due_at                 timestamptz,
    -- Who may write the outcome. Null when nobody holds a claim.
    claim_token            uuid,
    -- A charge may have happened. Set once, never cleared.
    in_doubt               boolean     not null default false,
    doubt_since            timestamptz,
    void_started_at        timestamptz,
    held_reason            text        constraint payments_held_reason_known
                                       check (held_reason in ('wrong_answer', 'contradiction', 'unverifiable')),

    -- Claims that may charge. Only grows.
    attempt_count          integer     not null default 0,
    -- Outcomes that used up a try without ending the payment.
    retries_spent          integer     not null default 0,
    -- Looks since the last attempt: each one waits longer.
    verify_count           integer     not null default 0,
    -- Lookups since the last attempt that found nothing when a charge must have been visible.
    not_found_count        integer     not null default 0,
    first_sent_at          timestamptz,
    -- After this instant the last attempt's charge is not sent any more.
    send_by                timestamptz,

    gateway_transaction_id text,
    failure_code           text,
    failure_message        text,
    failure_retryable      boolean,
    version                integer     not null constraint payments_version_positive check (version > 0),
    updated_at             timestamptz not null,
    terminal_at            timestamptz,

    constraint payments_terminal_iff_ended
        check ((terminal_at is not null) = (status in ('succeeded', 'failed', 'reversed'))),
    constraint payments_due_iff_alive
        check ((due_at is null) = (terminal_at is not null or held_reason is not null)),
    constraint payments_claimed_iff_processing
        check (claim_token is null or (status = 'processing' and held_reason is null)),
    constraint payments_doubt_has_a_start check (in_doubt = (doubt_since is not null)),
    constraint payments_void_needs_doubt check (void_started_at is null or in_doubt),
    constraint payments_failure_iff_failed check ((failure_code is not null) = (status = 'failed')),
    constraint payments_reversed_by_a_void check (status <> 'reversed' or void_started_at is not null),
    constraint payments_evidence_iff_succeeded check (status <> 'succeeded' or gateway_transaction_id is not null)
);

-- The sweep's look for due rows, and nothing else, reads by due_at.
create index payments_due on payments (due_at) where due_at is not null;
-- Ids are time-ordered, so newest first is an order by id.
create index payments_by_merchant on payments (merchant_id, id);
create index payments_by_customer on payments (merchant_id, customer_id, id);
create index payments_by_status on payments (merchant_id, status, id);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% on % refused: %', lower(tg_op), tg_table_name, tg_argv[0] using errcode = 'restrict_violation';
end $$;

create trigger payments_terminal_is_terminal before update on payments for each row
    when (old.terminal_at is not null) execute function refuse_change('a terminal payment never changes');
create trigger payments_legal_transition before update on payments for each row
    when (old.status = 'pending' and new.status not in ('pending', 'processing'))
    execute function refuse_change('no such transition');
create trigger payments_doubt_sticks before update on payments for each row
    when ((old.in_doubt and not new.in_doubt)
        or (old.void_started_at is not null and new.void_started_at is distinct from old.void_started_at))
    execute function refuse_change('doubt sticks, and so does a started void');
create trigger payments_void_leads_to_reversed before update on payments for each row
    when (old.void_started_at is not null and new.status in ('pending', 'succeeded', 'failed'))
    execute function refuse_change('after a void has started nothing but the void ends the payment');
create trigger payments_failed_needs_proof before update on payments for each row
    when (new.status = 'failed' and new.in_doubt and new.failure_code in ('retries_exhausted', 'expired', 'non_retryable'))
    execute function refuse_change('a payment in doubt ends by a charge found, a stored decline or a void');
create trigger payments_version_counts_up before update on payments for each row
    when (new.version <> old.version + 1) execute function refuse_change('each change adds one to the version');
create trigger payments_facts_are_fixed before update on payments for each row
    when ((new.id, new.merchant_id, new.customer_id, new.amount, new.currency, new.payment_method, new.description,
           new.metadata, new.correlation_id, new.created_at)
        is distinct from
          (old.id, old.merchant_id, old.customer_id, old.amount, old.currency, old.payment_method, old.description,
           old.metadata, old.correlation_id, old.created_at))
    execute function refuse_change('what the customer owes was fixed when the payment was accepted');
create trigger payments_stay before delete on payments for each row
    execute function refuse_change('payments are never deleted');
create trigger payments_stay_all before truncate on payments
    execute function refuse_change('payments are never deleted');

-- Append-only. Folding a payment's events gives its row.
create table payment_events (
    payment_id     uuid        not null references payments (id),
    version        integer     not null constraint payment_events_version_positive check (version > 0),
    type           text        not null constraint payment_events_type_known check (type in (
                       'created', 'attempt_started', 'taken_over', 'verifying', 'outcome_unknown', 'retry_scheduled',
                       'succeeded', 'failed', 'void_started', 'reversed', 'held')),
    from_status    text,
    to_status      text        not null,
    reason         text,
    -- What the gateway said: http status, ids, latency. For `created`: what was asked for.
    evidence       jsonb       not null default '{}',
    claim_token    uuid,
    -- When somebody must look next.
    due_at         timestamptz,
    -- Whether this outcome used up a try.
    spends         boolean     not null default false,
    correlation_id text        not null,
    at             timestamptz not null,
    -- The writing transaction, so that a relay can read up to pg_snapshot_xmin and miss nothing.
    tx             xid8        not null default pg_current_xact_id(),
    primary key (payment_id, version)
);

create trigger payment_events_append_only before update or delete on payment_events for each row
    execute function refuse_change('events are append-only');
create trigger payment_events_append_only_all before truncate on payment_events
    execute function refuse_change('events are append-only');

-- One key, one payment, for ever. The row is inserted by the payment's own statement.
create table idempotency_keys (
    merchant_id uuid        not null,
    operation   text        not null,
    customer_id text        not null,
    key         text        not null constraint idempotency_keys_key_length check (length(key) between 1 and 255),
    -- SHA-256 of the parsed, normalised request.
    fingerprint bytea       not null constraint idempotency_keys_fingerprint_length check (octet_length(fingerprint) = 32),
    payment_id  uuid        not null references payments (id),
    -- Which renderer made the first answer, so that a replay repeats it byte for byte.
    renderer    smallint    not null,
    created_at  timestamptz not null,
    constraint idempotency_keys_pkey primary key (merchant_id, operation, customer_id, key)
);

create trigger idempotency_keys_append_only before update or delete on idempotency_keys for each row
    execute function refuse_change('an idempotency key is for ever');
create trigger idempotency_keys_append_only_all before truncate on idempotency_keys
    execute function refuse_change('an idempotency key is for ever');

-- Results that came back after their claim was gone. They change no payment; people and checks read them.
create table late_evidence (
    id          bigint      generated always as identity primary key,
    payment_id  uuid        not null references payments (id),
    claim_token uuid        not null,
    event_type  text        not null,
    reason      text,
    evidence    jsonb       not null,
    at          timestamptz not null,
    -- Said once, however often the worker repeats itself. A result that took effect in the very moment in which it was
    -- repeated can stand here too: whoever reads passes over tokens that settled.
    constraint late_evidence_once unique (payment_id, claim_token, event_type)
);

create trigger late_evidence_append_only before update or delete on late_evidence for each row
    execute function refuse_change('evidence is append-only');

-- Contradictions for a person.
create table breaks (
    id         bigint      generated always as identity primary key,
    payment_id uuid        not null references payments (id),
    kind       text        not null,
    detail     jsonb       not null,
    opened_at  timestamptz not null,
    closed_at  timestamptz
);
create unique index breaks_one_open_per_kind on breaks (payment_id, kind) where closed_at is null;
