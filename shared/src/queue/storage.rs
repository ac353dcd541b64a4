//! The queue's tables as a worker of the library reads and writes them, by statements of our own.
//!
//! The library's statement that ends jobs reads every job that there is (measured with 3,000 finished ones: 117 pages for each
//! job that it ends), and its function that fetches them is planned anew at every call. These name their rows by key, and
//! each is one round trip. Their commits need not reach the disk before they are answered: a job is a hint, and one whose
//! end was lost with the server is delivered again.

use std::task::{Context, Poll};

use apalis::prelude::{Backend, Codec, Status, Task, TaskBuilder, TaskId, TaskResult, WorkerContext};
use apalis_core::backend::BackendConfig;
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::persistence::{Persisted, Persistence, TaskEvent, TaskPersistLayer};
use apalis_postgres::{Error, queries};
use serde_json::{Map, Value};
use sqlx::PgPool;
use ulid::Ulid;

use super::{HEARTBEAT, ORPHANED_AFTER};
use crate::db::InTime as _;
use crate::{dead_letter, fault};

/// What the job board says of where the jobs are.
const STORAGE: &str = "payonce";

/// One queue, for one worker. Its jobs are bodies as they were enqueued.
#[derive(Clone)]
pub(super) struct Storage {
    jobs: Persisted<Jobs>,
    batch: usize,
}

impl Storage {
    /// The jobs of `queue`, fetched `batch` at a time.
    pub(super) fn new(pool: PgPool, queue: &'static str, batch: usize) -> Self {
        Self { jobs: Persisted::new(Jobs { pool, queue, batch }), batch }
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

/// Writes down what a job answers, which is nothing.
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
    batch: usize,
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
            STORAGE,
            worker.get_service()
        );
        statement.execute(&self.pool).in_time().await?;
        self.heartbeat(worker).await
    }

    async fn heartbeat(&mut self, worker: &WorkerContext) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        queries::keep_alive(&mut *connection, self.queue, worker).await?;
        queries::reenqueue_orphaned(&mut *connection, self.queue, ORPHANED_AFTER.as_secs()).await?;
        Ok(())
    }

    async fn fetch_next(&mut self, worker: &WorkerContext) -> Result<Vec<Task<Vec<u8>>>, Error> {
        let statement = sqlx::query!(
            "with due as materialized (
                 select id from apalis.jobs
                  where job_type = $1
                    and (status = 'Pending' or status = 'Failed' and attempts < max_attempts)
                    and run_at < now()
                  order by priority desc, run_at
                  limit $2
                    for update skip locked)
             update apalis.jobs j
                set status = 'Queued', lock_by = $3, lock_at = now()
              where id = any(array(select id from due))
             returning id, job, attempts",
            self.queue,
            i64::try_from(self.batch).unwrap_or(i64::MAX),
            worker.name()
        )
        .fetch_all(&self.pool)
        .in_time();
        let rows = fault::durable("fetch", statement).await?;
        let mut tasks = Vec::with_capacity(rows.len());
        for row in rows {
            let Ok(id) = Ulid::from_string(&row.id) else {
                self.bury(&row.id, worker).await?;
                continue;
            };
            let attempts = usize::try_from(row.attempts).unwrap_or_default();
            let task = TaskBuilder::new(row.job).task_id(TaskId::from_ulid(id)).attempt(attempts);
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
        let mut connection = self.pool.acquire().await?;
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
        Ok(self.end(ended.collect(), worker).await?)
    }

    async fn push_tasks(&mut self, _: Vec<Task<Vec<u8>>>) -> Result<(), Error> {
        Err(sqlx::Error::Protocol("jobs are enqueued by the statements that they belong to".to_owned())
            .into())
    }
}

impl Jobs {
    /// Writes down that these have ended, and of those that failed, why; jobs that another worker has meanwhile stay as they
    /// are.
    async fn end(&self, ended: Vec<(String, Option<String>)>, worker: &WorkerContext) -> sqlx::Result<()> {
        let ids: Vec<String> = ended.iter().map(|(id, _)| id.clone()).collect();
        let errors: Map<String, Value> =
            ended.into_iter().filter_map(|(id, why)| Some((id, why?.into()))).collect();
        let statement = sqlx::query!(
            "update apalis.jobs
                set status = case when $2::jsonb ? id then 'Failed' else 'Done' end,
                    last_result = case when $2 ? id then jsonb_build_object('Err', $2 -> id) else '{\"Ok\": null}' end,
                    attempts = attempts + 1,
                    done_at = clock_timestamp()
              where id = any($1) and lock_by = $3",
            &ids,
            Value::Object(errors),
            worker.name()
        )
        .execute(&self.pool)
        .in_time();
        fault::durable("end_jobs", statement).await?;
        Ok(())
    }

    /// Parks a job that the library cannot name.
    async fn bury(&self, id: &str, worker: &WorkerContext) -> sqlx::Result<()> {
        let why = "its id cannot be read";
        dead_letter::park(&self.pool, self.queue, id, why).await?;
        self.end(vec![(id.to_owned(), Some(why.to_owned()))], worker).await
    }
}
