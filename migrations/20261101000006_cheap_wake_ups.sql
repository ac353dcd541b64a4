-- The queue's workers are woken once for many jobs, and its tables carry no index that costs more than it gives.
--
-- A notification takes a lock that the whole database shares, until its transaction has ended: with the queue library's
-- trigger, which notifies for each row, no two commits that enqueue could share a flush to disk. Whoever enqueues rings
-- for itself now, after the commit and once for all that came meanwhile; polling underneath finds what nobody rang for.
--
-- Old code may run meanwhile: its jobs are found by polling, within 200 ms.

drop trigger notify_workers on apalis.jobs;

-- Each of these indexes the same column as another one of the library's own.
drop index apalis.lidx;
drop index apalis.unique_job_id;

-- A finished job keeps the name of its worker. With all of a worker's jobs in an index, its acknowledgements were planned to
-- read every job that it had ever done; in this one are the jobs that it holds.
drop index apalis.idx_apalis_jobs_lock_by;
create index payonce_jobs_of_worker on apalis.jobs (lock_by) where status in ('Queued', 'Running');

-- Checked for every job that a worker takes, against a row that each of its heartbeats writes. Workers that are long gone
-- are deleted only where they hold no job.
alter table apalis.jobs drop constraint fk_worker_lock_by;
