-- Several gateways, each under a name. A merchant has one of them for life, and each of its payments stores which: the key at the
-- gateway does not have the name in it, so that a payment which was forgotten and is sent again meets its own charge.
-- Old code may run meanwhile: yes, as long as there is only the one gateway that it knows. From the moment at which
-- `payonce keys create --gateway` names another one, older programs change nothing any more.

create table gateways (
    name       text        collate "C" primary key constraint gateways_name_form check (name ~ '^[a-z][a-z0-9_]{0,31}$'),
    created_at timestamptz not null default clock_timestamp()
);
insert into gateways (name) values ('default');
create trigger gateways_stay before update or delete on gateways for each row
    execute function refuse_change('what was charged there is looked up under its name');
create trigger gateways_stay_all before truncate on gateways
    execute function refuse_change('what was charged there is looked up under its name');

alter table merchants add column gateway text collate "C" not null default 'default' references gateways (name);
-- Not with the id: a reader that has the id would take that index for the whole answer, and read all of it.
create index merchants_by_gateway on merchants (gateway);
create trigger merchants_gateway_is_fixed before update on merchants for each row
    when (new.gateway is distinct from old.gateway)
    execute function refuse_change('what it paid is known at its gateway alone: make another merchant');

alter table payments add column gateway text collate "C" not null default 'default';
drop trigger payments_facts_are_fixed on payments;
create trigger payments_facts_are_fixed before update on payments for each row
    when (new.id is distinct from old.id or new.merchant_id is distinct from old.merchant_id
          or new.customer_id is distinct from old.customer_id or new.amount is distinct from old.amount
          or new.currency is distinct from old.currency or new.payment_method is distinct from old.payment_method
          or new.description is distinct from old.description or new.metadata is distinct from old.metadata
          or new.correlation_id is distinct from old.correlation_id or new.created_at is distinct from old.created_at
          or new.gateway_key is distinct from old.gateway_key or new.gateway is distinct from old.gateway)
    execute function refuse_change('what the customer owes, and where and under which key it is charged, was fixed when the payment was accepted');

-- The index by gateway and due time is made after the migrations, while payments go on: see `database::migrate`.

-- Money on its way from each gateway is an account of the house. A merchant has one account, whatever its gateway.
alter table ledger_accounts add column gateway text collate "C" not null default 'default';
alter table ledger_accounts drop constraint ledger_accounts_one_each;
alter table ledger_accounts add constraint ledger_accounts_one_each
    unique nulls not distinct (kind, currency, merchant_id, gateway);
alter table ledger_accounts add constraint ledger_accounts_gateway_of_the_house
    check (gateway = 'default' or merchant_id is null);

-- A charge of a forgotten payment stands in the way of its repetition at whatever gateway: it is asked for by key alone.
create index orphans_open_by_key on orphans (key) where adopted_by is null;

-- One account has one name: under two its charges would be compared with the payments of the other.
alter table gateway_identities add constraint gateway_identities_one_name unique (account, environment);

-- How far each gateway's list of charges was compared. Older programs keep the place in the run, for the one that they know.
alter table gateway_cursors add column listed_up_to text;
update gateway_cursors
   set listed_up_to = (select listed_up_to from reconciliation_runs where trigger = 'tick' order by id desc limit 1)
 where gateway = 'default';

-- A job of another gateway than the default one says which, as a hint for whom to wake.
create function job_for(job bytea, gateway text) returns bytea language sql stable as $$
    select case when gateway = 'default' then job
                else convert_to((convert_from(job, 'UTF8')::jsonb || jsonb_build_object('gateway', gateway))::text, 'UTF8') end
$$;

-- What a break about a key at a gateway is about.
create function key_subject(gateway text, key text) returns text language sql immutable as $$
    select case when gateway = 'default' then 'key ' || key else 'gateway ' || gateway || ' key ' || key end
$$;

create or replace function note_adoption() returns trigger language plpgsql as $$
declare
    p record;
begin
    select id, gateway, coalesce(gateway_key, 'pay_' || replace(id::text, '-', '')) as key, amount, currency
      into p
      from payments where id = new.payment_id;
    insert into orphans (gateway, key, reference, charge_id, amount, currency, adopted_by, adopted_at)
    values (p.gateway, p.key, new.evidence ->> 'adopted', new.evidence ->> 'charge_id', p.amount, p.currency, p.id, new.at)
        on conflict on constraint orphans_pkey do update set adopted_by = excluded.adopted_by, adopted_at = excluded.adopted_at;
    update breaks
       set closed_at = new.at, closed_by = 'payonce', closed_reason = 'a payment with that key adopted the charge'
     where subject = key_subject(p.gateway, p.key) and kind in ('orphan', 'charge_unknown') and closed_at is null;
    return null;
end $$;

-- A program that knows one gateway would ask it about the payments of all, and book them as its own. Each row that it writes is
-- refused. What is hot has no trigger more than before: a condition is read anew by each statement that has rows.
create function refuse_where_there_are_several_gateways() returns trigger language plpgsql as $$
begin
    if exists (select from gateways where name <> 'default') then
        raise exception 'change of % refused: this process knows one gateway, and here are several; start the current version',
            tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
do $$
declare
    name text;
begin
    foreach name in array array['merchants', 'breaks', 'decisions', 'corrections', 'orphans', 'gateway_effects', 'gateway_cursors',
                                'reconciliation_runs', 'installation']
    loop
        execute format('create trigger %1$s_know_all_gateways before insert or update on %1$s for each row
                            when (current_setting(''payonce.reads_gateways'', true) is distinct from ''on'')
                            execute function refuse_where_there_are_several_gateways()', name);
    end loop;
end $$;

-- Payments: one trigger refuses all programs that are too old, for whatever reason.
create or replace function refuse_old_programs() returns trigger language plpgsql as $$
begin
    if exists (select from gateways where name <> 'default') then
        raise exception 'change of % refused: this process knows one gateway, and here are several; start the current version', new.id
            using errcode = 'restrict_violation';
    end if;
    if current_setting('payonce.reads_keys', true) is distinct from 'on'
       and (exists (select from installation where key_scheme = 2)
            or new.claim_token is not null and new.claim_token is distinct from old.claim_token
               and (new.gateway_key is not null or new.look_first
                    or exists (select from installation where must_restore is not null))) then
        raise exception 'change of % refused: this process is older than the keys at the gateway; start the current version', new.id
            using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
drop trigger payments_refuse_old_programs on payments;
create trigger payments_refuse_old_programs before update on payments for each row
    when (current_setting('payonce.reads_gateways', true) is distinct from 'on')
    execute function refuse_old_programs();

-- The statement that accepts payments asks for the doors itself. Older programs are asked here, once for each statement.
create or replace function refuse_behind_closed_doors() returns trigger language plpgsql as $$
begin
    if exists (select from installation where must_restore is not null) then
        raise exception 'nothing is accepted until `payonce restored` has run' using errcode = 'cannot_connect_now';
    end if;
    -- Its payments would have other keys than the same requests before.
    if current_setting('payonce.reads_keys', true) is distinct from 'on'
       and exists (select from installation where key_scheme = 2) then
        raise exception 'nothing is accepted: this process is older than the keys at the gateway; start the current version'
            using errcode = 'cannot_connect_now';
    end if;
    -- And they would all be charged at one gateway.
    if exists (select from gateways where name <> 'default') then
        raise exception 'nothing is accepted: this process knows one gateway, and here are several; start the current version'
            using errcode = 'cannot_connect_now';
    end if;
    return null;
end $$;
drop trigger payments_behind_closed_doors on payments;
create trigger payments_behind_closed_doors before insert on payments for each statement
    when (current_setting('payonce.reads_gateways', true) is distinct from 'on')
    execute function refuse_behind_closed_doors();
