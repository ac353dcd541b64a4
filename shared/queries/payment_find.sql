-- What is asked for, each by whoever's API key came with the question: the key's merchant sees its own payments.
-- `offset 0` keeps the joins apart, so that each payment is looked up by its id: with the merchant in the same condition a table
-- without statistics was read by one of the merchant's indexes, and all of that merchant's payments in it.
select asked.n, p.id, p.customer_id, p.amount::text as amount, p.currency, p.payment_method, p.description, p.metadata, p.created_at,
       p.status, p.due_at, p.held_reason, p.attempt_count, p.gateway_transaction_id, p.failure_code, p.failure_message,
       p.failure_retryable, p.version, p.updated_at, p.terminal_at, r.amount_refunded, r.version as refund_version
  from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) with ordinality as asked (id, named, hash, other_hash, n)
 cross join lateral (
        select merchant_id from key_of(asked.named, asked.hash, asked.other_hash) where 'payments:read' = any (scopes)
        offset 0) as api_key
 cross join lateral (
        select * from payments where id = asked.id
        offset 0) as p
  left join lateral (
        select (refunded + adopted)::text as amount_refunded, version from refund_totals where payment_id = p.id
        offset 0) as r on true
 where p.merchant_id = api_key.merchant_id
