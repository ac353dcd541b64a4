-- What a person wishes to become of a held payment is written down, checked against a look at the gateway by a worker, and
-- done or refused: the claim for the look stands here, since a held payment carries none.
-- Old code may run meanwhile: yes (its releases work as before; what it ends by hand without a look is refused).
create table decisions (
    id          bigint      generated always as identity primary key,
    payment_id  uuid        not null references payments (id),
    -- The payment as the person saw it. It stays held in this version until this decision, or a release, has ended that.
    version     integer     not null,
    wish        text        not null constraint decisions_wish_known check (wish in ('look', 'succeed', 'fail', 'reverse', 'void')),
    -- Asked for without proof, where the gateway is silent or cannot look up.
    is_unproven boolean     not null,
    -- By which charge it succeeded, as the person says.
    charge_id   text,
    asked_by    text        not null,
    -- Which credential that was.
    asked_with  text        not null,
    reason      text        not null,
    asked_at    timestamptz not null,

    -- Who may write what came of it. It stays when that is written, so that whoever writes twice is known.
    token       uuid,
    -- When a worker must look: at once where it is null, else when a lease has run out, or after a wait.
    due_at      timestamptz,
    -- Claims so far.
    looks       integer     not null default 0,

    ended_at    timestamptz,
    outcome     text        constraint decisions_outcome_known
                            check (outcome in ('seen', 'done', 'refused', 'overtaken', 'withdrawn')),
    -- Why it was refused, for whoever asked.
    refusal     text,
    -- What the look showed, in one word; and all that the gateway said.
    seen        text,
    look        jsonb,
    -- What may be decided after this look.
    permits     text[],
    constraint decisions_ended_with_an_outcome check ((ended_at is null) = (outcome is null)),
    constraint decisions_done_after_a_look check (outcome is distinct from 'done' or (seen is not null and look is not null)),
    constraint decisions_refused_with_a_reason check (outcome is distinct from 'refused' or refusal is not null),
    constraint decisions_charge_if_succeeded check ((charge_id is not null) = (wish = 'succeed')),
    constraint decisions_unproven_is_an_end check (not is_unproven or wish in ('succeed', 'fail', 'reverse'))
);
-- What workers look for at every sweep: next to nothing. One at a time for each payment.
create unique index decisions_one_open_per_payment on decisions (payment_id) where ended_at is null;
create index decisions_open on decisions (id) where ended_at is null;
create index decisions_by_payment on decisions (payment_id, id);
-- Payments that a person ended without proof: no machine voids anything of these.
create index decisions_unproven on decisions (payment_id) where is_unproven and outcome = 'done';

create trigger decisions_ended_stay before update on decisions for each row
    when (old.ended_at is not null) execute function refuse_change('a decision stays as it ended');
create trigger decisions_are_as_asked before update on decisions for each row
    when ((new.id, new.payment_id, new.version, new.wish, new.is_unproven, new.charge_id, new.asked_by, new.asked_with,
           new.reason, new.asked_at)
        is distinct from
          (old.id, old.payment_id, old.version, old.wish, old.is_unproven, old.charge_id, old.asked_by, old.asked_with,
           old.reason, old.asked_at))
    execute function refuse_change('a decision stays as it was asked for');
create trigger decisions_stay before delete on decisions for each row
    execute function refuse_change('decisions are never deleted');
create trigger decisions_stay_all before truncate on decisions
    execute function refuse_change('decisions are never deleted');

-- A worker of before knows nothing of proof, and voids whatever charge comes to light after the end of a payment. So such a
-- break never says so of a payment that a person ended without proof.
create function name_unproven_breaks() returns trigger language plpgsql as $$
begin
    if exists (select from decisions where payment_id = new.payment_id and is_unproven and outcome = 'done') then
        new.kind := 'unproven_refuted';
    end if;
    return new;
end $$;
create trigger breaks_of_the_unproven before insert on breaks for each row
    when (new.kind = 'charged_after_end') execute function name_unproven_breaks();

-- No end by hand without a look. Not valid: what was ended by hand before had none.
alter table payment_events add constraint payment_events_ended_by_hand_after_a_look check (
    reason is distinct from 'by_hand' or type not in ('succeeded', 'failed', 'reversed')
    or (evidence ? 'decision' and evidence ? 'look')) not valid;
