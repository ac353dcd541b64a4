-- A due time further away than any wait, as a database whose clock was wrong for a moment leaves it, is pulled near by an
-- event of its own.
-- Old code may run meanwhile: yes, but for the reconciliation of an old worker, which takes a history with that event for
-- broken. It is written only where a due time was wrong; end old workers first where the clock is known to have been.

-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table payment_events drop constraint payment_events_type_known;
alter table payment_events add constraint payment_events_type_known check (type in (
    'created', 'attempt_started', 'taken_over', 'verifying', 'outcome_unknown', 'retry_scheduled',
    'succeeded', 'failed', 'void_started', 'reversed', 'held', 'released', 'rescheduled')) not valid;
