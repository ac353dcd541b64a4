-- How many requests an API key may make in a second, and how the API processes share that: each says what a key asks of it, and
-- is granted a part of the key's limit.
-- Old code may run meanwhile: yes (new columns and a new table; it limits each key by its own settings, as before).

alter table api_keys
    -- Null: the default of the settings. A burst without a rate means nothing.
    add column writes_per_s numeric constraint api_keys_writes_per_s_range check (writes_per_s between 0.001 and 1000000),
    add column writes_burst int constraint api_keys_writes_burst_positive check (writes_burst > 0),
    add column reads_per_s numeric constraint api_keys_reads_per_s_range check (reads_per_s between 0.001 and 1000000),
    add column reads_burst int constraint api_keys_reads_burst_positive check (reads_burst > 0),
    add constraint api_keys_bursts_have_rates
        check ((writes_burst is null or writes_per_s is not null) and (reads_burst is null or reads_per_s is not null));

-- The heartbeats. Unlogged: the rows are worth nothing after a crash, and so writing them waits for no disk and no standby.
create unlogged table limit_shares (
    process uuid             not null,
    key_id  uuid             not null,
    traffic   text             not null constraint limit_shares_traffic_known check (traffic in ('writes', 'reads')),
    -- What the key asks of this process, and what the process may let through, as parts of the limit.
    wanted  double precision not null constraint limit_shares_wanted_range check (wanted between 0 and 1),
    share   double precision not null constraint limit_shares_share_range check (share between 0 and 1),
    seen_at timestamptz      not null,
    primary key (key_id, traffic, process)
);

-- The heartbeat of one process: all keys that it limits, what each asks of it, and the share that it would have. It answers the
-- share that the process has from now on, and what the other processes say about the key.
-- All shares of a key are 1 together at most. Where the others hold too much, this one gets half of what is left of 1.05, so that
-- it need not stand still until they have let go. What it holds it keeps, as far as it asks for it: it goes on using that until
-- it has the answer.
-- One process at a time, so that each sees what the one before it was granted. Each statement within sees what was committed
-- before it, as this function is volatile.
create function share_limits(this uuid, keys uuid[], scopes text[], wants double precision[], targets double precision[],
                             alive interval)
    returns table (key_id uuid, traffic text, share double precision, others bigint, others_want double precision)
    language plpgsql as $$
#variable_conflict use_column
begin
    perform pg_advisory_xact_lock(x'7061796f6c696d74'::bigint);
    delete from limit_shares
     where seen_at < clock_timestamp() - alive
        or process = this and (key_id, traffic) not in (select * from unnest(keys, scopes));
    return query
      with beside as materialized (
            select asked.key_id, asked.traffic, asked.wanted, asked.target, coalesce(sum(s.share) filter (where s.process <> this), 0) as held,
                   coalesce(sum(s.share) filter (where s.process = this), 0) as own,
                   count(*) filter (where s.process <> this) as others,
                   coalesce(sum(s.wanted) filter (where s.process <> this), 0) as others_want
              from unnest(keys, scopes, wants, targets) as asked (key_id, traffic, wanted, target)
              left join limit_shares s on s.key_id = asked.key_id and s.traffic = asked.traffic
             group by asked.key_id, asked.traffic, asked.wanted, asked.target),
      written as (
            insert into limit_shares as l (process, key_id, traffic, wanted, share, seen_at)
            select this, key_id, traffic, wanted, greatest(0, least(target, greatest(own, 1 - held, (1.05 - held) / 2))), clock_timestamp()
              from beside
                on conflict on constraint limit_shares_pkey do update
               set wanted = excluded.wanted, share = excluded.share, seen_at = excluded.seen_at
            returning l.key_id, l.traffic, l.share)
      select key_id, traffic, written.share, beside.others, beside.others_want
        from written join beside using (key_id, traffic);
end $$;
