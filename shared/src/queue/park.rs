//! Parks what the queue gives up as a dead letter, so that nothing is dropped. `operations::dead_letter`
//! shows the letters and replays them.

use domain::dead_letter::Class;
use sqlx::PgPool;

use crate::database::{InTime as _, durable};
use crate::platform::metrics;

/// Parks a job that can never be done. It may be repeated.
///
/// # Errors
/// Returns the database's error.
pub(crate) async fn park(pool: &PgPool, queue: &str, job_id: &str, why: &str) -> sqlx::Result<()> {
    let statement = sqlx::query!(
        "insert into dead_letters (class, queue, job_id, job_key, job, error, parked_at)
         select $4, job_type, id, idempotency_key, job, $3, clock_timestamp()
           from apalis.jobs
          where id = $2 and job_type = $1
             on conflict do nothing",
        queue,
        job_id,
        why,
        Class::NonRetryable.as_str()
    )
    .execute(pool)
    .in_time();
    let parked = durable("park", statement).await?;
    metrics::buried(Class::NonRetryable, parked.rows_affected());
    tracing::error!(event = "dead_letter", queue, job_id, why, "a job that can never be done was parked");
    Ok(())
}
