-- The hot tables are vacuumed by how much was done and not by how much is stored, and jobs are fetched by one index only.
-- Old code may run meanwhile: yes (settings, and an index with the same columns in another order).

-- Each payment leaves two dead rows and each job three, none of which another version can take the place of in its page, as
-- what changes is indexed. By the defaults, at a million payments stored, they would wait until a hundred thousand had
-- passed: in every index of the table, and in front of what is due.
alter table payments set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);
alter table apalis.jobs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);

-- Here nothing ever changes: a vacuum reads the pages that are new, and may freeze them at once, so that none has to come
-- again for all of them. By the defaults it would come for a fifth of the table at a time.
alter table payment_events set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                                autovacuum_freeze_min_age = 0);
alter table ledger_transfers set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                                  autovacuum_freeze_min_age = 0);
alter table idempotency_keys set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                                  autovacuum_freeze_min_age = 0);

-- It began with the queue, so that where statistics were taken of hardly any job, it looked like a way to the few jobs of a
-- queue, and each fetch read and sorted all of them.
drop index apalis.idx_jobs_idempotency_key;
create unique index idx_jobs_idempotency_key on apalis.jobs (idempotency_key, job_type);
