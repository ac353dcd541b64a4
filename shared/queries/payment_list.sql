-- A merchant's payments, newest first: those of a customer, or of a status, or those that are held, or all. Each way has an
-- index, and is ordered by its columns although all but the last are given, so that no other index has the payments in that
-- order: which of them are frequent is nothing that the plan should depend on.
-- What never changes is read from the keys that the payments were made for, whose rows never change either: an index of
-- payments gets an entry with each claim and each settlement, and one of keys gets one for good. Each of its two indexes is
-- named by how it says which operation it is for.
-- All else that is asked for has no index, since accepting a payment would pay for it. It is looked for among the next few
-- payments of that way. The last of them is always told, so that the caller knows how far that was.
with page as materialized (
    (select payment_id as id from idempotency_keys
      where $2::text is null and $3::text is null and $4::bool is not true
        and substr(operation, 1) = 'create_payment'
        and (merchant_id, payment_id) < ($1, $5) and (merchant_id, payment_id) > ($1, $6)
        and created_at > $8 and created_at < $9
      order by merchant_id desc, payment_id desc
      limit $7)
     union all
    (select id from payments
      where $4 is true
        and held_reason is not null
        and (merchant_id, id) < ($1, $5) and (merchant_id, id) > ($1, $6)
        and created_at > $8 and created_at < $9
      order by merchant_id desc, id desc
      limit $7)
     union all
    (select id from payments
      where $3 is null and $4 is not true
        and merchant_id = $1 and (status, id) < ($2, $5) and (status, id) > ($2, $6)
        and created_at > $8 and created_at < $9
      order by status desc, id desc
      limit $7)
     union all
    (select payment_id from idempotency_keys
      where $4 is not true
        and operation || '' = 'create_payment'
        and merchant_id = $1 and (customer_id, payment_id) < ($3, $5) and (customer_id, payment_id) > ($3, $6)
        and created_at > $8 and created_at < $9
      order by customer_id desc, payment_id desc
      limit $7)
),
looked_at as materialized (
    select p.*,
           ($2 is null or status = $2)
               and ($3 is null or customer_id = $3)
               and ($4 is null or (held_reason is not null) = $4)
               and ($10::text is null or currency = $10)
               and ($11::numeric is null or amount >= $11)
               and ($12::numeric is null or amount <= $12)
               and metadata @> $13::jsonb as is_asked_for
      from payments p
     where id = any(array(select id from page))
)
select id, customer_id, amount::text as amount, currency, payment_method, description, metadata, created_at, status, due_at, held_reason,
       attempt_count, gateway_transaction_id, failure_code, failure_message, failure_retryable, version, updated_at,
       terminal_at, (select (refunded + adopted)::text from refund_totals r where r.payment_id = looked_at.id) as amount_refunded,
       null::integer as refund_version, is_asked_for, (select count(*) from looked_at) as looked_at
  from looked_at
 where is_asked_for or id = (select id from looked_at order by id limit 1)
 order by id desc
