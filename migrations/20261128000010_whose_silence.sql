-- Whose silence it is: how often in a row an attempt used up no try, which gateway is known, and when each worker's breaker
-- was open.
-- Old code may run meanwhile: yes (it counts no delays and keeps no outages; its breaker is its own).

-- Outcomes in a row, up to now, that used up no try: each makes the next wait longer.
alter table payments add column delay_count integer not null default 0;
-- When the first attempt began, as long as none of the attempts since has let anything leave: nothing was ever sent.
alter table payments add column left_nothing_at timestamptz;

alter table payments drop constraint payments_held_reason_known;
-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table payments add constraint payments_held_reason_known
    check (held_reason in ('wrong_answer', 'contradiction', 'unverifiable', 'poison', 'unreadable')) not valid;

-- Who the gateway says that it is. The first that answers is the known one; another one is not the gateway.
create table gateway_identities (
    gateway     text        primary key,
    account     text        not null constraint gateway_identities_account_length check (length(account) between 1 and 255),
    environment text        not null constraint gateway_identities_environment_length
                            check (length(environment) between 1 and 255),
    known_since timestamptz not null default clock_timestamp()
);

-- When a worker's breaker was open. Deadlines of doubts and voids do not count this time; workers and `verify` see by it
-- what waits for the gateway.
create table gateway_outages (
    gateway    text        not null,
    worker     text        not null,
    began_at   timestamptz not null,
    -- While it is open the worker says again and again that it lives. One that died ends its outage with its last word.
    touched_at timestamptz not null,
    -- Null while it is open.
    ended_at   timestamptz,
    -- What opened it: a kind of failure.
    reason     text        not null,
    constraint gateway_outages_pkey primary key (gateway, worker, began_at)
);
create unique index gateway_outages_one_open on gateway_outages (gateway, worker) where ended_at is null;
create index gateway_outages_by_end on gateway_outages (gateway, touched_at);
