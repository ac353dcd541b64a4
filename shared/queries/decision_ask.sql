-- Writes down what a person wishes to become of a held payment, about the version that they saw. One decision about a payment
-- is open at a time. The payment is locked first, so that a release that comes at the same moment is before or after.
with held as materialized (
    select id
      from payments
     where id = $1 and version = $2 and held_reason is not null and terminal_at is null
       for no key update
),
asked as (
    insert into decisions (payment_id, version, wish, is_unproven, charge_id, asked_by, asked_with, reason, asked_at)
    select id, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() from held
        on conflict (payment_id) where ended_at is null do nothing
    returning id
)
select (select id from asked) as "asked?", exists (select from held) as "is_held!"
