-- A transfer is found by its payment. The index of its own id, which is random, cost every payment a page somewhere in the
-- whole of it, and nothing read it.
-- Old code may run meanwhile: yes (an index that no statement uses).

alter table ledger_transfers drop constraint ledger_transfers_pkey;
alter table ledger_transfers replica identity using index ledger_transfers_once;
