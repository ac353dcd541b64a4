-- How far a reconciliation has come, so that whoever goes on with it after a crash does nothing twice, and the sums of
-- each account as of the last time that all transfers were added up.
-- Old code may run meanwhile: yes (it runs the steps that it knows, and each may be repeated; where a tick was broken
-- off it cannot begin the next one, which new code does).
alter table reconciliation_runs add column step text not null default 'repair'
    constraint reconciliation_runs_step_known check (step in ('repair', 'journal', 'payments', 'balances', 'charges', 'done'));
-- Who carries it out. Whoever goes on with it writes another token, and the one before writes nothing any more.
alter table reconciliation_runs add column holder uuid;
alter table reconciliation_runs add column touched_at timestamptz not null default clock_timestamp();
-- When the pass over all payments began that this run goes on with. Null: it begins one.
alter table reconciliation_runs add column pass_began_at timestamptz;
-- The gateway's charges have been compared up to this one. Null: from the first one on.
alter table reconciliation_runs add column listed_up_to text;

-- One tick at a time: the next one goes on where the last one ended, or was broken off.
update reconciliation_runs set finished_at = clock_timestamp() where trigger = 'tick' and finished_at is null;
create unique index reconciliation_runs_one_unfinished_tick on reconciliation_runs (trigger)
    where trigger = 'tick' and finished_at is null;

-- The sums of a pass that is under way.
create table account_sums (
    pass_began_at timestamptz not null,
    account_id    uuid        not null,
    debits        numeric     not null,
    credits       numeric     not null,
    transfers     bigint      not null,
    constraint account_sums_pkey primary key (pass_began_at, account_id)
);

-- The sums of the last pass that ended. As transfers are never changed or deleted, no later pass can find less.
create table account_balances (
    account_id    uuid        primary key,
    debits        numeric     not null,
    credits       numeric     not null,
    transfers     bigint      not null,
    pass_began_at timestamptz not null,
    pass_ended_at timestamptz not null
);
