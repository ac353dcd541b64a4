-- Refunds that are not over came back with a restored database: what the gateway made of them is not known. Each is looked up before
-- anything is sent. Whoever holds a claim on one settles too late.
with mine as materialized (
    select o.id, clock_timestamp() as at
      from operations o
     where o.status = 'pending'
       and not exists (select from operation_events e
                        where e.operation_id = o.id and e.type = 'restored' and (e.evidence ->> 'epoch')::int = $1)
     order by o.id
       for no key update of o
),
moved as (
    update operations o
       set version = o.version + 1, claim_token = null, may_send = false, in_doubt = true, doubt_since = coalesce(o.doubt_since, m.at),
           first_sent_at = least(o.first_sent_at, o.created_at), send_by = m.at + $3::bigint * interval '1 millisecond',
           takeover_count = 0, verify_count = 0, not_found_count = 0, due_at = case when o.held_reason is null then m.at end,
           updated_at = m.at
      from mine m
     where o.id = m.id
    returning o.id, o.version, o.due_at, m.at
),
logged as (
    insert into operation_events (operation_id, version, type, evidence, due_at, at)
    select id, version, 'restored', jsonb_build_object('epoch', $1::int, 'by', $2::text), due_at, at from moved
)
select count(*) as "count!" from moved
