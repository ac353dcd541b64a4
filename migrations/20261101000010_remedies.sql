-- A charge that came to light for a payment that had ended without one is voided: its break carries the claim for that,
-- and in its detail, as `void`, what the gateway said.
-- Old code may run meanwhile: yes (it voids nothing, and reads and closes breaks as before).

alter table breaks
    -- Who may write what the void came to. Null when nobody holds a claim.
    add column void_token      uuid,
    -- When a worker must ask for the void: at once where it is null, else after a wait, or when a lease has run out.
    add column void_due_at     timestamptz,
    add column void_started_at timestamptz,
    -- Requests that did not settle it: each one waits longer.
    add column void_count      integer not null default 0,
    -- From here on no worker asks any more: it is voided, or cannot be.
    add column void_ended_at   timestamptz,
    add constraint breaks_void_ended_is_claimed_by_nobody
        check (void_ended_at is null or (void_token is null and void_started_at is not null and detail ? 'void'));

-- What the workers look for at every sweep: next to nothing.
create index breaks_to_void on breaks (id)
    where kind = 'charged_after_end' and closed_at is null and void_ended_at is null;
