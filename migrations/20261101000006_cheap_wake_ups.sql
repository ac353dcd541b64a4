-- The queue's workers are woken once for many jobs, and its tables carry no index twice.
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
