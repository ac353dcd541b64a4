//! The only door to the queue library (apalis), and the place that knows its traps.
//!
//! A job says only "look at payment X"; all that decides stands in the payment. So whatever the queue does wrong (a job
//! run twice, lost or late) costs time and never money, and the sweep finds what no job came for.
//!
//! What was measured of apalis-postgres 1.0, and what is done about it here; `tests/it/queue` shows each:
//! - A worker that restarts under the same name never gets its orphaned jobs back: every start has a new name.
//! - It retries a failed job at once, without any delay: jobs have one attempt, and retries are rows with a due time.
//! - A panic in a handler leaves the job running for ever: panics are caught inside the handler.
//! - While a fetched batch waits for its turn no heartbeat is sent, and other workers take the batch over: the batch is
//!   as large as the concurrency, and gateway calls end well before [`ORPHANED_AFTER`].
//! - With more jobs in flight than four batches, shutting down never ends: the batch is as large as the concurrency, and
//!   shutting down has a deadline.
//! - A job that kills its worker is delivered again for ever: [`repair`] parks one that was lost twice.
//! - A job that cannot be read ends its worker: it takes bodies as they are, and what cannot be read is parked.
//! - Its statement that ends jobs reads all there ever were: [`rows`] has statements of our own.
//! - Its duplicate check is an error that ends the caller's transaction: jobs are inserted by our own statements, with
//!   `on conflict do nothing`, in the database's time. So is each tick of a schedule, once for all workers.
//! - A database error ends the worker: it is started again, under another name. So is one that has stopped asking for jobs:
//!   it waits without end for the answer of a database that is gone. Whatever connections it then keeps are its own.
//! - It notifies for each row, under a lock that all commits share: its trigger is gone, and [`bell`] rings instead.
//! - Of the notifications that came it takes one at each look, and is then not woken by the next: [`hints`] takes them all as one.
//! - It looks for jobs whenever anything wakes it, so that several workers share each batch: [`pace`] lets jobs gather.
//! - It keeps finished jobs and dead workers for ever: [`prune`] deletes them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apalis::prelude::{BackendExt as _, TaskId, WorkerBuilder, WorkerBuilderExt as _, WorkerError};
use apalis_postgres::Pubsub;
use domain::ids::PaymentId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use ulid::Ulid;

use crate::database::{self, InTime as _};
use crate::platform::fault;
use hints::Hints;
use storage::Storage;

pub mod bell;
mod hints;
mod pace;
pub(crate) mod park;
pub mod prune;
pub mod repair;
pub mod rows;
pub mod schedule;
mod storage;

/// The queue of looks at payments.
pub const PAYMENTS: &str = "payments";

/// A worker that was not heard of for so long has died, and its jobs go to others.
pub const ORPHANED_AFTER: Duration = Duration::from_secs(30);

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Notifications wake the worker at once; this is how long it takes when one was lost, or when a delayed job falls due.
const POLL: Duration = Duration::from_millis(200);

/// For heartbeats and notifications.
const OWN_CONNECTIONS: u32 = 2;

/// All connections that the library's workers in one process take for themselves.
pub const LIBRARY_CONNECTIONS: u32 = OWN_CONNECTIONS + schedule::OWN_CONNECTIONS + 2 * storage::SEATS;

/// A worker that has nothing to do while jobs have waited for so long has stopped asking for them.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// How long to wait where a dead letter could not be written.
const PARK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long jobs in flight may take to end after the shutdown began; longer than any gateway call.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

/// "Look at this payment." Ids only: a job never says what to do, and shows nothing on the job board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentJob {
    /// Which payment.
    pub payment_id: PaymentId,
}

/// Why a job was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// It can never be: it is parked as a dead letter.
    Never(String),
    /// Not this time. Nothing is lost with the job: what must be done is due in another place too.
    Failed(String),
}

impl From<String> for NotDone {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
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
            (new_job_id(), body.into_bytes())
        })
        .unzip();
    NewJobs { ids, bodies }
}

/// By this process's own clock; see `ids`.
pub(crate) fn new_job_id() -> String {
    let id = fault::wrong_clock_ms().map_or_else(Ulid::generate, |ms| Ulid::from_parts(ms, rand::random()));
    id.to_string()
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
    Fut: Future<Output = Result<(), NotDone>> + Send + 'static,
{
    let jobs = Arc::new(Jobs::default());
    let worker = |is_first: bool| {
        let own = Own(database::apart(&pool, OWN_CONNECTIONS));
        let storage = Storage::new(own.0.clone(), PAYMENTS, concurrency, is_first);
        let backend = storage
            .poll_with_stream(Hints(Pubsub::new(own.0.clone(), PAYMENTS.to_owned())))
            .poll_with_interval(POLL);
        let (look, jobs, pool) = (look.clone(), jobs.clone(), pool.clone());
        let worker = WorkerBuilder::new(worker_name().as_str())
            .backend(backend)
            .concurrency(concurrency)
            .build(move |body: Vec<u8>, id: TaskId| {
                let look = look.clone();
                let job = Delivered { pool: pool.clone(), queue: PAYMENTS, id, body };
                unharmed(job.done_by(move |job: PaymentJob| look(job.payment_id)), jobs.begin())
            })
            .run_until(told(shutdown.clone()));
        own.lend_to(worker)
    };
    keep_working(&Diligence { pool: &pool, queue: PAYMENTS, jobs: &jobs }, &shutdown, worker).await;
}

/// A job as it came.
struct Delivered {
    pool: PgPool,
    queue: &'static str,
    id: TaskId,
    body: Vec<u8>,
}

impl Delivered {
    /// Does it, or parks it where it can never be done. It has not ended before it is parked.
    async fn done_by<J, Fut>(self, work: impl FnOnce(J) -> Fut + Send) -> Result<(), String>
    where
        J: DeserializeOwned + Send,
        Fut: Future<Output = Result<(), NotDone>> + Send,
    {
        let done = match serde_json::from_slice(&self.body) {
            Ok(job) => work(job).await,
            Err(why) => Err(NotDone::Never(format!("the body cannot be read: {why}"))),
        };
        let why = match done {
            Ok(()) => return Ok(()),
            Err(NotDone::Failed(why)) => return Err(why),
            Err(NotDone::Never(why)) => why,
        };
        while let Err(error) = park::park(&self.pool, self.queue, &self.id.to_string(), &why).await {
            tracing::warn!(%error, job_id = %self.id, why, "a job that can never be done could not be parked");
            tokio::time::sleep(PARK_AGAIN_AFTER).await;
        }
        Err(why)
    }
}

/// The connections of one worker of the library, for as long as it lives.
struct Own(PgPool);

impl Own {
    /// Boxed, because the compiler cannot see through the library's types that the future may change threads.
    fn lend_to(
        self,
        worker: impl Future<Output = Result<(), WorkerError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), WorkerError>> {
        async move {
            let _own = self;
            worker.await
        }
        .boxed()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let pool = self.0.clone();
        tokio::spawn(async move { database::close(&pool).await });
    }
}

/// The jobs of a queue that this process took, counted.
#[derive(Debug, Default)]
struct Jobs {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A job under way; it ends when this is dropped.
struct UnderWay(Arc<Jobs>);

impl Jobs {
    fn begin(self: &Arc<Self>) -> UnderWay {
        self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// How many were begun, where none is under way.
    fn begun_and_ended(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Relaxed);
        (self.begun.load(Ordering::Relaxed) == ended).then_some(ended)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a queue's worker still asks for jobs.
struct Diligence<'a> {
    pool: &'a PgPool,
    queue: &'static str,
    jobs: &'a Jobs,
}

impl Diligence<'_> {
    /// Returns once it had nothing to do for a while, although jobs waited.
    async fn ends(&self) {
        loop {
            let before = self.jobs.begun_and_ended();
            tokio::time::sleep(IDLE_AFTER).await;
            let was_idle = before.is_some() && before == self.jobs.begun_and_ended();
            if was_idle && self.jobs_wait().await {
                return;
            }
        }
    }

    async fn jobs_wait(&self) -> bool {
        let wait = "select exists (select from apalis.jobs
                                    where job_type = $1 and status = 'Pending'
                                      and run_at < now() - $2::bigint * interval '1 millisecond')";
        let wait = sqlx::query_scalar(wait).bind(self.queue).bind(database::millis(IDLE_AFTER));
        // A database that does not answer now cannot be asked for jobs either.
        wait.fetch_one(self.pool).in_time().await.unwrap_or(false)
    }
}

/// Runs one worker after the other until `shutdown`, since an error of the database ends each, and so does another primary: what
/// the library keeps open would go on at the old one. `worker` is told whether it is this process's first.
async fn keep_working(
    diligence: &Diligence<'_>,
    shutdown: &CancellationToken,
    worker: impl Fn(bool) -> BoxFuture<'static, Result<(), WorkerError>>,
) {
    let site = database::site(diligence.pool);
    let mut is_first = true;
    while !shutdown.is_cancelled() {
        let standing = site.standing();
        tokio::select! { () = site.takes_writes() => {} () = shutdown.cancelled() => return }
        // A task of its own: the library asks for jobs whenever it is woken, so that whatever was woken beside it in one
        // task would be a query more (measured: an idle worker made 80 a second).
        let worker = AbortOnDropHandle::new(tokio::spawn(worker(is_first)));
        is_first = false;
        let ended = tokio::select! {
            ended = worker => ended.map_err(|e| e.to_string()).and_then(|ended| ended.map_err(|e| e.to_string())),
            () = diligence.ends() => Err("it does not ask for jobs any more".to_owned()),
            () = standing.ends() => Err("another server takes writes".to_owned()),
            () = deadline(shutdown) => {
                tracing::warn!("jobs still in flight at the shutdown deadline; others will take them over");
                return;
            }
        };
        if let Err(why) = ended {
            tracing::error!(%why, "queue worker ended; starting another one");
            site.alarm();
            let pause = tokio::time::sleep(Duration::from_millis(500));
            tokio::select! { () = pause => {} () = shutdown.cancelled() => {} }
        }
    }
}

async fn deadline(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_DEADLINE).await;
}

async fn told(shutdown: CancellationToken) -> Result<(), std::io::Error> {
    shutdown.cancelled().await;
    Ok(())
}

/// The work in a task of its own: it is not cancelled with the handler, and its panic ends nothing but itself.
fn unharmed(
    work: impl Future<Output = Result<(), String>> + Send + 'static,
    under_way: UnderWay,
) -> impl Future<Output = Result<(), JobFailed>> {
    let work = tokio::spawn(async move {
        let _under_way = under_way;
        work.await
    });
    async move { work.await.map_err(|why| why.to_string()).flatten().map_err(JobFailed) }
}
