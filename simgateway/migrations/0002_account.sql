-- The account that all charges go to: by its name a caller knows that it talks to these books and no others.
-- Old code may run meanwhile: yes (a new table).
create table gateway_account (
    only_one boolean primary key default true constraint gateway_account_only_one check (only_one),
    name     text    not null default 'acct_' || replace(gen_random_uuid()::text, '-', '')
);
insert into gateway_account default values;
