-- Accounts of a merchant's own customers, transfers between them, and every change of every balance. The accounts of one merchant
-- are a closed book: no transfer leads out of it.
-- Old code may run meanwhile: yes (new tables; it reads and writes the keys of payments as before).

create table accounts (
    id              uuid        primary key,
    -- No foreign key, as for payments: merchants are never deleted.
    merchant_id     uuid        not null,
    currency        text        collate "C" not null constraint accounts_currency_code check (currency ~ '^[A-Z]{3}$'),
    -- The merchant's own word for whose account it is.
    owner           text        collate "C" not null constraint accounts_owner_length check (length(owner) between 1 and 255),
    -- The number or name that another system knows the account by.
    external_id     text        collate "C" constraint accounts_external_id_length check (length(external_id) between 1 and 255),
    -- Whether money may come from nowhere here: an account by which others are funded.
    allow_negative  boolean     not null,
    -- All that was ever added and taken, and what is reserved. They begin as a zero with the digits of the currency, and keep these.
    credits_posted  numeric     not null,
    debits_posted   numeric     not null,
    credits_pending numeric     not null,
    debits_pending  numeric     not null,
    -- How many entries the account has.
    version         bigint      not null default 0,
    last_at         timestamptz,
    created_at      timestamptz not null default clock_timestamp(),
    constraint accounts_sums_are_sums
        check (credits_posted >= 0 and debits_posted >= 0 and credits_pending >= 0 and debits_pending >= 0
               and credits_posted < 1e24 and debits_posted < 1e24),
    constraint accounts_funds_suffice check (allow_negative or credits_posted - debits_posted - debits_pending >= 0)
) with (fillfactor = 50);
create unique index accounts_one_each on accounts (merchant_id, external_id) where external_id is not null;
create index accounts_by_merchant on accounts (merchant_id, id);
create index accounts_by_owner on accounts (merchant_id, owner, id);

create table transfers (
    id            uuid        primary key,
    merchant_id   uuid        not null,
    -- No foreign keys: their checks would lock accounts in an order of their own. A trigger compares instead.
    debited       uuid        not null,
    credited      uuid        not null,
    amount        numeric     not null constraint transfers_amount_range check (amount > 0 and amount <= 1000000000000),
    currency      text        collate "C" not null,
    -- When what is reserved goes back by itself. Null if the money moved at once.
    expires_at    timestamptz,
    -- The first transfer of those that happened together or not at all.
    group_id      uuid,
    -- Which of them it is, from 0.
    position      smallint    not null,
    created_at    timestamptz not null,
    status        text        not null constraint transfers_status_known check (status in ('pending', 'posted', 'voided', 'expired')),
    -- How much moved in the end.
    posted_amount numeric,
    ended_at      timestamptz,
    constraint transfers_accounts_differ check (debited <> credited),
    constraint transfers_ended_unless_pending check ((ended_at is null) = (status = 'pending')),
    constraint transfers_amount_iff_posted check ((posted_amount is not null) = (status = 'posted')),
    constraint transfers_posts_at_most_all check (posted_amount > 0 and posted_amount <= amount),
    constraint transfers_holds_have_an_end check (expires_at is not null or (status = 'posted' and posted_amount = amount))
);
create index transfers_pending_of on transfers (debited, expires_at) where status = 'pending';
-- It says its condition in a way of its own, which only the sweep repeats: to the planner it is no way to an account's holds.
create index transfers_due on transfers (expires_at, id) where (status || '') = 'pending';
create unique index transfers_by_group on transfers (group_id, position) where group_id is not null;
alter table accounts set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);
alter table transfers set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);

-- Append-only: each change of an account, and its four sums after it.
create table account_entries (
    account_id      uuid        not null,
    version         bigint      not null constraint account_entries_version_positive check (version > 0),
    transfer_id     uuid        not null,
    code            text        not null constraint account_entries_code_known
                                check (code in ('transfer', 'pending', 'post', 'void', 'expire')),
    side            text        not null constraint account_entries_side_known check (side in ('debit', 'credit')),
    -- By how much this side's posted and pending sum grew.
    posted          numeric     not null,
    pending         numeric     not null,
    credits_posted  numeric     not null,
    debits_posted   numeric     not null,
    credits_pending numeric     not null,
    debits_pending  numeric     not null,
    at              timestamptz not null,
    constraint account_entries_pkey primary key (account_id, version),
    constraint account_entries_once unique (transfer_id, side, code),
    constraint account_entries_change_what_they_say check (case code
        when 'transfer' then posted > 0 and pending = 0
        when 'pending' then posted = 0 and pending > 0
        when 'post' then posted > 0 and pending < 0 and posted <= -pending
        else posted = 0 and pending < 0 end)
);
alter table account_entries set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                                 autovacuum_freeze_min_age = 0);

create trigger account_entries_append_only before update or delete on account_entries for each row
    execute function refuse_change('a mistake is corrected by another transfer');
create trigger account_entries_append_only_all before truncate on account_entries
    execute function refuse_change('a mistake is corrected by another transfer');
create trigger accounts_stay before delete on accounts for each row
    execute function refuse_change('accounts are never deleted');
create trigger accounts_stay_all before truncate on accounts
    execute function refuse_change('accounts are never deleted');
create trigger transfers_stay before delete on transfers for each row
    execute function refuse_change('transfers are never deleted');
create trigger transfers_stay_all before truncate on transfers
    execute function refuse_change('transfers are never deleted');

create trigger accounts_facts_are_fixed before update on accounts for each row
    when (new.id is distinct from old.id or new.merchant_id is distinct from old.merchant_id
          or new.currency is distinct from old.currency or new.owner is distinct from old.owner
          or new.external_id is distinct from old.external_id or new.allow_negative is distinct from old.allow_negative
          or new.created_at is distinct from old.created_at)
    execute function refuse_change('whose account it is was fixed when it was opened');
create trigger accounts_only_grow before update on accounts for each row
    when (new.version <= old.version or new.credits_posted < old.credits_posted or new.debits_posted < old.debits_posted)
    execute function refuse_change('what was posted stays posted');
create trigger transfers_are_as_asked_for before update on transfers for each row
    when (new.id is distinct from old.id or new.merchant_id is distinct from old.merchant_id
          or new.debited is distinct from old.debited or new.credited is distinct from old.credited
          or new.amount is distinct from old.amount or new.currency is distinct from old.currency
          or new.expires_at is distinct from old.expires_at or new.group_id is distinct from old.group_id
          or new.position is distinct from old.position
          or new.created_at is distinct from old.created_at)
    execute function refuse_change('what is transferred was fixed when it was asked for');
create trigger transfers_end_once before update on transfers for each row
    when (old.status <> 'pending' or new.status = 'pending') execute function refuse_change('a transfer ends once');

-- A hold ends by entries. Of these a statement writes both sides or none.
create function refuse_an_end_without_entries() returns trigger language plpgsql as $$
begin
    if not exists (select from account_entries e
                    where e.transfer_id = new.id and e.side = 'debit' and e.posted = coalesce(new.posted_amount, 0)
                      and e.code = case new.status when 'posted' then 'post' when 'voided' then 'void' else 'expire' end) then
        raise exception 'end of transfer % refused: it has no entries that say so', new.id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger transfers_end_by_entries before update on transfers for each row
    execute function refuse_an_end_without_entries();

-- An account is what its last entry says.
create function refuse_sums_without_an_entry() returns trigger language plpgsql as $$
begin
    if new.version = 0 and new.credits_posted = 0 and new.debits_posted = 0 and new.credits_pending = 0 and new.debits_pending = 0
       or exists (select from account_entries e
                   where e.account_id = new.id and e.version = new.version and e.at = new.last_at
                     and e.credits_posted = new.credits_posted and e.debits_posted = new.debits_posted
                     and e.credits_pending = new.credits_pending and e.debits_pending = new.debits_pending) then
        return new;
    end if;
    raise exception 'change of account % refused: it has no entry that says so', new.id using errcode = 'restrict_violation';
end $$;
create trigger accounts_follow_their_entries before insert or update on accounts for each row
    execute function refuse_sums_without_an_entry();

-- A transfer stays within the book of its merchant, and within a currency. Once for all rows of a statement.
create function refuse_transfers_out_of_the_book() returns trigger language plpgsql as $$
declare
    stray uuid := (select t.id from written t
                     left join accounts d on d.id = t.debited and d.merchant_id = t.merchant_id and d.currency = t.currency
                     left join accounts c on c.id = t.credited and c.merchant_id = t.merchant_id and c.currency = t.currency
                    where d.id is null or c.id is null
                    limit 1);
begin
    if stray is not null then
        raise exception 'transfer % refused: its accounts are not both of its merchant and its currency', stray
            using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
create trigger transfers_stay_in_the_book after insert on transfers referencing new table as written for each statement
    execute function refuse_transfers_out_of_the_book();

-- Each entry continues the one before it, and has its other side. Once for all rows of a statement.
create function refuse_broken_entries() returns trigger language plpgsql as $$
declare
    stray uuid;
begin
    select w.transfer_id into stray
      from (select e.*, lag(e.version) over own as before_version, lag(e.at) over own as before_at,
                   lag(e.credits_posted) over own as before_credits, lag(e.debits_posted) over own as before_debits,
                   lag(e.credits_pending) over own as before_in, lag(e.debits_pending) over own as before_out
              from written e
            window own as (partition by e.account_id order by e.version)) w
      left join account_entries p on w.before_version is null and p.account_id = w.account_id and p.version = w.version - 1
     where w.version <> coalesce(w.before_version, p.version, 0) + 1
        or w.at < coalesce(w.before_at, p.at, '-infinity')
        or w.credits_posted <> coalesce(w.before_credits, p.credits_posted, 0) + case w.side when 'credit' then w.posted else 0 end
        or w.debits_posted <> coalesce(w.before_debits, p.debits_posted, 0) + case w.side when 'debit' then w.posted else 0 end
        or w.credits_pending <> coalesce(w.before_in, p.credits_pending, 0) + case w.side when 'credit' then w.pending else 0 end
        or w.debits_pending <> coalesce(w.before_out, p.debits_pending, 0) + case w.side when 'debit' then w.pending else 0 end
     limit 1;
    if stray is not null then
        raise exception 'entry of transfer % refused: it does not continue the one before it', stray using errcode = 'restrict_violation';
    end if;
    select w.transfer_id into stray
      from written w
      left join transfers t on t.id = w.transfer_id
     group by w.transfer_id, w.code
    having count(*) <> 2 or count(distinct w.side) <> 2 or count(distinct w.posted) <> 1 or count(distinct w.pending) <> 1
        or count(distinct w.at) <> 1
        or bool_or(w.account_id is distinct from case w.side when 'debit' then t.debited else t.credited end)
     limit 1;
    if stray is not null then
        raise exception 'entries of transfer % refused: they are not its two sides', stray using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
create trigger account_entries_are_whole after insert on account_entries referencing new table as written for each statement
    execute function refuse_broken_entries();

-- All entries of all accounts: of the house and merchants by payments, of customers by transfers.
create or replace view ledger_entries as
    select id as transfer_id, transaction_id, debit_account_id as account_id, 'debit' as side,
           amount, currency, code, payment_id, created_at from ledger_transfers
    union all
    select id, transaction_id, credit_account_id, 'credit',
           amount, currency, code, payment_id, created_at from ledger_transfers
    union all
    select e.transfer_id, coalesce(t.group_id, t.id), e.account_id, e.side, e.posted, t.currency collate "default", e.code, null::uuid, e.at
      from account_entries e join transfers t on t.id = e.transfer_id
     where e.posted > 0;
