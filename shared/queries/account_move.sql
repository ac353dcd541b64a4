-- What requests ask of accounts: transfers, holds, and what becomes of holds. All of it is decided by `move_money`, which locks
-- what it reads; `migrations/` has it, with its reasons. A row answers a movement that was done, or a request that was not.
select request as "request!", verdict as "verdict!", code, detail, id as "id?", debited as "debited?", credited as "credited?",
       amount as "amount?", currency as "currency?", expires_at, group_id, created_at as "created_at?", status as "status?",
       posted_amount, ended_at
  from move_money($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::boolean[], $7::uuid[], $8,
                  $9::integer[], $10::text[], $11::uuid[], $12::uuid[], $13::uuid[], $14::numeric[], $15::text[], $16::boolean[],
                  $17::timestamptz[], $18, $19, $20::uuid[], $21)
