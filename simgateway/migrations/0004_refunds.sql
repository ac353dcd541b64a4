-- Refunds, returns and disputes: what each refund key has been through, and the journal's rows of them.
-- Old code may run meanwhile: yes (new tables; it makes no refunds).
create table gateway_refunds (
    -- Ids are of one refund, keys of one request.
    id           text        collate "C" primary key,
    key          text        collate "C" not null constraint gateway_refunds_key_length check (length(key) between 1 and 255),
    charge_id    text        collate "C" not null references gateway_charges (id),
    -- `asked`: no call has come to anything yet.
    status       text        not null constraint gateway_refunds_status check (status in ('asked', 'succeeded', 'failed')),
    amount       numeric     not null constraint gateway_refunds_amount_positive check (amount > 0),
    currency     text        not null constraint gateway_refunds_currency check (currency ~ '^[A-Z]{3}$'),
    reference    text        not null,
    refusal_code text        constraint gateway_refunds_refusal_code
        check (refusal_code in ('charge_not_refundable', 'amount_exceeds_charge', 'refund_declined')),
    -- How far the script of the payment method has got.
    calls        integer     not null constraint gateway_refunds_calls_positive check (calls >= 0),
    created_at   timestamptz not null,
    constraint gateway_refunds_failed_with_a_code check ((status = 'failed') = (refusal_code is not null))
);
create index gateway_refunds_key on gateway_refunds (key);
create index gateway_refunds_charge on gateway_refunds (charge_id);

-- What happens to a charge without its caller.
create table gateway_acts (
    id         text        collate "C" primary key,
    charge_id  text        collate "C" not null references gateway_charges (id),
    status     text        not null constraint gateway_acts_status check (status in ('returned', 'open', 'won', 'lost')),
    amount     numeric     not null constraint gateway_acts_amount_positive check (amount > 0),
    currency   text        not null constraint gateway_acts_currency check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null
);
create index gateway_acts_charge on gateway_acts (charge_id);

alter table gateway_journal drop constraint gateway_journal_kind;
alter table gateway_journal add constraint gateway_journal_kind
    check (kind in ('request', 'answer', 'charge', 'void', 'refund', 'return', 'dispute', 'dispute_won', 'dispute_lost'));
alter table gateway_journal drop constraint gateway_journal_op;
alter table gateway_journal add constraint gateway_journal_op
    check (op in ('charge', 'lookup', 'void', 'refund', 'refund_lookup', 'dashboard'));
-- Of what is done to a charge: its own key and id.
alter table gateway_journal add column act_key text;
alter table gateway_journal add column act_id text;
