-- The gateway's key of a payment is derived from what makes the payment unique, so that it is the same again where the payment
-- was forgotten: by a restored backup, or by a server that took over without the last of its commits. And the installation
-- knows which database it is, so that it notices.
-- Old code may run meanwhile: yes (key_scheme stays 1 until `payonce migrate --finish`, so its keys are the payments' ids).

create table installation (
    one               boolean     primary key default true constraint installation_is_one check (one),
    id                uuid        not null default gen_random_uuid(),
    -- Which past this is: one more with each that came back.
    epoch             integer     not null default 1 constraint installation_epoch_positive check (epoch > 0),
    epoch_began_at    timestamptz not null default clock_timestamp(),
    -- When the last return of a past, or of another server, was accepted. Null in ordinary life.
    returned_at       timestamptz,
    -- 1: the key is the payment's id. 2: it is derived.
    key_scheme        smallint    not null constraint installation_key_scheme_known check (key_scheme in (1, 2)),
    -- Part of derived keys: empty, and of a copy the copy's own id, so that it never shares a key with the original.
    key_space         text        not null default '',
    -- Payments made before are another installation's: nothing is ever asked of a gateway about them.
    own_since         timestamptz not null default '-infinity',
    -- The database that this is. Null until a process has seen it, and where it may not be read.
    system_identifier text,
    database_oid      bigint,
    timeline          integer,
    -- Why nothing is claimed or accepted until a person has run `payonce restored`.
    must_restore      text,
    -- The transaction that wrote this row, which is another one once the row was copied or loaded.
    written_xid       bigint      not null
);
create function note_who_wrote() returns trigger language plpgsql as $$
begin
    new.written_xid := (pg_current_xact_id()::text::numeric % 4294967296)::bigint;
    return new;
end $$;
create trigger installation_says_who_wrote before insert or update on installation for each row
    execute function note_who_wrote();
create trigger installation_stays before delete on installation for each row
    execute function refuse_change('an installation stays');
create trigger installation_stays_all before truncate on installation
    execute function refuse_change('an installation stays');
insert into installation (key_scheme, written_xid) select case when exists (select from payments) then 1 else 2 end, 0;

-- The gateway's key of the payment, fixed when it is accepted. Null means its id, for ever. No index: nothing asks by key alone.
alter table payments add column gateway_key text
    constraint payments_gateway_key_length check (length(gateway_key) between 1 and 255);
-- What the gateway has of it is not known: until it has answered a look, nothing else is asked, and nothing ends.
alter table payments add column look_first boolean not null default false;
drop trigger payments_facts_are_fixed on payments;
create trigger payments_facts_are_fixed before update on payments for each row
    when (new.id is distinct from old.id or new.merchant_id is distinct from old.merchant_id
          or new.customer_id is distinct from old.customer_id or new.amount is distinct from old.amount
          or new.currency is distinct from old.currency or new.payment_method is distinct from old.payment_method
          or new.description is distinct from old.description or new.metadata is distinct from old.metadata
          or new.correlation_id is distinct from old.correlation_id or new.created_at is distinct from old.created_at
          or new.gateway_key is distinct from old.gateway_key)
    execute function refuse_change('what the customer owes, and its key at the gateway, were fixed when the payment was accepted');

-- Charges at the gateway of payments that were forgotten. A payment with such a key may only look, and adopt the charge.
create table orphans (
    gateway    text        not null,
    key        text        not null,
    -- Which payment it was.
    reference  text,
    charge_id  text        not null,
    -- What stands: charges less voids and refunds.
    amount     numeric     not null,
    currency   text        not null,
    found_at   timestamptz not null default clock_timestamp(),
    adopted_by uuid,
    adopted_at timestamptz,
    constraint orphans_pkey primary key (gateway, key),
    constraint orphans_adopted_by_somebody check ((adopted_by is null) = (adopted_at is null))
);
create trigger orphans_stay before delete on orphans for each row
    execute function refuse_change('what was found at the gateway stays');
create trigger orphans_stay_all before truncate on orphans
    execute function refuse_change('what was found at the gateway stays');

-- A payment that succeeds by the charge of a forgotten one says so in its event, whoever writes it. Its breaks close with that.
create function note_adoption() returns trigger language plpgsql as $$
declare
    its_key text := (select coalesce(gateway_key, 'pay_' || replace(id::text, '-', '')) from payments where id = new.payment_id);
begin
    insert into orphans (gateway, key, reference, charge_id, amount, currency, adopted_by, adopted_at)
    select 'default', its_key, new.evidence ->> 'adopted', new.evidence ->> 'charge_id', p.amount, p.currency, p.id, new.at
      from payments p where p.id = new.payment_id
        on conflict on constraint orphans_pkey do update set adopted_by = excluded.adopted_by, adopted_at = excluded.adopted_at;
    update breaks
       set closed_at = new.at, closed_by = 'payonce', closed_reason = 'a payment with that key adopted the charge'
     where subject = 'key ' || its_key and kind in ('orphan', 'charge_unknown') and closed_at is null;
    return null;
end $$;
create trigger payment_events_adopt after insert on payment_events for each row
    when (new.type = 'succeeded' and new.evidence ? 'adopted') execute function note_adoption();

-- A process of before knows neither derived keys nor payments that are to be looked at first: it would ask under another key.
-- Once keys are derived it changes nothing any more, since it cannot read what stands in histories either.
create function refuse_old_programs() returns trigger language plpgsql as $$
begin
    if exists (select from installation where key_scheme = 2)
       or new.claim_token is not null and new.claim_token is distinct from old.claim_token
          and (new.gateway_key is not null or new.look_first
               or exists (select from installation where must_restore is not null)) then
        raise exception 'change of % refused: this process is older than the keys at the gateway; start the current version', new.id
            using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger payments_refuse_old_programs before update on payments for each row
    when (current_setting('payonce.reads_keys', true) is distinct from 'on')
    execute function refuse_old_programs();
create function refuse_old_looks() returns trigger language plpgsql as $$
begin
    if exists (select from payments where id = new.payment_id and (gateway_key is not null or look_first))
       or exists (select from installation where must_restore is not null) then
        raise exception 'claim about % refused: this process is older than its key at the gateway; start the current version',
            new.payment_id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger breaks_refuse_old_claims before update on breaks for each row
    when (new.void_token is not null and new.void_token is distinct from old.void_token
          and current_setting('payonce.reads_keys', true) is distinct from 'on')
    execute function refuse_old_looks();
create trigger decisions_refuse_old_claims before update on decisions for each row
    when (new.token is not null and new.token is distinct from old.token
          and current_setting('payonce.reads_keys', true) is distinct from 'on')
    execute function refuse_old_looks();
create trigger corrections_refuse_old_claims before update on corrections for each row
    when (new.token is not null and new.token is distinct from old.token
          and current_setting('payonce.reads_keys', true) is distinct from 'on')
    execute function refuse_old_looks();

-- Not valid: not checked against the rows that are there, all of which pass, so that the tables are locked for a moment only.
alter table payments drop constraint payments_held_reason_known;
alter table payments add constraint payments_held_reason_known
    check (held_reason in ('wrong_answer', 'contradiction', 'unverifiable', 'poison', 'unreadable', 'restored')) not valid;
alter table payment_events drop constraint payment_events_type_known;
alter table payment_events add constraint payment_events_type_known check (type in (
    'created', 'attempt_started', 'taken_over', 'verifying', 'outcome_unknown', 'retry_scheduled',
    'succeeded', 'failed', 'void_started', 'reversed', 'held', 'released', 'rescheduled', 'restored', 'doubted')) not valid;
