-- Payments that are due, and as many that are not due yet, with their jobs. What was left of an earlier backlog is over.
set session_replication_role = replica;
update payments set status = 'failed', due_at = null, failure_code = 'declined', terminal_at = now() where due_at is not null;
delete from apalis.jobs where status <> 'Done';

with made as (
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                          status, due_at, version, updated_at)
    select gen_random_uuid(), $merchant, 'customer-0', 1, 'EUR', 'sim_ok', '{}', 'x', now(), 'pending',
           case when n % 2 = 0 then now() - interval '1 minute' else now() + interval '1 day' end, 1, now()
      from generate_series(1, 4000) n
    returning id, due_at
)
insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
select 'backlog-' || id, 'payments', 'x', 'Pending', 0, 1, due_at, 0, '', id || ':1' from made;
reset session_replication_role;
