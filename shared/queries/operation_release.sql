-- A person gives a held refund back to the workers: it is due at once, and looked up before anything is sent. Its break closes with that.
with released as (
    update operations o
       set held_reason = null, due_at = clock_timestamp(), may_send = false, version = o.version + 1, takeover_count = 0,
           verify_count = 0, not_found_count = 0, in_doubt = true, doubt_since = coalesce(o.doubt_since, clock_timestamp()),
           updated_at = clock_timestamp()
     where o.id = $1 and o.held_reason is not null and o.terminal_at is null
    returning o.id, o.version, o.due_at, o.updated_at
),
logged as (
    insert into operation_events (operation_id, version, type, reason, evidence, due_at, at)
    select id, version, 'released', 'by_hand', jsonb_build_object('by', $2::text, 'reason', $3::text), due_at, updated_at
      from released
),
closed as (
    update breaks b
       set closed_at = r.updated_at, closed_by = $2, closed_reason = $3
      from released r
     where b.subject = 'refund re_' || replace(r.id::text, '-', '') and b.kind = 'refund_held' and b.closed_at is null
)
select exists (select from released) as "was_released!", exists (select from operations where id = $1) as "exists!"
