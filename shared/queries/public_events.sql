-- The public events of a merchant after a place, and whether that place is still one. A reader goes up to the oldest transaction that
-- still runs: whatever commits later stands above it. Epochs before the newest are over, and whole.
-- As many events are looked at as $7 says, whichever of them are wanted: what nobody wants is passed over in pieces.
with line as materialized (
    select max(epoch) as newest, pg_snapshot_xmin(pg_current_snapshot()) as horizon from event_epochs
),
looked_at as materialized (
    select p.epoch, p.tx, p.object, p.version, p.previous_version, p.kind, p.type, p.renderer, p.at
      from public_events p
     where p.merchant_id = $1
       and (p.epoch, p.tx, p.object, p.version)
         > (coalesce($2::bigint, 0), coalesce($3::text, '0')::xid8, coalesce($4::uuid, '00000000-0000-0000-0000-000000000000'::uuid),
            coalesce($5::int, 0))
       and (p.epoch, p.tx) < ((select newest from line), (select horizon from line))
     order by p.epoch, p.tx, p.object, p.version
     limit $7::bigint
),
reached as materialized (
    select epoch, tx, object, version from looked_at order by epoch desc, tx desc, object desc, version desc limit 1
)
select ($2::bigint is null or exists (
            select from public_events p
             where p.merchant_id = $1 and p.epoch = $2 and p.tx = $3::text::xid8 and p.object = $4::uuid and p.version = $5::int
               and (p.epoch, p.tx) < ((select newest from line), (select horizon from line)))) as "is_there!",
       (select count(*) from looked_at) as "looked_at!",
       r.epoch as "reached_epoch?", r.tx::text as "reached_tx?", r.object as "reached_object?", r.version as "reached_version?",
       e.epoch as "epoch?", e.tx::text as "tx?", e.object as "object?", e.version as "version?",
       e.previous_version as "previous_version?", e.kind as "kind?", e.type as "event_type?", e.renderer as "renderer?", e.at as "at?"
  from line
  left join reached r on true
  left join lateral (
        select * from looked_at l where $6::text[] is null or l.type = any($6)
         order by l.epoch, l.tx, l.object, l.version limit $8::bigint) as e on true
