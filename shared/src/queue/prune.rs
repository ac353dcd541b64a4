//! Deletes what the queue leaves behind: finished jobs, and workers that are gone. Payments need neither.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use ulid::Ulid;

use crate::database::durable;

/// Rows that one statement deletes.
const BATCH: i64 = 1_000;

/// Statements for jobs in one run. Jobs that are left are the next run's.
const BATCHES: usize = 200;

/// The result of one run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "how many rows of each kind were deleted")]
pub struct Pruned {
    pub jobs: u64,
    pub workers: u64,
}

/// Deletes jobs that ended more than `after` ago, in batches. Deletes one batch of workers that were last
/// heard of before that and hold no job.
///
/// # Errors
/// The database's error. What was deleted before stays deleted.
pub async fn run(pool: &PgPool, after: Duration) -> sqlx::Result<Pruned> {
    let before = sqlx::query_scalar!(
        "select clock_timestamp() - $1::bigint * interval '1 millisecond' as \"before!\"",
        crate::database::millis(after)
    )
    .fetch_one(pool)
    .await?;
    Ok(Pruned { jobs: finished_jobs(pool, before).await?, workers: dead_workers(pool, before).await? })
}

/// Deletes jobs in the order of their ids, which carry the time of their making, so that no further index is
/// needed.
async fn finished_jobs(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let made_before = Ulid::from_parts(before.timestamp_millis().max(0).unsigned_abs(), 0).to_string();
    let (mut deleted, mut last) = (0, String::new());
    for _ in 0..BATCHES {
        let statement = sqlx::query_scalar!(
            "delete from apalis.jobs
              where id in (select id from apalis.jobs
                            where id > $1 and id < $2 and done_at < $3
                              and (status in ('Done', 'Killed') or status = 'Failed' and attempts >= max_attempts)
                            order by id
                            limit $4
                              for update skip locked)
             returning id",
            last,
            made_before,
            before,
            BATCH
        )
        .fetch_all(pool);
        let batch = durable("prune_jobs", statement).await?;
        deleted += u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match batch.into_iter().max() {
            Some(highest) => last = highest,
            None => break,
        }
    }
    Ok(deleted)
}

async fn dead_workers(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let statement = sqlx::query!(
        "delete from apalis.workers
          where id in (select id from apalis.workers w
                        where last_seen < $1
                          and not exists (select from apalis.jobs j
                                           where j.lock_by = w.id and j.status in ('Queued', 'Running'))
                        order by last_seen
                        limit $2)",
        before,
        BATCH
    )
    .execute(pool);
    Ok(durable("prune_workers", statement).await?.rows_affected())
}
