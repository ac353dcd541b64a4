-- A key stands for a payment, or for what another operation made or decided: an account, transfers, an act on a hold, or a refusal that
-- rests on balances or on the state of a transfer. Such an outcome stands for ever, also when the same request could be done later.
-- Old code may run meanwhile: yes, but for an older `payonce verify`, which cannot read a key without a payment.

alter table idempotency_keys alter column payment_id drop not null;
alter table idempotency_keys
    -- What the request brought as the id of what it was to make: by it a first answer is told from its repetition.
    add column object_id uuid,
    add column outcome_code text,
    add column outcome_detail jsonb;
-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table idempotency_keys add constraint idempotency_keys_stand_for_one
    check ((operation = 'create_payment') = (payment_id is not null) and (payment_id is null) = (object_id is not null)
           and (payment_id is null or outcome_code is null)) not valid;
