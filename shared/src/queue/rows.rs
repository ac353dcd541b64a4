//! The statements by which a worker takes jobs and ends them.
//!
//! Each statement names its rows by key, and is one round trip. Its commit need not reach the disk before it
//! is answered. A job is a hint, and one whose end was lost with the server is delivered again.

use std::collections::BTreeSet;
use std::time::Duration;

use apalis_postgres::queries;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::database::watermark::Looked;
use crate::database::{InTime as _, Lend, durable, millis};

/// How long after its due time a job may become visible. A later one waits for a search through everything.
const LATE: TimeDelta = TimeDelta::milliseconds(250);

/// A job that a worker took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenJob {
    /// The id as it is stored: it may be one that cannot be read.
    pub id: String,
    /// The body, which the handler reads.
    pub job: Vec<u8>,
    /// How often the job was taken before.
    pub attempts: i32,
}

/// Takes up to `limit` jobs that are due: those of the highest priority first, and the oldest of these. With
/// `since` it takes only jobs that fell due after it and have priority 0, as all of ours have.
///
/// # Errors
/// Returns the database's error.
pub async fn take(
    on: &impl Lend,
    queue: &str,
    worker: &str,
    limit: usize,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<Looked<TakenJob>> {
    let mut connection = on.lend().await?;
    let statement = sqlx::query!(
        "with every as materialized (
             select id from apalis.jobs
              where $4::timestamptz is null
                and job_type = $1
                and (status = 'Pending' or status = 'Failed' and attempts < max_attempts)
                and run_at < now()
              order by priority desc, run_at
              limit $2
                for update skip locked),
         recent as materialized (
             select id from apalis.jobs
              where job_type = $1
                and priority = 0
                and (status = 'Pending' or status = 'Failed' and attempts < max_attempts)
                and run_at >= $4
                and run_at < now()
              order by run_at
              limit $2
                for update skip locked),
         taken as (
             update apalis.jobs j
                set status = 'Queued', lock_by = $3, lock_at = now()
              where id = any(array(select id from every union all select id from recent))
             returning id, job, attempts, case when priority = 0 then run_at end as run_at)
         select now() as \"now!\", t.id as \"id?\", t.job as \"job?\", t.attempts as \"attempts?\", t.run_at as \"run_at?\"
           from (select) as always
           left join taken t on true",
        queue,
        i64::try_from(limit).unwrap_or(i64::MAX),
        worker,
        since
    )
    .fetch_all(&mut *connection)
    .in_time();
    let taken = durable("fetch", statement).await;
    let rows = connection.back(taken)?;
    let asked_at = rows.first().map(|row| row.now);
    let youngest: Option<DateTime<Utc>> = rows.iter().filter_map(|row| row.run_at).max();
    let found: Vec<TakenJob> = rows
        .into_iter()
        .filter_map(|row| Some(TakenJob { id: row.id?, job: row.job?, attempts: row.attempts? }))
        .collect();
    // A search that took as many as it might has left younger ones.
    let reached = if found.len() < limit { asked_at } else { youngest };
    Ok(Looked { found, reached: reached.map(|at| at - LATE) })
}

/// A worker that was not heard of for a while, and when it last was.
pub type Lost = (String, DateTime<Utc>);

/// Gives back the jobs of workers that were not heard of for so long, by the library's own statement. While
/// somebody holds a snapshot, that statement reads all that was ever in flight. So it is sent only where a
/// worker was lost that is not among `relieved`, and until it finds nothing more. Answers how many jobs.
///
/// # Errors
/// Returns the database's error.
pub async fn relieve(
    connection: &mut PgConnection,
    queue: &str,
    silent_for: Duration,
    relieved: &mut BTreeSet<Lost>,
) -> Result<u64, apalis_postgres::Error> {
    let rows = sqlx::query!(
        "select id, last_seen from apalis.workers
          where worker_type = $1 and last_seen < now() - $2::bigint * interval '1 millisecond'",
        queue,
        millis(silent_for)
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await?;
    let lost: BTreeSet<Lost> = rows.into_iter().map(|row| (row.id, row.last_seen)).collect();
    if lost.is_subset(relieved) {
        return Ok(0);
    }
    let given_back = queries::reenqueue_orphaned(connection, queue, silent_for.as_secs()).await?;
    if given_back == 0 {
        *relieved = lost;
    }
    Ok(given_back)
}

/// Writes down that these jobs have ended, and why those failed that did. Jobs that another worker has
/// meanwhile stay as they are.
///
/// # Errors
/// The database's error. The jobs are then delivered again.
pub async fn end(on: &impl Lend, worker: &str, ended: Vec<(String, Option<String>)>) -> sqlx::Result<()> {
    let ids: Vec<String> = ended.iter().map(|(id, _)| id.clone()).collect();
    let errors: Map<String, Value> =
        ended.into_iter().filter_map(|(id, why)| Some((id, why?.into()))).collect();
    let mut connection = on.lend().await?;
    let statement = sqlx::query!(
        "update apalis.jobs
            set status = case when $2::jsonb ? id then 'Failed' else 'Done' end,
                last_result = case when $2 ? id then jsonb_build_object('Err', $2 -> id) else '{\"Ok\": null}' end,
                attempts = attempts + 1,
                done_at = clock_timestamp()
          where id = any($1) and lock_by = $3",
        &ids,
        Value::Object(errors),
        worker
    )
    .execute(&mut *connection)
    .in_time();
    let ended = durable("end_jobs", statement).await;
    connection.back(ended).map(drop)
}
