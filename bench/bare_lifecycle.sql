-- The bare lifecycle of :batch payments, three statements and three commits: accepted, claimed, settled. No HTTP, no
-- gateway, no queue library: nothing that a payment job queue on this database does can be faster.

-- accept: payment, key, event, job
with made as (
    insert into payment (customer, amount, currency)
    select 'cus_' || n, 12.50, 'EUR' from generate_series(1, :batch) n
    returning id, customer
), keyed as (
    insert into idempotency_key (customer, key, fingerprint, payment_id)
    select customer, id::text, sha256(id::text::bytea), id from made
), logged as (
    insert into event (payment_id, version, type) select id, 1, 'created' from made
)
insert into job (payment_id) select id from made;

-- claim: whatever waits, whoever put it there
with mine as (
    select id from job where not taken order by id limit :batch for update skip locked
), taken as (
    update job set taken = true from mine where job.id = mine.id returning job.id, job.payment_id
), moved as (
    -- Not joined: where the table was empty when the plan was made, a join would read all of it each time.
    update payment set status = 'processing'
     where id = any(array(select payment_id from taken)) and status = 'pending'
    returning id
), logged as (
    insert into event (payment_id, version, type) select id, 2, 'attempt_started' from moved
)
select coalesce(array_agg(id), '{}') as jobs, coalesce(array_agg(payment_id), '{}') as payments from taken \gset

-- settle: payment, event, two ledger entries, and the job is done
with moved as (
    update payment set status = 'succeeded', charge = 'ch_' || id, settled_at = clock_timestamp()
     where id = any(:payments::uuid[]) and status = 'processing'
    returning id, amount
), logged as (
    insert into event (payment_id, version, type) select id, 3, 'succeeded' from moved
), posted as (
    insert into entry (payment_id, account, side, amount)
    select id, account, side, amount
      from moved
     cross join (values ('gateway_clearing', 'debit'), ('merchant_payable', 'credit')) as both_sides (account, side)
)
delete from job where id = any(:jobs::bigint[]);
