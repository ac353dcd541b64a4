-- A payment that kills its workers is found out: each takeover in a row is counted, by the claim.
-- Old code may run meanwhile: yes (it takes over without counting, so that such a payment is found out later).

-- How many leases ran out in a row, up to the last claim. A claim of a payment that was settled meanwhile starts anew.
alter table payments add column takeover_count integer not null default 0;

-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table payments drop constraint payments_held_reason_known;
alter table payments add constraint payments_held_reason_known
    check (held_reason in ('wrong_answer', 'contradiction', 'unverifiable', 'poison')) not valid;

-- The queue's library does not say when a worker started, which tells how many died.
alter table apalis.workers alter column started_at set default clock_timestamp();
