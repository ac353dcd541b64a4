-- Who keeps dead rows from being cleared away: open transactions and snapshots, slots and prepared transactions that tables of
-- this database have to wait for, the oldest first, at most $1. It reads what the server has in memory, however much is stored.
-- Sessions of others show theirs only to members of pg_read_all_stats.
select held_by as "held_by!", pid, name, age_seconds, age_transactions::bigint as "age_transactions!"
  from (select case when backend_type = 'walsender' then 'standby'
                    when state like 'idle in transaction%' then 'idle_in_transaction'
                    else 'session' end as held_by,
               pid,
               application_name as name,
               -- When a standby began to hold what it holds, nobody knows.
               case when backend_type <> 'walsender' then extract(epoch from clock_timestamp() - xact_start)::float8 end as age_seconds,
               greatest(age(backend_xmin), age(backend_xid)) as age_transactions
          from pg_stat_activity
         where (datname = current_database() or datname is null)
           and pid <> pg_backend_pid()
           -- A vacuum holds up no other one.
           and backend_type <> 'autovacuum worker'
           and pid not in (select v.pid from pg_stat_progress_vacuum v where v.pid is not null)
         union all
        select 'slot', active_pid, slot_name::text, null, age(xmin) from pg_replication_slots
         union all
        select 'prepared', null, gid, extract(epoch from clock_timestamp() - prepared)::float8, age(transaction)
          from pg_prepared_xacts
         where database = current_database()) holders
 where age_transactions is not null
 order by age_transactions desc, age_seconds desc nulls last
 limit $1
