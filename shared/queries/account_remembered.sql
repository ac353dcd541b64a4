-- What keys stand for, without a lock: the request that is repeated never waits for an account. A key of one transfer, or of a group,
-- tells its transfers as they stand now.
select q.n as "n!", k.fingerprint as "fingerprint!", k.renderer as "renderer!", k.object_id as "object_id!", k.created_at as "recorded_at!",
       k.outcome_code, k.outcome_detail, t.id as "id?", t.debited as "debited?", t.credited as "credited?", t.amount as "amount?",
       t.currency as "currency?", t.expires_at, t.group_id, t.created_at as "created_at?", t.status as "status?", t.posted_amount, t.ended_at
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) with ordinality as q (merchant_id, operation, scope, key, n)
 cross join lateral (
        select * from idempotency_keys i
         where i.merchant_id = q.merchant_id and i.operation = q.operation and i.customer_id = q.scope and i.key = q.key
           and i.object_id is not null
        offset 0) as k
  left join lateral (
        -- The scope of an act is the transfer's id, with its prefix.
        select * from transfers one
         where one.id = case when q.operation in ('post_transfer', 'void_transfer') then substr(q.scope, 5)::uuid else k.object_id end
           and (one.group_id is null or q.operation <> 'create_transfer')
         union all
        select * from transfers linked where linked.group_id = k.object_id and q.operation = 'create_transfer') as t
    on k.outcome_code is null and q.operation in ('create_transfer', 'post_transfer', 'void_transfer')
 order by q.n, t.position
