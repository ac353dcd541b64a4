-- Refunds, returns or disputes of a merchant, as they stand: one by its id, or a page of those of a payment, newest first.
select id, payment_id, origin, amount::text as "amount!", currency, reason, metadata, created_at, status, held_reason, due_at,
       gateway_transaction_id, failure_code, failure_message, version, updated_at, terminal_at
  from operations
 where merchant_id = $1
   and case when $2::uuid is not null then id = $2 else payment_id = $3 end
   and ($4::uuid is null or id < $4)
   and kind = $6
 order by id desc
 limit $5
