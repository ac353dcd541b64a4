//! The only door to the queue library (apalis), and the place that knows its traps.
//!
//! A job says only "look at payment X"; all that decides stands in the payment. So whatever the queue does wrong (a job
//! run twice, lost or late) costs time and never money, and the sweep finds what no job came for.
//!
//! What was measured of apalis-postgres 1.0, and what is done about it here:
//! - A worker that restarts under the same name never gets its orphaned jobs back: every start has a new name.
//! - It retries a failed job at once, without any delay: jobs have one attempt, and retries are rows with a due time.
//! - A panic in a handler leaves the job running for ever: panics are caught inside the handler.
//! - While a fetched batch waits for its turn no heartbeat is sent, and other workers take the batch over: the batch is
//!   as large as the concurrency, and gateway calls end well before [`ORPHANED_AFTER`].
//! - With more jobs in flight than four batches, shutting down never ends: the batch is as large as the concurrency, and
//!   shutting down has a deadline.
//! - Its duplicate check is an error that ends the caller's transaction: jobs are inserted by our own statements, with
//!   `on conflict do nothing`, in the database's time.
//! - A database error ends the worker: it is started again, under another name.

use std::future::Future;
use std::time::Duration;

use apalis::prelude::{BackendExt as _, WorkerBuilder, WorkerBuilderExt as _, WorkerError};
use apalis_postgres::{Config, PostgresStorage};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::ids::PaymentId;

/// The queue of looks at payments.
pub const PAYMENTS: &str = "payments";

/// A worker that was not heard of for so long has died, and its jobs go to others.
pub const ORPHANED_AFTER: Duration = Duration::from_secs(30);

const HEARTBEAT: Duration = Duration::from_secs(5);
const MISSED_HEARTBEATS: usize = 6;

/// Notifications wake the worker at once; this is how long it takes when one was lost, or when a delayed job falls due.
const POLL: Duration = Duration::from_millis(200);

/// How long jobs in flight may take to end after the shutdown began; longer than any gateway call.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

/// "Look at this payment." Ids only: a job never says what to do, and shows nothing on the job board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentJob {
    /// Which payment.
    pub payment_id: PaymentId,
}

/// What the queue shows of a job that failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct JobFailed(String);

/// Jobs as columns, for the statements that insert them.
pub(crate) struct NewJobs {
    pub(crate) ids: Vec<String>,
    pub(crate) bodies: Vec<Vec<u8>>,
}

/// One job for each payment.
pub(crate) fn jobs_for(payments: impl Iterator<Item = PaymentId>) -> NewJobs {
    let (ids, bodies) = payments
        .map(|payment_id| {
            let body = serde_json::json!(PaymentJob { payment_id }).to_string();
            (Ulid::generate().to_string(), body.into_bytes())
        })
        .unzip();
    NewJobs { ids, bodies }
}

/// A name that no worker had before: host, process and a random part.
#[must_use]
pub fn worker_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    format!("payonce-{host}-{}-{}", std::process::id(), Ulid::generate())
}

/// Hands every job of the payment queue to `look`, at most `concurrency` at a time, until `shutdown`.
///
/// A job that fails or panics is not tried again by the queue: its payment has a due time of its own.
pub async fn work<F, Fut>(pool: PgPool, concurrency: usize, shutdown: CancellationToken, look: F)
where
    F: Fn(PaymentId) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    while !shutdown.is_cancelled() {
        // Boxed, because the compiler cannot see through the library's types that the future may change threads.
        let worker: BoxFuture<'_, _> =
            run_worker(pool.clone(), concurrency, shutdown.clone(), look.clone()).boxed();
        let ended = tokio::select! {
            ended = worker => ended,
            () = deadline(&shutdown) => {
                tracing::warn!("jobs still in flight at the shutdown deadline; others will take them over");
                return;
            }
        };
        if let Err(why) = ended {
            tracing::error!(%why, "queue worker ended; starting another one");
            let pause = tokio::time::sleep(Duration::from_millis(500));
            tokio::select! { () = pause => {} () = shutdown.cancelled() => {} }
        }
    }
}

async fn deadline(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_DEADLINE).await;
}

async fn run_worker<F, Fut>(
    pool: PgPool,
    concurrency: usize,
    shutdown: CancellationToken,
    look: F,
) -> Result<(), WorkerError>
where
    F: Fn(PaymentId) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let config = Config::default()
        .queue(PAYMENTS)
        .batch_size(concurrency)
        .lock_tasks(false)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(MISSED_HEARTBEATS);
    let backend =
        PostgresStorage::<PaymentJob>::new(&pool).with_config(config).with_pubsub().poll_with_interval(POLL);
    let handle = move |job: PaymentJob| {
        // A task of its own: it is not cancelled with the handler, and its panic ends nothing but itself.
        let look = tokio::spawn(look(job.payment_id));
        async move { look.await.map_err(|e| e.to_string()).flatten().map_err(JobFailed) }
    };
    WorkerBuilder::new(worker_name().as_str())
        .backend(backend)
        .concurrency(concurrency)
        .build(handle)
        .run_until(async move {
            shutdown.cancelled().await;
            Ok::<(), std::io::Error>(())
        })
        .await
}
