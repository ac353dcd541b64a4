//! The queue's tables as a worker of the library reads and writes them, by statements of our own.
//!
//! The library's statement that ends jobs reads every job there is (measured with 3,000 finished ones: 117
//! pages for each job). Its function that fetches jobs is planned anew at every call. So [`rows`] has both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};

use apalis::prelude::{Backend, Codec, Status, Task, TaskBuilder, TaskId, TaskResult, WorkerContext};
use apalis_core::backend::BackendConfig;
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::persistence::{Persisted, Persistence, TaskEvent, TaskPersistLayer};
use apalis_postgres::{Error, queries};
use sqlx::PgPool;
use tokio::sync::Mutex;
use ulid::Ulid;

use super::pace::Pace;
use super::rows::Lost;
use super::{HEARTBEAT, ORPHANED_AFTER, park, rows};
use crate::database::watermark::Watermark;
use crate::database::{InTime as _, Seat};

/// The name that the job board shows for the place of the jobs.
const STORAGE: &str = "payonce";

/// The same for a worker that took another one's place in a process that goes on. Nothing was lost with the
/// job in hand, so claims do not count it as a payment's poison.
const STARTED_AGAIN: &str = "payonce, started again";

/// The connections of one worker for its statements, beside those of the pool.
pub(super) const SEATS: u32 = 2;

/// One queue, for one worker. Jobs are bodies as they were enqueued.
#[derive(Clone)]
pub(super) struct Storage {
    jobs: Persisted<Jobs>,
    batch: usize,
}

impl Storage {
    /// The jobs of `queue`, fetched `batch` at a time. `is_first` says whether the worker is this process's
    /// first one.
    pub(super) fn new(pool: PgPool, queue: &'static str, batch: usize, is_first: bool) -> Self {
        let seat = || Arc::new(Seat::new(pool.clone()));
        let (taking, ending) = (seat(), seat());
        let name = if is_first { STORAGE } else { STARTED_AGAIN };
        let jobs = Jobs {
            pool,
            queue,
            name,
            batch,
            looks: Arc::default(),
            relieved: Arc::default(),
            taking,
            ending,
        };
        Self { jobs: Persisted::new(jobs), batch }
    }
}

impl Backend for Storage {
    type Task = Task<Vec<u8>>;
    type Error = Error;

    fn poll_ready(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Error>> {
        self.jobs.poll_ready(cx, worker, HEARTBEAT)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Error>>> {
        self.jobs.poll_next(cx, worker)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Error>> {
        self.jobs.poll_close(cx, worker)
    }
}

impl BackendConfig for Storage {
    type Args = Vec<u8>;
    type Id = Ulid;
    /// Bodies are not decoded here, where one that cannot be read would end the worker.
    type Kind = Ephemeral;
    type Config = ();
    type Layer = TaskPersistLayer<Nothing, ()>;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        self.jobs.layer(Nothing, self.batch).persist_results(true)
    }
}

/// The codec of a job's answer, which is nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nothing;

impl Codec<()> for Nothing {
    type Compact = ();
    type Error = std::convert::Infallible;

    fn encode(&self, (): &()) -> Result<(), Self::Error> {
        Ok(())
    }

    fn decode(&self, (): &()) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[derive(Clone)]
struct Jobs {
    pool: PgPool,
    queue: &'static str,
    name: &'static str,
    batch: usize,
    /// Shared, because the library clones this for each look.
    looks: Arc<Mutex<Looks>>,
    /// The lost workers of which no job is left.
    relieved: Arc<Mutex<BTreeSet<Lost>>>,
    taking: Arc<Seat>,
    ending: Arc<Seat>,
}

/// Where and when the next look begins.
#[derive(Default)]
struct Looks {
    watermark: Watermark,
    pace: Pace,
}

impl Persistence for Jobs {
    type Compact = Vec<u8>;
    type Response = ();
    type Error = Error;

    async fn register(&mut self, worker: &WorkerContext) -> Result<(), Error> {
        let statement = sqlx::query!(
            "insert into apalis.workers (id, worker_type, storage_name, layers, last_seen) values ($1, $2, $3, $4, now())",
            worker.name(),
            self.queue,
            self.name,
            worker.get_service()
        );
        statement.execute(&self.pool).in_time().await?;
        self.heartbeat(worker).await
    }

    async fn heartbeat(&mut self, worker: &WorkerContext) -> Result<(), Error> {
        let mut connection = self.pool.acquire().in_time().await?;
        queries::keep_alive(&mut *connection, self.queue, worker).await?;
        let mut relieved = self.relieved.lock().await;
        rows::relieve(&mut connection, self.queue, ORPHANED_AFTER, &mut relieved).await?;
        Ok(())
    }

    async fn fetch_next(&mut self, worker: &WorkerContext) -> Result<Vec<Task<Vec<u8>>>, Error> {
        let mut looks = self.looks.lock().await;
        looks.pace.wait().await;
        let look = looks.watermark.look();
        let taken = rows::take(&*self.taking, self.queue, worker.name(), self.batch, look.since).await?;
        looks.watermark.looked(look, taken.reached);
        looks.pace.looked(taken.found.len(), self.batch);
        let mut tasks = Vec::with_capacity(taken.found.len());
        for taken in taken.found {
            let Ok(id) = Ulid::from_string(&taken.id) else {
                self.bury(&taken.id, worker).await?;
                continue;
            };
            let attempts = usize::try_from(taken.attempts).unwrap_or_default();
            let task = TaskBuilder::new(taken.job).task_id(TaskId::from_ulid(id)).attempt(attempts);
            tasks.push(task.queue(self.queue.into()).status(Status::Queued).build());
        }
        Ok(tasks)
    }

    async fn reenqueue_abandoned(
        &mut self,
        tasks: Vec<Task<Vec<u8>>>,
        worker: &WorkerContext,
    ) -> Result<u64, Error> {
        let ids: Vec<String> = tasks.iter().filter_map(|task| Some(task.task_id()?.to_string())).collect();
        let mut connection = self.pool.acquire().in_time().await?;
        queries::reenqueue_abandoned(&mut *connection, self.queue, worker.name(), &ids).await
    }

    async fn handle_events(
        &mut self,
        events: Vec<TaskEvent<()>>,
        worker: &WorkerContext,
    ) -> Result<(), Error> {
        // Jobs are locked as they are fetched, so that nothing but their end is news.
        let ended = events.into_iter().filter_map(|event| {
            let TaskEvent::Complete(TaskResult { task_id, result, .. }) = event else { return None };
            Some((task_id.to_string(), result.err()))
        });
        Ok(rows::end(&*self.ending, worker.name(), ended.collect()).await?)
    }

    async fn push_tasks(&mut self, _: Vec<Task<Vec<u8>>>) -> Result<(), Error> {
        Err(sqlx::Error::Protocol("jobs are enqueued by the statements that they belong to".to_owned())
            .into())
    }
}

impl Jobs {
    /// Parks a job that the library cannot name.
    async fn bury(&self, id: &str, worker: &WorkerContext) -> sqlx::Result<()> {
        let why = "its id cannot be read";
        park::park(&self.pool, self.queue, id, why).await?;
        rows::end(&*self.ending, worker.name(), vec![(id.to_owned(), Some(why.to_owned()))]).await
    }
}
