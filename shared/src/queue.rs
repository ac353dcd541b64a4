//! The door to the queue library (apalis): workers and schedules use it only through this wing, which knows
//! its traps. Beside it [`database`] runs the library's migrations, and the API mounts its job board.
//!
//! A job says only "look at payment X"; all that decides stands in the payment. So a mistake of the queue (a
//! job that runs twice, late or never) costs time and never money. The sweep finds what no job came for.
//!
//! What was measured of apalis-postgres 1.0, and what is done about it here; `tests/it/queue` shows each:
//! - A worker that restarts under the same name never gets its orphaned jobs back: every start has a new
//!   name.
//! - It retries a failed job at once, without any delay: jobs have one attempt, and retries are rows with a
//!   due time.
//! - A panic in a handler leaves the job running for ever: panics are caught inside the handler.
//! - While a fetched batch waits for its turn no heartbeat is sent, and other workers take the batch over. So
//!   the batch is as large as the concurrency, and gateway calls end well before [`ORPHANED_AFTER`].
//! - With more jobs in flight than four batches, shutting down never ends. So the batch is as large as the
//!   concurrency, and shutting down has a deadline.
//! - A job that kills its worker is delivered again for ever: [`repair`] parks one that was lost twice.
//! - A job that cannot be read ends its worker: bodies are taken as they are, and one that cannot be read is
//!   parked.
//! - Its statement that ends jobs reads all there ever were: [`rows`] has statements of our own.
//! - Its duplicate check is an error that ends the caller's transaction. So our own statements insert jobs,
//!   with `on conflict do nothing` and in the database's time. Each tick of a schedule is inserted so, once
//!   for all workers.
//! - A database error ends the worker: it is started again, under another name. So is a worker that has
//!   stopped asking for jobs, since it waits without end for the answer of a database that is gone. The
//!   connections that it then keeps are its own.
//! - It notifies for each row, under a lock that all commits share: its trigger is gone, and [`bell`] rings
//!   instead.
//! - Of the notifications that came it takes one at each look, and is then not woken by the next: [`hints`]
//!   takes them all as one.
//! - It looks for jobs whenever anything wakes it, so that several workers share each batch: [`pace`] lets
//!   jobs gather.
//! - It keeps finished jobs and dead workers for ever: [`prune`] deletes them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apalis::prelude::{BackendExt as _, TaskId, WorkerBuilder, WorkerBuilderExt as _, WorkerError};
use apalis_postgres::Pubsub;
use domain::ids::{GatewayName, PaymentId};
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

/// A worker that was not heard of for this time has died, and its jobs go to others.
pub const ORPHANED_AFTER: Duration = Duration::from_secs(30);

const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a job may wait for a worker that no notification woke, because one was lost or the job fell due
/// later.
const POLL: Duration = Duration::from_millis(200);

/// The connections of one worker for heartbeats and notifications.
const OWN_CONNECTIONS: u32 = 2;

/// All connections that the library's workers in one process take for themselves.
pub const LIBRARY_CONNECTIONS: u32 = OWN_CONNECTIONS + schedule::OWN_CONNECTIONS + 2 * storage::SEATS;

/// A worker has stopped asking for jobs if it was idle for this time while jobs waited.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// The pause before a dead letter that could not be written is tried again.
const PARK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long jobs in flight may take to end after the shutdown began; longer than any gateway call.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

/// The job "look at this payment". It never says what to do, and shows nothing on the job board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentJob {
    /// The payment to look at.
    pub payment_id: PaymentId,
    /// Where it is charged, as a hint for whom to wake: the payment itself decides.
    #[serde(default, skip_serializing_if = "GatewayName::is_default")]
    pub gateway: GatewayName,
}

/// Why a job was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// It can never be done, and is parked as a dead letter with this text.
    Never(String),
    /// It was not done this time. Nothing is lost with the job: the same work is due in another place too.
    Failed(String),
}

impl From<String> for NotDone {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// The error that the queue shows of a job that failed.
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
            // SQL adds the gateway where it is another one: `job_for`.
            let job = PaymentJob { payment_id, gateway: GatewayName::default() };
            let body = serde_json::json!(job).to_string();
            (new_job_id(), body.into_bytes())
        })
        .unzip();
    NewJobs { ids, bodies }
}

/// A new job id by this process's own clock; see [`domain::ids`].
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
/// The queue does not try a job again that fails or panics: its payment has a due time of its own.
pub async fn work<F, Fut>(pool: PgPool, concurrency: usize, shutdown: CancellationToken, look: F)
where
    F: Fn(PaymentJob) -> Fut + Clone + Send + Sync + 'static,
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
                unharmed(job.done_by(look), jobs.begin())
            })
            .run_until(told(shutdown.clone()));
        own.lend_to(worker)
    };
    keep_working(&Diligence { pool: &pool, queue: PAYMENTS, jobs: &jobs }, &shutdown, worker).await;
}

/// A job as it was delivered.
struct Delivered {
    pool: PgPool,
    queue: &'static str,
    id: TaskId,
    body: Vec<u8>,
}

impl Delivered {
    /// Does the job, or parks it if it can never be done. It does not end before it is parked.
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
    /// Lends the connections to a worker. Boxed, because the compiler cannot see through the library's types
    /// that the future may change threads.
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

/// The number of jobs that this process took from one queue.
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

    /// How many jobs were begun; none while one is under way.
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
    /// Returns once the worker had nothing to do for a while although jobs waited.
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

/// Runs one worker after the other until `shutdown`. An error of the database ends a worker. So does another
/// primary, since the library's open connections would go on at the old one. `worker` is told whether it is
/// this process's first.
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
        // A task of its own. The library asks for jobs whenever it is woken. In a shared task each other part
        // that was woken would cost a query more (measured: an idle worker made 80 a second).
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

/// Does the work in a task of its own: it is not cancelled with the handler, and its panic ends nothing but
/// itself.
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
