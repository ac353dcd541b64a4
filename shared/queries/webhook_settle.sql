-- Ends a round of one endpoint: its deliveries, its attempts, its cursor and how it stands, under its lease or not at all. A round
-- whose lease was taken over changes nothing: what it sent is sent again.
with round as materialized (
    select w.id, w.versions, clock_timestamp() as at,
           $11::int = 0 and $12::int > 0 as is_failure,
           $11::int > 0 as is_success,
           case when $11::int > 0 then 0 when $12::int > 0 then w.failures + $12::int else w.failures end as failures,
           case when $11::int > 0 then null when $12::int > 0 then coalesce(w.failing_since, clock_timestamp()) else w.failing_since end as failing_since
      from webhook_endpoints w
     where w.id = $1 and w.lease_token = $2
       for no key update
),
judged as materialized (
    select r.*,
           case when $13::bool then 'gone'
                when r.is_failure and r.failures >= $15::int and r.failing_since < r.at - $16::bigint * interval '1 millisecond' then 'failing'
           end as disabled_for
      from round r
),
ended as (
    update webhook_endpoints w
       set lease_token = null, lease_until = null,
           epoch = coalesce($3::bigint, w.epoch), tx = coalesce($4::text::xid8, w.tx), object = coalesce($5::uuid, w.object),
           version = coalesce($6::int, w.version),
           failures = j.failures, failing_since = j.failing_since,
           misses = case when j.is_success then 0 when j.is_failure and $14::bool then w.misses + 1 else w.misses end,
           look_at = case when j.is_failure and $14::bool
                          then j.at + least(power(2, least(w.misses + 1, 10)), $17::float8) * interval '1 second' else j.at end,
           status = case when j.disabled_for is not null then 'disabled' else w.status end,
           disabled_reason = case when w.status = 'disabled' then w.disabled_reason else j.disabled_for end,
           versions = w.versions + (j.disabled_for is not null and w.status = 'enabled')::int
      from judged j
     where w.id = j.id
    returning w.id, w.versions, w.versions > j.versions as is_disabled_now, w.disabled_reason, j.at
),
told as (
    insert into webhook_endpoint_events (endpoint_id, version, type, reason, at)
    select id, versions, 'disabled', disabled_reason, at from ended where is_disabled_now
),
sent as (
    insert into webhook_deliveries as d (endpoint_id, epoch, tx, object, version, status, tries, due_at, http_status, error, updated_at)
    select e.id, s.epoch, s.tx::xid8, s.object, s.version, s.status, s.tries,
           case when s.status = 'pending' then e.at + s.wait_ms * interval '1 millisecond' end, s.http_status, s.error, e.at
      from ended e
     cross join unnest($7::bigint[], $8::text[], $9::uuid[], $10::int[], $18::text[], $19::int[], $20::bigint[], $21::int[], $22::text[])
        as s (epoch, tx, object, version, status, tries, wait_ms, http_status, error)
        on conflict on constraint webhook_deliveries_pkey do update
           set status = excluded.status, tries = excluded.tries, due_at = excluded.due_at, http_status = excluded.http_status,
               error = excluded.error, updated_at = excluded.updated_at
         where d.status <> 'delivered'
),
noted as (
    insert into webhook_attempts (endpoint_id, event, type, try, at, took_ms, http_status, answer, error)
    select e.id, a.event, a.type, a.try, e.at, a.took_ms, a.http_status, a.answer, a.error
      from ended e
     cross join unnest($23::text[], $24::text[], $25::int[], $26::int[], $27::int[], $28::text[], $29::text[])
        as a (event, type, try, took_ms, http_status, answer, error)
)
select is_disabled_now as "is_disabled_now!" from ended
