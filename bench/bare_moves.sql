\set debit random(1, :accounts)
\set credit 1 + (:debit + random(0, :accounts - 2)) % :accounts
\set key random(1, 9000000000000000000)
select move(:debit, :credit, 1, :client_id || '-' || :key);
