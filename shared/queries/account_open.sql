-- A new account and its key, or neither. The account is opened only for a key that this statement inserted. Its sums begin as a zero
-- with the digits of its currency, which every later sum keeps.
with wanted as materialized (
    select clock_timestamp() as at
     where (select must_restore is null or door_is_open() from installation)
),
won as (
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, renderer, created_at, object_id)
    select $1, $2, $3, $4, $5, $6, at, $7 from wanted
        on conflict on constraint idempotency_keys_pkey do nothing
    returning object_id, created_at
)
insert into accounts (id, merchant_id, currency, owner, external_id, allow_negative, credits_posted, debits_posted, credits_pending,
                      debits_pending, created_at)
select object_id, $1, $8, $3, $11, $9, $10::text::numeric, $10::text::numeric, $10::text::numeric, $10::text::numeric, created_at
  from won
returning id
