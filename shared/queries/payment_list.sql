-- A merchant's payments, newest first: those of a customer, or of a status, or all. Each way has an index, and is ordered by
-- its columns although all but the last are given, so that no other index has the payments in that order: which of them are
-- frequent is nothing that the plan should depend on.
-- What never changes is read from the keys that the payments were made for, whose rows never change either: an index of
-- payments gets an entry with each claim and each settlement, and one of keys gets one for good. Each of its two indexes is
-- named by how it says which operation it is for.
with page as materialized (
    (select payment_id as id from idempotency_keys
      where $2::text is null and $3::text is null
        and substr(operation, 1) = 'create_payment'
        and (merchant_id, payment_id) < ($1, $5) and (merchant_id, payment_id) > ($1, $6)
        and created_at > $4
      order by merchant_id desc, payment_id desc
      limit $7)
     union all
    (select id from payments
      where $3 is null
        and merchant_id = $1 and (status, id) < ($2, $5) and (status, id) > ($2, $6)
        and created_at > $4
      order by status desc, id desc
      limit $7)
     union all
    (select payment_id from idempotency_keys k
      where operation || '' = 'create_payment'
        and merchant_id = $1 and (customer_id, payment_id) < ($3, $5) and (customer_id, payment_id) > ($3, $6)
        and created_at > $4
        and ($2 is null or (select status from payments p where p.id = k.payment_id) = $2)
      order by customer_id desc, payment_id desc
      limit $7)
)
select id, customer_id, amount::text as amount, currency, payment_method, description, metadata, created_at, status, due_at, held_reason,
       attempt_count, gateway_transaction_id, failure_code, failure_message, failure_retryable, version, updated_at,
       terminal_at
  from payments
 where id = any(array(select id from page))
 order by id desc
