-- Lists what is in the hands of workers that are gone, as found by the worker $1: whose lease is over, who has no connection any
-- more ($3 and the end of its name is what its connections are called), or who was not heard of for $4 ms. At most $2 are
-- listed, by id, so that workers that start at the same time wait for each other and cannot deadlock.
with connected as materialized (
    select array_agg(application_name) as names from pg_stat_activity where datname = current_database()
),
silent as materialized (
    -- A worker has several names, which begin with the process that it is.
    select array_agg(process) as names
      from (select regexp_replace(id, '-[^-]*$', '') as process
              from apalis.workers
             group by 1
            having max(last_seen) < clock_timestamp() - $4::bigint * interval '1 millisecond') s
),
under_way as materialized (
    select p.id, p.claim_token, p.due_at < clock_timestamp() as lease_is_over, e.worker
      from payments p
     cross join lateral (
            select evidence ->> 'worker' as worker from payment_events
             where payment_id = p.id and version = p.version
            offset 0) e
     where p.due_at is not null and p.claim_token is not null
       and not exists (select from recovery_items i where i.payment_id = p.id and i.claim_token = p.claim_token)
),
lost as materialized (
    select id, claim_token, row_number() over (order by id) as n
      from under_way
     cross join connected
     cross join silent
     where lease_is_over
        or $3 || substring(worker from '[^-]*$') <> all (connected.names)
        or regexp_replace(worker, '-[^-]*$', '') = any (silent.names)
),
listed as (
    insert into recovery_items (payment_id, claim_token, report)
    select id, claim_token, $1 from lost where n <= $2 order by id
        on conflict on constraint recovery_items_pkey do nothing
    returning payment_id
),
reported as (
    insert into recovery_reports (worker, found_at, more)
    select $1, clock_timestamp(), greatest((select count(*) from lost) - $2, 0)
     where exists (select from listed)
    returning more
)
select (select count(*) from listed) as "listed!", coalesce((select more from reported), 0) as "more!"
