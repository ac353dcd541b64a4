//! Work that has to be done now and then, by one worker for all. Every worker ticks, and the database takes
//! each tick once.
//!
//! A tick is a job of its own queue. Its key is made of the schedule and of the tick's time by the database's
//! clock, so hosts whose clocks differ agree. A tick that no worker was there for is not made up for: each
//! run covers all there is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BackendExt as _, TaskId, WorkerBuilder, WorkerBuilderExt as _};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{
    Delivered, Diligence, Jobs, NotDone, Own, Storage, keep_working, new_job_id, told, unharmed, worker_name,
};
use crate::database::{self, InTime as _, durable, millis};

/// The queue of ticks.
pub const SCHEDULES: &str = "schedules";

/// The connection of one worker for heartbeats.
pub(super) const OWN_CONNECTIONS: u32 = 1;

/// The pause between two looks for a tick. Nobody waits for one, so nothing wakes the worker for it.
const POLL: Duration = Duration::from_secs(1);

/// The kinds of work that each tick brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Our books are compared with each other and with the gateway's.
    Reconcile,
    /// Finished jobs, workers that are gone and old reports are deleted.
    Prune,
}

impl Schedule {
    /// Every schedule there is.
    pub const ALL: &[Self] = &[Self::Reconcile, Self::Prune];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Reconcile => "reconcile",
            Self::Prune => "prune",
        }
    }
}

/// One tick of one schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The work to do.
    pub schedule: Schedule,
    /// The time of the tick, by the database's clock.
    pub tick: DateTime<Utc>,
}

/// Enqueues the current tick of every schedule, unless another worker did. Answers the time until the next
/// one.
///
/// # Errors
/// Returns the database's error.
pub async fn tick(pool: &PgPool, every: Duration) -> sqlx::Result<Duration> {
    let ids: Vec<String> = Schedule::ALL.iter().map(|_| new_job_id()).collect();
    let schedules: Vec<String> = Schedule::ALL.iter().map(|it| it.as_str().to_owned()).collect();
    let statement = sqlx::query_scalar!(
        "with clock as materialized (select clock_timestamp() as now),
         tick as (select date_bin($1::bigint * interval '1 millisecond', now, 'epoch') as at, now from clock),
         enqueued as (
             insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata,
                                      idempotency_key)
             select s.id, $4, convert_to(jsonb_build_object('schedule', s.schedule, 'tick', tick.at)::text, 'UTF8'),
                    'Pending', 0, 1, now(), 0, ''::hstore,
                    s.schedule || '-' || (extract(epoch from tick.at) * 1000)::bigint
               from tick
              cross join unnest($2::text[], $3::text[]) as s (id, schedule)
                 on conflict (job_type, idempotency_key) do nothing)
         select $1 - (extract(epoch from now - at) * 1000)::bigint as \"next_ms!\" from tick",
        millis(every),
        &ids,
        &schedules,
        SCHEDULES
    )
    .fetch_one(pool)
    .in_time();
    let next_ms = durable("tick", statement).await?;
    Ok(Duration::from_millis(next_ms.max(1).unsigned_abs()))
}

/// Hands every tick to `run`, one at a time, until `shutdown`. A tick that fails is not tried again: the next
/// one comes.
pub async fn work<F, Fut>(pool: PgPool, shutdown: CancellationToken, run: F)
where
    F: Fn(Tick) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let jobs = Arc::new(Jobs::default());
    let worker = |is_first: bool| {
        let (run, jobs, own) = (run.clone(), jobs.clone(), Own(database::apart(&pool, OWN_CONNECTIONS)));
        let storage = Storage::new(own.0.clone(), SCHEDULES, 1, is_first);
        let pool = pool.clone();
        let worker = WorkerBuilder::new(worker_name().as_str())
            .backend(storage.poll_with_interval(POLL))
            .concurrency(1)
            .build(move |body: Vec<u8>, id: TaskId| {
                let run = run.clone();
                let job = Delivered { pool: pool.clone(), queue: SCHEDULES, id, body };
                let run = move |tick: Tick| async move { run(tick).await.map_err(NotDone::Failed) };
                unharmed(job.done_by(run), jobs.begin())
            })
            .run_until(told(shutdown.clone()));
        own.lend_to(worker)
    };
    keep_working(&Diligence { pool: &pool, queue: SCHEDULES, jobs: &jobs }, &shutdown, worker).await;
}
