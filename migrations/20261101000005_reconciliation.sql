-- What each reconciliation found, and a way to the jobs in flight that reads nothing else.
-- Old code may run meanwhile: yes (a new table, a new index).

create table reconciliation_runs (
    id             bigint      generated always as identity primary key,
    trigger        text        not null constraint reconciliation_runs_trigger_known check (trigger in ('tick', 'command')),
    -- Each tick runs once for all workers together.
    tick           timestamptz constraint reconciliation_runs_one_per_tick unique,
    started_at     timestamptz not null default clock_timestamp(),
    -- Null while it runs, or where it was killed; the job that comes again goes on with it.
    finished_at    timestamptz,
    -- Payments up to this id have been compared with the ledger. Null: from the first one on.
    compared_up_to uuid,
    counts         jsonb       not null default '{}',
    constraint reconciliation_runs_tick_iff_ticked check ((tick is not null) = (trigger = 'tick'))
);

-- Jobs that a worker holds: a handful, among all those that are done.
create index payonce_jobs_in_flight on apalis.jobs (lock_at) where status in ('Queued', 'Running');
