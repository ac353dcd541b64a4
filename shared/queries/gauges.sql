-- What stands in the database now, as numbers for the gauges. Each part reads an index of what is not over, so its cost
-- grows with the backlog and not with the tables.
select open.pending::float8 as "pending!", open.processing::float8 as "processing!",
       (select count(*) from reviews where status = 'open')::float8 as "in_review!", overdue.gateways as "gateways!",
       overdue.counts as "overdue!",
       held.count::float8 as "held!", jobs.waiting::float8 as "jobs_waiting!", jobs.oldest_age as "oldest_job_age!",
       open_breaks.counts as breaks_open,
       (select count(*) from dead_letters where closed_at is null)::float8 as "dead_letters_open!",
       (select count(*) from operations where due_at is not null)::float8 as "refunds_open!",
       (select count(*) from operations where held_reason is not null)::float8 as "refunds_held!",
       (not may_claim())::int::float8 as "closed!",
       coalesce((select extract(epoch from clock_timestamp() - min(due_at))::float8 from webhook_deliveries
                  where status = 'pending' and due_at < clock_timestamp()), 0) as "webhook_oldest!",
       coalesce(extract(epoch from clock_timestamp() - least(
                    (select min(xact_start) from pg_stat_activity where backend_xid is not null),
                    (select min(prepared) from pg_prepared_xacts)))::float8, 0) as "held_back!",
       coalesce((select extract(epoch from clock_timestamp() - finished_at)::float8 from reconciliation_runs
                  where finished_at is not null order by id desc limit 1), 'infinity') as "reconciliation_age!",
       holds.count::float8 as "holds_open!", holds.oldest_due as "oldest_due_hold!"
  from (select count(*) filter (where status = 'pending') as pending,
               count(*) filter (where status = 'processing') as processing
          from payments
         where due_at is not null) open
 cross join (select array_agg(g.name order by g.name) as gateways, array_agg(late.count::float8 order by g.name) as counts
               from gateways g
              cross join lateral (
                    select count(*) from payments
                     where gateway = g.name and due_at < now() - interval '10 seconds') late) overdue
 cross join (select count(*) from payments where held_reason is not null) held
 cross join (select count(*) as waiting,
                    coalesce(extract(epoch from now() - min(run_at)), 0)::float8 as oldest_age
               from apalis.jobs
              where job_type = $1 and status = 'Pending' and run_at <= now()) jobs
 cross join (select count(*), greatest(coalesce(extract(epoch from now() - min(expires_at)), 0), 0)::float8 as oldest_due
               from transfers
              where (status || '') = 'pending') holds
 cross join (select array_agg(coalesce(open.count, 0)::float8 order by k.n) as counts
               from unnest($2::text[]) with ordinality as k (kind, n)
               left join (select kind, count(*) from breaks where closed_at is null group by kind) open using (kind)) open_breaks
