-- Payments that are due and that nobody took, where some of a worker's calls wait for a long time: none of the merchants in
-- $2, which have all that they may have, and no more than $4 of the looks. Read merchant by merchant, so that what may not be
-- taken costs nothing, and the oldest of each first.
select p.id as "id!", p.is_suspect as "is_suspect!"
  from merchants m
 cross join lateral (
    (select id, due_at, false as is_suspect from payments
      where merchant_id = m.id and status = 'pending'
        and (due_at < now() - $1::bigint * interval '1 millisecond') is true
      order by id
      limit $3)
     union all
    (select id, due_at, claim_token is not null and takeover_count > 0 from payments
      where merchant_id = m.id and status = 'processing'
        and (due_at < now() - $1 * interval '1 millisecond') is true
      order by id
      limit $4)) as p
 where m.gateway = $5 and m.id <> all($2::uuid[])
 order by p.due_at
 limit $3
