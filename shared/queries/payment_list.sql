-- A merchant's payments, newest first. Ordered by both columns of the index, which says which one to read.
select id, customer_id, amount, currency, payment_method, description, metadata, created_at, status, due_at, held_reason,
       attempt_count, gateway_transaction_id, failure_code, failure_message, failure_retryable, version, updated_at,
       terminal_at
  from payments
 where merchant_id = $1
   and ($2::text is null or status = $2)
   and ($3::text is null or customer_id = $3)
   and ($4::timestamptz is null or created_at > $4)
   and ($5::uuid is null or id < $5)
   and ($6::uuid is null or id > $6)
 order by merchant_id desc, id desc
 limit $7
