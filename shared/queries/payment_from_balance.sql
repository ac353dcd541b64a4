-- Payments from balances. All of it is decided by `pay_from_balances`, which locks what it reads; `migrations/` has it, with its reasons.
select request as "request!", verdict as "verdict!", code, detail
  from pay_from_balances($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::numeric[], $7::text[], $8::text[], $9::text[],
                         $10::jsonb[], $11::text[], $12::uuid[], $13::text[]::numeric[], $14, $15, $16, $17::uuid[], $18)
