-- A merchant's payments, newest first: those of a customer, or of a status, or all. Each way has an index, and is ordered by
-- its columns although all but the last are given, so that no other index has the payments in that order: which of them are
-- frequent is nothing that the plan should depend on.
with page as materialized (
    (select id from payments
      where $2::text is null and $3::text is null
        and (merchant_id, id) < ($1, $5) and (merchant_id, id) > ($1, $6)
        and created_at > $4
      order by merchant_id desc, id desc
      limit $7)
     union all
    (select id from payments
      where $3 is null
        and merchant_id = $1 and (status, id) < ($2, $5) and (status, id) > ($2, $6)
        and created_at > $4
      order by status desc, id desc
      limit $7)
     union all
    (select id from payments
      where merchant_id = $1 and (customer_id, id) < ($3, $5) and (customer_id, id) > ($3, $6)
        and created_at > $4 and ($2 is null or status = $2)
      order by customer_id desc, id desc
      limit $7)
)
select id, customer_id, amount::text as amount, currency, payment_method, description, metadata, created_at, status, due_at, held_reason,
       attempt_count, gateway_transaction_id, failure_code, failure_message, failure_retryable, version, updated_at,
       terminal_at
  from payments
 where id = any(array(select id from page))
 order by id desc
