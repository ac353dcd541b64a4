-- The payment by which a worker learns whether the gateway $3 is back: one that waits for its charge, or else one in doubt, the
-- one that was looked at longest ago. None of those in $1; of a merchant that is not in $2, or stands there longest.
-- Read merchant by merchant, so that a backlog costs nothing.
select p.id as "id!", m.id as "merchant_id!", p.is_charge as "is_charge!"
  from merchants m
 cross join lateral (
    (select id, not look_first as is_charge, created_at as looked_at from payments
      where merchant_id = m.id and status = 'pending' and (due_at <= clock_timestamp()) is true and id <> all($1::uuid[])
      order by id
      limit 1)
     union all
    (select id, false, updated_at from payments
      where merchant_id = m.id and status = 'processing' and (due_at <= clock_timestamp()) is true and id <> all($1)
      order by updated_at
      limit 1)) as p
 where m.gateway = $3
 order by p.is_charge desc, array_position($2::uuid[], m.id) nulls first, p.looked_at
 limit 1
