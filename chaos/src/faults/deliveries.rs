//! The queue delivers each job more than once.

use anyhow::Result;
use sqlx::Row as _;

use crate::fleet::Fleet;

/// Each job gets one to four copies when it is inserted. Copies have no key, which tells them apart.
const COPY: &str = "
create or replace function chaos_deliver_again() returns trigger language plpgsql as $$
begin
    insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
    select apalis.generate_ulid(), new.job_type, new.job, 'Pending', 0, 1, new.run_at, 0, ''
      from generate_series(1, 1 + floor(random() * 4)::int);
    return null;
end
$$;
create or replace trigger chaos_deliver_again after insert on apalis.jobs
    for each row when (new.job_type = 'payments' and new.idempotency_key is not null)
    execute function chaos_deliver_again();
";

/// Makes the database copy jobs from now on.
pub(super) async fn deliver_again(fleet: &Fleet) -> Result<()> {
    sqlx::raw_sql(COPY).execute(&fleet.pool).await?;
    Ok(())
}

/// How many copies were made.
pub(super) async fn copies(fleet: &Fleet) -> Result<u64> {
    let count = "select count(*) from apalis.jobs where job_type = 'payments' and idempotency_key is null";
    let row = sqlx::query(count).fetch_one(&fleet.pool).await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}
