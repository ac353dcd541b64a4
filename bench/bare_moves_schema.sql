-- The least that a movement between two accounts needs: what Payonce records, without everything around it.
create table account (id integer primary key, credits numeric not null, debits numeric not null, version bigint not null)
  with (fillfactor = 50);
create table transfer (id bigint generated always as identity primary key, debited integer, credited integer, amount numeric);
create table key (key text primary key, fingerprint bytea not null, transfer bigint not null);
create table entry (account integer, version bigint, transfer bigint, credits numeric, debits numeric, primary key (account, version));
insert into account select n, 1000000000, 0, 0 from generate_series(1, :accounts) n;

-- Both accounts are locked in the order of their ids, and funds must suffice. One call is one round trip.
create function move(debit integer, credit integer, much numeric, key_of text) returns void language plpgsql as $$
declare
    moved bigint;
begin
    perform from account where id in (debit, credit) order by id for update;
    insert into transfer (debited, credited, amount) values (debit, credit, much) returning id into moved;
    insert into key values (key_of, sha256(key_of::bytea), moved);
    update account set debits = debits + much, version = version + 1 where id = debit and credits - debits >= much;
    if not found then
        raise exception 'account % has too little', debit;
    end if;
    update account set credits = credits + much, version = version + 1 where id = credit;
    insert into entry select id, version, moved, credits, debits from account where id in (debit, credit);
end $$;
