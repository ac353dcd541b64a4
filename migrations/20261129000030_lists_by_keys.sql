-- Keys are compared byte by byte, and a merchant's lists are read by the rows of keys, which never change.
-- Old code may run meanwhile: yes (it finds the same rows). Accepting waits while indexes are made, a few seconds for each
-- million of payments.

-- What is only looked for needs no order of a language, which costs several times as much to compare.
alter table idempotency_keys
    alter column operation type text collate "C",
    alter column customer_id type text collate "C",
    alter column key type text collate "C";
alter table gateway_effects alter column key type text collate "C";
alter table apalis.jobs
    alter column id type text collate "C",
    alter column idempotency_key type text collate "C";

-- An index of payments gets a new entry with each claim and each settlement, one of keys gets one for good. The indexes of
-- payments that older programs list by are dropped at the end of `payonce migrate`, once keys at the gateway are derived.
-- Each says which operation it is for in a way of its own, which only the lists repeat: to the planner none of them is another
-- way to a key, nor one to the list of the other, also where it knows nothing of the table.
create index idempotency_keys_by_merchant on idempotency_keys (merchant_id, payment_id)
    where substr(operation, 1) = 'create_payment';
create index idempotency_keys_by_customer on idempotency_keys (merchant_id, customer_id, payment_id)
    where operation || '' = 'create_payment';
