-- The gateway's own books: what each idempotency key has been through, the charges made under it, and the
-- journal of everything that was asked, answered and done.
-- Old code may run meanwhile: yes (new tables).

create table gateway_keys (
    key            text    primary key constraint gateway_keys_key_length check (length(key) between 1 and 255),
    -- What the first charge call asked for; null where a void closed the key before any charge call came.
    amount         numeric,
    currency       text,
    payment_method text,
    -- How far the script of the payment method has got: counts calls no further than the script is long.
    charge_calls   integer not null constraint gateway_keys_charge_calls_positive check (charge_calls >= 0),
    lookup_calls   integer not null constraint gateway_keys_lookup_calls_positive check (lookup_calls >= 0),
    -- Set by a void and never taken back: no charge happens under a closed key.
    closed         boolean not null,
    constraint gateway_keys_asked_whole check (num_nonnulls(amount, currency, payment_method) in (0, 3))
);

create table gateway_charges (
    id           text        primary key,
    key          text        not null references gateway_keys (key),
    status       text        not null constraint gateway_charges_status
        check (status in ('arriving', 'pending', 'succeeded', 'failed', 'voided', 'refused')),
    amount       numeric     not null constraint gateway_charges_amount_positive check (amount > 0),
    currency     text        not null constraint gateway_charges_currency check (currency ~ '^[A-Z]{3}$'),
    reference    text        not null,
    -- Why it failed, or will fail once decided; null for one that succeeds.
    decline_code text        constraint gateway_charges_decline_code
        check (decline_code in ('card_declined', 'insufficient_funds')),
    decide_at    timestamptz,
    created_at   timestamptz not null,
    constraint gateway_charges_undecided_has_time
        check ((status in ('arriving', 'pending')) = (decide_at is not null))
);

create index gateway_charges_key on gateway_charges (key);
create index gateway_charges_due on gateway_charges (decide_at) where decide_at is not null;

-- One writer appends, in one statement per batch, so a reader that saw seq N can never find a lower one later.
create table gateway_journal (
    seq            bigint      primary key,
    at             timestamptz not null,
    kind           text        not null constraint gateway_journal_kind
        check (kind in ('request', 'answer', 'charge', 'void')),
    op             text        not null constraint gateway_journal_op check (op in ('charge', 'lookup', 'void')),
    -- Only for answers; null there means that the connection ended without one.
    http_status    integer,
    key            text,
    charge_id      text,
    amount         numeric,
    currency       text,
    reference      text,
    correlation_id text
);

create function gateway_journal_refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'gateway_journal is append-only';
end
$$;

create trigger gateway_journal_append_only
    before update or delete or truncate on gateway_journal
    for each statement execute function gateway_journal_refuse_change();
