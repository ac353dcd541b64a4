//! Lets the queue come to rest: jobs whose worker was killed are taken back, as they would be a minute later.
//!
//! By then every payment has ended, so this changes only how long the run takes.

use std::time::Duration;

use anyhow::{Result, bail};
use shared::queue::{ORPHANED_AFTER, repair};
use sqlx::{PgPool, Row as _};
use tokio::time::{Instant, sleep};

/// After this time without fewer jobs, there will not be fewer.
const STALLED: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The time within which jobs under way are done.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How many jobs are taken back at a time.
const BATCH: i64 = 10_000;

/// Waits until no job is left.
pub(super) async fn come_to_rest(pool: &PgPool) -> Result<()> {
    let mut aged_at = Instant::now();
    let (mut fewest, mut fewest_at) = (i64::MAX, aged_at);
    loop {
        let left = jobs_left(pool).await?;
        if left == 0 {
            return Ok(());
        }
        if left < fewest {
            (fewest, fewest_at) = (left, Instant::now());
        } else if fewest_at.elapsed() > STALLED {
            bail!("{left} jobs are left, as {} s ago, though every payment has ended", STALLED.as_secs());
        }
        if aged_at.elapsed() > UNDER_WAY {
            age_lost_jobs(pool).await?;
            repair::lost_jobs(pool, BATCH).await?;
            aged_at = Instant::now();
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn jobs_left(pool: &PgPool) -> Result<i64> {
    let count = "select count(*) from apalis.jobs
                  where job_type = 'payments' and status in ('Pending', 'Queued', 'Running')";
    Ok(sqlx::query(count).fetch_one(pool).await?.try_get(0)?)
}

/// Moves the times in the rows, and not the clock.
async fn age_lost_jobs(pool: &PgPool) -> Result<()> {
    let age = "update apalis.jobs set lock_at = clock_timestamp() - $1::bigint * interval '1 millisecond'
                where job_type = 'payments' and status in ('Queued', 'Running')";
    sqlx::query(age).bind(shared::database::millis(ORPHANED_AFTER * 3)).execute(pool).await?;
    Ok(())
}
