-- What a person may do with a held payment: give it back to the machine, or end it, with evidence. And who closed
-- which break, and why.
-- Old code may run meanwhile: yes (it neither decides nor closes breaks; what it may do is as it was).

-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table payment_events drop constraint payment_events_type_known;
alter table payment_events add constraint payment_events_type_known check (type in (
    'created', 'attempt_started', 'taken_over', 'verifying', 'outcome_unknown', 'retry_scheduled',
    'succeeded', 'failed', 'void_started', 'reversed', 'held', 'released')) not valid;
-- What a person did names the person and the reason.
alter table payment_events add constraint payment_events_by_hand_names_a_person check (
    (reason is distinct from 'by_hand' and type <> 'released')
    or (evidence ? 'by' and evidence ? 'reason')) not valid;

-- A void that has started still keeps the machine from anything else, and everybody from charging again. A person who
-- holds the evidence may end a held payment either way.
drop trigger payments_void_leads_to_reversed on payments;
create trigger payments_void_leads_to_reversed before update on payments for each row
    when (old.void_started_at is not null
          and (new.status = 'pending' or (new.status in ('succeeded', 'failed') and old.held_reason is null)))
    execute function refuse_change('after a void has started nothing but the void ends the payment');

-- The same for the other direction: only a person reverses what the machine did not void. A check sees no old row, so
-- these triggers take its place.
alter table payments drop constraint payments_reversed_by_a_void;
create trigger payments_reversed_by_a_void before update on payments for each row
    when (new.status = 'reversed' and new.void_started_at is null and old.held_reason is null)
    execute function refuse_change('a payment is reversed by a void, or by a person');
create trigger payments_not_born_reversed before insert on payments for each row
    when (new.status = 'reversed' and new.void_started_at is null)
    execute function refuse_change('a payment is reversed by a void, or by a person');

alter table breaks add column closed_by text;
alter table breaks add column closed_reason text;
alter table breaks add constraint breaks_closed_with_a_reason
    check ((closed_at is null) = (closed_by is null) and (closed_at is null) = (closed_reason is null));
create trigger breaks_closed_stay before update on breaks for each row
    when (old.closed_at is not null) execute function refuse_change('a closed break stays as it was closed');
create trigger breaks_stay before delete on breaks for each row
    execute function refuse_change('breaks are closed, never deleted');

-- For the operator's page: what needs a person, few rows each.
create index payments_held on payments (id) where held_reason is not null;
create index breaks_open on breaks (id) where closed_at is null;
create index breaks_by_payment on breaks (payment_id, id);
