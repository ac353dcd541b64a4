-- What a worker found under way when it started, in the hands of workers that are gone. What became of it is in the events.
-- Old code may run meanwhile: yes (new tables; it reports nothing, and a claim that one of its workers holds while new ones
-- start may be listed as lost, with its own settlement as what became of it).

create table recovery_reports (
    id       bigint      generated always as identity primary key,
    -- Who found it. Each start of a worker has a name of its own, and so at most one report.
    worker   text        not null constraint recovery_reports_one_per_start unique,
    found_at timestamptz not null,
    -- Payments beyond those that are listed.
    more     bigint      not null
);

-- The claims that were lost. However many workers start at once, each is listed once. No foreign key to the payments, which
-- are never deleted: its check would lock rows that others are about to take over.
create table recovery_items (
    payment_id  uuid not null,
    claim_token uuid not null,
    report      text not null constraint recovery_items_report references recovery_reports (worker) on delete cascade,
    constraint recovery_items_pkey primary key (payment_id, claim_token)
);
create index recovery_items_by_report on recovery_items (report, payment_id);
