-- Operations on a payment that was charged: refunds, and the returns and disputes that the gateway tells of. Each is a row that is claimed, fenced, looked up and swept as payments
-- are, and the payment's own row never changes. What was given back stands in `refund_totals`.
-- Old code may run meanwhile: yes (new tables; it makes no refunds and sees none. Its reconciliation takes a refund for one that nobody
-- asked for, and opens a break, which moves no money: make the first refund once all processes are new).

create table operations (
    id                     uuid        primary key,
    payment_id             uuid        not null references payments (id),
    merchant_id            uuid        not null,
    kind                   text        not null constraint operations_kind_known check (kind in ('refund', 'return', 'dispute')),
    -- Who asked for it: a merchant here, or somebody at the gateway, without us.
    origin                 text        not null constraint operations_origin_known check (origin in ('api', 'gateway')),
    amount                 numeric     not null constraint operations_amount_range check (amount > 0 and amount <= 1000000000000),
    currency               text        not null constraint operations_currency_code check (currency ~ '^[A-Z]{3}$'),
    gateway                text        collate "C" not null,
    -- The key of all requests for it. What the gateway did without us may have none.
    gateway_key            text        collate "C" constraint operations_gateway_key_length check (length(gateway_key) between 1 and 255),
    -- The charge that it is about, by the gateway's id.
    charge_id              text        not null,
    reason                 text        constraint operations_reason_length check (length(reason) <= 1000),
    metadata               jsonb       not null constraint operations_metadata_object check (jsonb_typeof(metadata) = 'object'),
    correlation_id         text        not null,
    created_at             timestamptz not null,

    status                 text        not null constraint operations_status_known check (status in ('pending', 'succeeded', 'failed', 'open', 'won', 'lost')),
    -- When somebody must look: next request, next look, or the end of a lease. Null when it is over or held.
    due_at                 timestamptz,
    claim_token            uuid,
    -- Whether the next claim may send. If not, it may only look.
    may_send               boolean     not null,
    -- It may have happened. Set once, never cleared.
    in_doubt               boolean     not null default false,
    doubt_since            timestamptz,
    held_reason            text        constraint operations_held_reason_known
                                       check (held_reason in ('wrong_answer', 'contradiction', 'unverifiable', 'poison')),
    -- Leases that ran out in a row.
    takeover_count         integer     not null default 0,
    attempt_count          integer     not null default 0,
    retries_spent          integer     not null default 0,
    -- Outcomes in a row that used up no try, and looks since the last request: each one waits longer.
    delay_count            integer     not null default 0,
    verify_count           integer     not null default 0,
    not_found_count        integer     not null default 0,
    first_sent_at          timestamptz,
    send_by                timestamptz,
    -- The gateway's own id of what it did.
    gateway_transaction_id text        collate "C",
    failure_code           text,
    failure_message        text,
    version                integer     not null constraint operations_version_positive check (version > 0),
    updated_at             timestamptz not null,
    terminal_at            timestamptz,

    constraint operations_terminal_iff_ended check ((terminal_at is not null) = (status in ('succeeded', 'failed', 'won', 'lost'))),
    constraint operations_due_iff_alive check ((due_at is null) = (terminal_at is not null or held_reason is not null or status = 'open')),
    constraint operations_claimed_while_alive check (claim_token is null or due_at is not null),
    constraint operations_doubt_has_a_start check (in_doubt = (doubt_since is not null)),
    constraint operations_failure_iff_failed check ((failure_code is not null) = (status = 'failed')),
    constraint operations_evidence_iff_succeeded check ((gateway_transaction_id is not null) = (status in ('succeeded', 'open', 'won', 'lost'))),
    constraint operations_have_a_key check (origin = 'gateway' or gateway_key is not null),
    -- What the gateway did without us is known once it is done.
    constraint operations_of_the_gateway_are_done check (origin = 'api' or status in ('succeeded', 'open', 'won', 'lost')),
    constraint operations_disputes_have_words_of_their_own check ((kind = 'dispute') = (status in ('open', 'won', 'lost'))),
    constraint operations_asked_for_are_refunds check (origin = 'gateway' or kind = 'refund')
);
create unique index operations_one_key on operations (gateway, gateway_key) where gateway_key is not null;
create unique index operations_one_effect on operations (gateway, gateway_transaction_id) where gateway_transaction_id is not null;
create index operations_by_payment on operations (payment_id, id);
create index operations_due on operations (gateway, due_at) where due_at is not null;
create index operations_held on operations (id) where held_reason is not null;

create trigger operations_terminal_is_terminal before update on operations for each row
    when (old.terminal_at is not null) execute function refuse_change('an operation that is over never changes');
create trigger operations_doubt_sticks before update on operations for each row
    when (old.in_doubt and (not new.in_doubt or new.doubt_since is distinct from old.doubt_since))
    execute function refuse_change('doubt sticks');
create trigger operations_failed_needs_proof before update on operations for each row
    when (new.status = 'failed' and new.in_doubt and new.failure_code in ('retries_exhausted', 'non_retryable'))
    execute function refuse_change('an operation in doubt ends by its effect found, or a refusal stored under its key');
create trigger operations_version_counts_up before update on operations for each row
    when (new.version <> old.version + 1) execute function refuse_change('each change adds one to the version');
create trigger operations_facts_are_fixed before update on operations for each row
    when ((new.id, new.payment_id, new.merchant_id, new.kind, new.origin, new.amount, new.currency, new.gateway, new.gateway_key,
           new.charge_id, new.reason, new.metadata, new.correlation_id, new.created_at)
        is distinct from
          (old.id, old.payment_id, old.merchant_id, old.kind, old.origin, old.amount, old.currency, old.gateway, old.gateway_key,
           old.charge_id, old.reason, old.metadata, old.correlation_id, old.created_at))
    execute function refuse_change('what is asked for, and under which key, was fixed when it was accepted');
create trigger operations_stay before delete on operations for each row
    execute function refuse_change('operations are never deleted');
create trigger operations_stay_all before truncate on operations
    execute function refuse_change('operations are never deleted');

-- Append-only: one row for each change of an operation.
create table operation_events (
    operation_id   uuid        not null references operations (id),
    version        integer     not null constraint operation_events_version_positive check (version > 0),
    type           text        not null constraint operation_events_type_known check (type in (
                       'created', 'attempt_started', 'taken_over', 'verifying', 'outcome_unknown', 'retry_scheduled',
                       'succeeded', 'failed', 'held', 'released', 'restored', 'doubted', 'open', 'won', 'lost')),
    reason         text,
    evidence       jsonb       not null default '{}',
    claim_token    uuid,
    due_at         timestamptz,
    at             timestamptz not null,
    tx             xid8        not null default pg_current_xact_id(),
    constraint operation_events_pkey primary key (operation_id, version)
);
create trigger operation_events_append_only before update or delete on operation_events for each row
    execute function refuse_change('events are append-only');
create trigger operation_events_append_only_all before truncate on operation_events
    execute function refuse_change('events are append-only');

-- What was given back of each payment, as far as anything was. Whoever changes it has it locked, and so nobody gives back more than was
-- captured: what is reserved may still happen.
create table refund_totals (
    payment_id uuid    primary key references payments (id),
    captured   numeric not null constraint refund_totals_captured_positive check (captured > 0),
    -- By refunds that were asked for here: under way, and done.
    reserved   numeric not null default 0,
    refunded   numeric not null default 0,
    -- By refunds that the gateway made without us.
    adopted    numeric not null default 0,
    -- By late returns, and by disputes that are open or lost. Below, how many of these are open.
    returned   numeric not null default 0,
    disputed   numeric not null default 0,
    disputes   integer not null default 0,
    version    integer not null default 0,
    constraint refund_totals_not_negative check (reserved >= 0 and refunded >= 0 and adopted >= 0 and returned >= 0 and disputed >= 0 and disputes >= 0),
    constraint refund_totals_within_the_captured check (reserved + refunded <= captured)
);
create trigger refund_totals_only_grow before update on refund_totals for each row
    when (new.version <> old.version + 1 or new.payment_id <> old.payment_id or new.captured <> old.captured
          or new.refunded < old.refunded or new.adopted < old.adopted or new.returned < old.returned)
    execute function refuse_change('what was given back stays given back');
create trigger refund_totals_stay before delete on refund_totals for each row
    execute function refuse_change('totals are never deleted');
create trigger refund_totals_stay_all before truncate on refund_totals
    execute function refuse_change('totals are never deleted');

-- Money that is on its way back, or disputed, is an account of the house, one for each gateway.
alter table ledger_accounts drop constraint ledger_accounts_kind_known;
alter table ledger_accounts add constraint ledger_accounts_kind_known
    check (kind in ('gateway_clearing', 'merchant_payable', 'refunds_in_transit', 'disputed_funds')) not valid;

-- What operations move: like `ledger_transfers`, and beside it, so that payments pay for nothing here. One of each code.
create table operation_transfers (
    operation_id      uuid        not null references operations (id),
    code              text        not null constraint operation_transfers_code_known
                                  check (code in ('refund_reserved', 'refund_sent', 'refund_released', 'refund_adopted', 'returned',
                                                 'dispute_opened', 'dispute_won', 'dispute_lost')),
    -- Both are read in the statement that writes the row: an account that is missing is a null here, which refuses the whole statement.
    debit_account_id  uuid        not null,
    credit_account_id uuid        not null,
    amount            numeric     not null constraint operation_transfers_amount_positive check (amount > 0),
    currency          text        not null,
    created_at        timestamptz not null,
    constraint operation_transfers_pkey primary key (operation_id, code),
    constraint operation_transfers_accounts_differ check (debit_account_id <> credit_account_id)
);
create trigger operation_transfers_append_only before update or delete on operation_transfers for each row
    execute function refuse_change('a mistake is corrected by another transfer');
create trigger operation_transfers_append_only_all before truncate on operation_transfers
    execute function refuse_change('a mistake is corrected by another transfer');
-- An operation moves its own amount, and what it has come to says where to.
create function refuse_unfounded_operation() returns trigger language plpgsql as $$
begin
    if not exists (select from operations o
                    where o.id = new.operation_id and o.amount = new.amount and o.currency = new.currency
                      and (o.kind, o.origin, o.status, new.code) in (
                              ('refund', 'api', 'pending', 'refund_reserved'), ('refund', 'api', 'succeeded', 'refund_sent'),
                              ('refund', 'api', 'failed', 'refund_released'), ('refund', 'gateway', 'succeeded', 'refund_adopted'),
                              ('return', 'gateway', 'succeeded', 'returned'), ('dispute', 'gateway', 'open', 'dispute_opened'),
                              ('dispute', 'gateway', 'won', 'dispute_won'), ('dispute', 'gateway', 'lost', 'dispute_lost')))
    then
        raise exception 'transfer % of % refused: no operation has come to that', new.code, new.operation_id
            using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
-- After the statement, when the operation stands as it leaves it.
create trigger operation_transfers_follow_their_operation after insert on operation_transfers for each row
    execute function refuse_unfounded_operation();

create or replace view ledger_entries as
    select id as transfer_id, transaction_id, debit_account_id as account_id, 'debit' as side,
           amount, currency, code, payment_id, created_at from ledger_transfers
    union all
    select id, transaction_id, credit_account_id, 'credit',
           amount, currency, code, payment_id, created_at from ledger_transfers
    union all
    select e.transfer_id, coalesce(t.group_id, t.id), e.account_id, e.side, e.posted, t.currency collate "default", e.code, null::uuid, e.at
      from account_entries e join transfers t on t.id = e.transfer_id
     where e.posted > 0
    union all
    select md5(operation_id || ' ' || code)::uuid, operation_id, a.account_id, a.side, amount, currency, code, null::uuid, created_at
      from operation_transfers
     cross join lateral (values (debit_account_id, 'debit'), (credit_account_id, 'credit')) as a (account_id, side);

-- What the gateway's journal says of a refund beside the charge that it is about: the refund's own key and id.
-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table gateway_effects drop constraint gateway_effects_kind_known;
alter table gateway_effects add constraint gateway_effects_kind_known
    check (kind in ('charge', 'void', 'refund', 'return', 'dispute', 'dispute_won', 'dispute_lost')) not valid;
alter table gateway_effects add column act_key text collate "C";
alter table gateway_effects add column act_id text collate "C";

-- Whether what the gateway's books say was done to a charge stands here as an operation. Inlined where it is asked.
create index operations_by_effect on operations (gateway, charge_id);
create function is_operation(e gateway_effects) returns boolean language sql stable
    return e.kind not in ('charge', 'void')
           and exists (select from operations o
                        where o.gateway = e.gateway and o.charge_id = e.charge_id and o.amount = e.amount and o.currency = e.currency
                          and o.status <> 'failed'
                          and (o.gateway_key = e.act_key or o.gateway_transaction_id = e.act_id)
                          and case e.kind when 'dispute_won' then o.status = 'won' when 'dispute_lost' then o.status = 'lost' else true end);

-- A late result of an operation is kept beside those of its payment.
alter table late_evidence add column operation_id uuid;

-- The scope of a key of an operation is its payment.
create function operation_key(operation text, merchant uuid, payment_key text, client_key text) returns text language sql stable as $$
    select 'op1_' || left(encode(sha256(length_prefixed('op1') || length_prefixed(coalesce((select key_space from installation), ''))
                                        || length_prefixed(operation) || length_prefixed(merchant::text)
                                        || length_prefixed(payment_key) || length_prefixed(client_key)), 'hex'), 40)
$$;
