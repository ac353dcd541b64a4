-- Takes endpoints for which there is something to send, each for one worker. Those that were looked at longest ago come first.
-- One whose secrets nobody here can open is left to a worker that can.
with line as materialized (
    select max(epoch) as newest, pg_snapshot_xmin(pg_current_snapshot()) as horizon from event_epochs
),
mine as materialized (
    select w.id
      from webhook_endpoints w
     where w.status = 'enabled' and w.look_at <= clock_timestamp()
       and (w.lease_until is null or w.lease_until < clock_timestamp())
       and (select s.mark from webhook_secrets s where s.endpoint_id = w.id order by s.number desc limit 1) = any($1)
       and ((select count(*) from (select from webhook_deliveries d where d.endpoint_id = w.id and d.status = 'pending' limit $4) q) < $4
            and exists (select from public_events p
                     where p.merchant_id = w.merchant_id
                       and (p.epoch, p.tx, p.object, p.version) > (w.epoch, w.tx, w.object, w.version)
                       and (p.epoch, p.tx) < ((select newest from line), (select horizon from line)))
            or exists (select from webhook_deliveries d
                        where d.endpoint_id = w.id and d.status = 'pending' and d.due_at <= clock_timestamp()
                          and not exists (select from webhook_deliveries b
                                           where b.endpoint_id = d.endpoint_id and b.object = d.object and b.version < d.version
                                             and b.status = 'pending')))
     order by w.looked_at
     limit $2
       for no key update skip locked
)
update webhook_endpoints w
   set lease_token = gen_random_uuid(), lease_until = clock_timestamp() + $3::float8 * interval '1 millisecond', looked_at = clock_timestamp()
  from mine
 where w.id = mine.id
returning w.id, w.merchant_id, w.url, w.types as "types?", w.epoch, w.tx::text as "tx!", w.object, w.version, w.misses,
          w.lease_token as "lease_token!",
          (select count(*) from webhook_deliveries d where d.endpoint_id = w.id and d.status = 'pending') as "pending!"
