-- Our copy of what moved money at the gateway, and how far its books have been read: what reconciliation compares with.
-- Old code may run meanwhile: yes (new tables; it opens no break without a payment, and passes over those there are).
create table gateway_effects (
    gateway    text        not null,
    -- The number of the row in the gateway's journal. Read twice it is stored once.
    seq        bigint      not null,
    kind       text        not null constraint gateway_effects_kind_known check (kind in ('charge', 'void', 'refund')),
    key        text        not null,
    charge_id  text        not null,
    amount     numeric     not null,
    currency   text        not null,
    reference  text,
    at         timestamptz not null,
    constraint gateway_effects_pkey primary key (gateway, seq)
);
create index gateway_effects_by_key on gateway_effects (gateway, key, seq);
create trigger gateway_effects_append_only before update or delete on gateway_effects for each row
    execute function refuse_change('what the gateway did is append-only');

create table gateway_cursors (
    gateway        text        primary key,
    -- The journal has been copied up to this row.
    read_up_to     bigint      not null default 0,
    -- Effects up to this row have been compared with the payments that they name.
    compared_up_to bigint      not null default 0,
    -- All that the gateway did before this moment, by our clock, is in the copy.
    whole_at       timestamptz
);

-- A break may be about something that is no payment of ours: a charge under a strange key, an account.
alter table breaks alter column payment_id drop not null;
alter table breaks add column subject text;
-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table breaks add constraint breaks_about_something check ((payment_id is null) = (subject is not null)) not valid;
create unique index breaks_one_open_per_subject on breaks (subject, kind) where closed_at is null and subject is not null;
create index breaks_by_subject on breaks (subject, kind) where subject is not null;
