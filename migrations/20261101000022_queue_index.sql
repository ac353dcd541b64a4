-- One index less for every job to be in: what a worker holds is found among the jobs in flight, which are few.
-- Old code may run meanwhile: yes (its statements find the same rows).

drop index apalis.payonce_jobs_of_worker;
