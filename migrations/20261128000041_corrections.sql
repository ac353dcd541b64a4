-- What the books have wrong about a payment that is over is put right by a row and a transfer of its own: proposed by one person,
-- approved by another, and posted after a worker has compared it with the gateway's journal and a look. The payment never changes.
-- Old code may run meanwhile: yes (it corrects nothing; but its reconciliation takes a correction's transfer for unfounded, and opens
-- a break, which moves no money: approve none before all processes are new).
create table corrections (
    id            bigint      generated always as identity primary key,
    payment_id    uuid        not null references payments (id),
    kind          text        not null constraint corrections_kind_known check (kind in (
                      'charge_missing', 'charge_refunded', 'amount_differs', 'charge_found', 'other_charge')),
    -- What stands at the gateway after all, and by which charge; nothing where it is 0.
    amount        numeric     not null constraint corrections_amount_range check (amount >= 0 and amount <= 1000000000000),
    charge_id     text        constraint corrections_charge_id_length check (length(charge_id) between 1 and 255),
    reason        text        not null,
    proposed_by   text        not null,
    -- Which credential that was, and the beginning of its key's hash: one key under two names is one person.
    proposed_with text        not null,
    proposed_key  text        not null,
    proposed_at   timestamptz not null,
    approved_by   text,
    approved_with text,
    approved_key  text,
    approved_at   timestamptz,

    -- Who may write what came of it, as in `decisions`.
    token         uuid,
    due_at        timestamptz,
    looks         integer     not null default 0,

    ended_at      timestamptz,
    outcome       text        constraint corrections_outcome_known check (outcome in ('posted', 'refused', 'withdrawn')),
    refusal       text,
    seen          text,
    look          jsonb,
    -- By how much the ledger was wrong: what was posted.
    delta         numeric,
    constraint corrections_by_which_charge check ((amount > 0) = (charge_id is not null)),
    constraint corrections_approved_by_somebody check (
        (approved_at is null) = (approved_by is null) and (approved_at is null) = (approved_with is null)
        and (approved_at is null) = (approved_key is null)),
    constraint corrections_take_two_people check (approved_with <> proposed_with and approved_key <> proposed_key),
    constraint corrections_ended_with_an_outcome check ((ended_at is null) = (outcome is null)),
    constraint corrections_posted_after_approval check (
        outcome is distinct from 'posted' or (approved_at is not null and delta is not null and look is not null))
);
create unique index corrections_one_open_per_payment on corrections (payment_id) where ended_at is null;
create index corrections_open on corrections (id) where ended_at is null;
create index corrections_by_payment on corrections (payment_id, id);

create trigger corrections_ended_stay before update on corrections for each row
    when (old.ended_at is not null) execute function refuse_change('a correction stays as it ended');
create trigger corrections_are_as_proposed before update on corrections for each row
    when ((new.id, new.payment_id, new.kind, new.amount, new.charge_id, new.reason, new.proposed_by, new.proposed_with,
           new.proposed_key, new.proposed_at)
        is distinct from
          (old.id, old.payment_id, old.kind, old.amount, old.charge_id, old.reason, old.proposed_by, old.proposed_with,
           old.proposed_key, old.proposed_at)
        or (old.approved_at is not null
            and (new.approved_by, new.approved_with, new.approved_key, new.approved_at)
                is distinct from (old.approved_by, old.approved_with, old.approved_key, old.approved_at)))
    execute function refuse_change('a correction stays as it was proposed and approved');
create trigger corrections_stay before delete on corrections for each row
    execute function refuse_change('corrections are never deleted');
create trigger corrections_stay_all before truncate on corrections
    execute function refuse_change('corrections are never deleted');

-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table ledger_transfers drop constraint ledger_transfers_code_known;
alter table ledger_transfers add constraint ledger_transfers_code_known
    check (code = 'payment' or code ~ '^correction_[0-9]+$') not valid;
create function refuse_unfounded_correction() returns trigger language plpgsql as $$
begin
    if not exists (select from corrections c
                    where new.code = 'correction_' || c.id and c.payment_id = new.payment_id and c.approved_at is not null) then
        raise exception 'transfer % of % refused: no correction of it was approved', new.code, new.payment_id
            using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger ledger_transfers_correct_what_was_approved before insert on ledger_transfers for each row
    when (new.code <> 'payment') execute function refuse_unfounded_correction();
