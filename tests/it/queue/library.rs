//! Workers in a runtime of their own, which ends as a killed process does: at once, with all that it
//! was doing.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apalis::layers::WorkerBuilderExt as _;
use apalis::prelude::{BackendExt as _, BoxDynError, WorkerBuilder, WorkerContext};
use apalis_postgres::{Config, PostgresStorage};
use domain::ids::PaymentId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tests::{TestDatabase, wait_until};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The work of a job of the library's own.
pub(super) type Handler = Arc<dyn Fn(i64) -> BoxFuture<'static, Result<(), BoxDynError>> + Send + Sync>;

/// The library as it is, under these settings. Its jobs are numbers.
pub(super) struct Naive {
    pub(super) name: &'static str,
    pub(super) batch: usize,
    pub(super) concurrency: usize,
}

impl Naive {
    pub(super) const fn named(name: &'static str) -> Self {
        Self { name, batch: 1, concurrency: 1 }
    }

    pub(super) fn start(self, database: &TestDatabase, handler: Handler) -> Running {
        // The library counts whole seconds. A worker that was not heard of for two has died. On a busy
        // machine a start takes longer than one.
        let config = Config::default()
            .queue("naive")
            .batch_size(self.batch)
            // Otherwise a killed worker could still write, as its last word, that it runs the job it was
            // killed in.
            .lock_tasks(false)
            .heartbeat_interval(Duration::from_millis(100))
            .missed_heartbeats(20);
        let context = WorkerContext::new(self.name);
        let in_worker = context.clone();
        let mut running = Running::start(database, move |pool, stop| {
            let backend = PostgresStorage::<i64>::new(&pool)
                .with_config(config)
                .poll_with_interval(Duration::from_millis(20));
            let worker = WorkerBuilder::new(in_worker)
                .backend(backend)
                .catch_panic()
                .concurrency(self.concurrency)
                .build(move |job: i64| handler(job))
                .run_until(async move {
                    stop.cancelled().await;
                    Ok::<(), std::io::Error>(())
                });
            worker.map(drop).boxed()
        });
        running.context = Some(context);
        running
    }
}

/// A worker of ours, by way of `shared::queue`.
pub(super) fn ours(
    database: &TestDatabase,
    concurrency: usize,
    look: impl Fn(PaymentId) -> BoxFuture<'static, Result<(), String>> + Clone + Send + Sync + 'static,
) -> Running {
    Running::start(database, move |pool, stop| {
        let look = move |job: shared::queue::PaymentJob| {
            look(job.payment_id).map(|looked| looked.map_err(shared::queue::NotDone::from))
        };
        shared::queue::work(pool, concurrency, stop, look).boxed()
    })
}

/// A worker under way. When it is dropped, it is killed.
pub(super) struct Running {
    runtime: Option<Runtime>,
    stop: CancellationToken,
    ended: Arc<AtomicBool>,
    context: Option<WorkerContext>,
}

impl Running {
    fn start(
        database: &TestDatabase,
        worker: impl FnOnce(sqlx::PgPool, CancellationToken) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, ended) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let (url, told, done) = (database.url.clone(), stop.clone(), ended.clone());
        runtime.spawn(async move {
            let pool = shared::database::connect(&url, 4).await.unwrap();
            worker(pool, told).await;
            done.store(true, Ordering::Release);
        });
        Self { runtime: Some(runtime), stop, ended, context: None }
    }

    /// Asks it to end in order, and waits until it knows, where that can be seen.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        if let Some(context) = &self.context {
            wait_until("the worker to know", async || context.is_shutting_down()).await;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// The jobs that have been started, in their order.
#[derive(Clone, Default)]
pub(super) struct Started(Arc<Mutex<Vec<i64>>>);

impl Started {
    pub(super) fn note(&self, job: i64) {
        self.0.lock().unwrap().push(job);
    }

    pub(super) fn times(&self, job: i64) -> usize {
        self.0.lock().unwrap().iter().filter(|&&it| it == job).count()
    }

    pub(super) fn total(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// A handler that notes its jobs and is done with them.
    pub(super) fn and_done(&self) -> Handler {
        let started = self.clone();
        Arc::new(move |job| {
            started.note(job);
            async { Ok(()) }.boxed()
        })
    }

    /// A handler that notes its jobs and never ends.
    pub(super) fn and_stuck(&self) -> Handler {
        let started = self.clone();
        Arc::new(move |job| {
            started.note(job);
            pending().boxed()
        })
    }

    /// A handler that notes its jobs and ends them once the gate is open.
    pub(super) fn and_wait(&self, gate: &Gate) -> Handler {
        let (started, gate) = (self.clone(), gate.clone());
        Arc::new(move |job| {
            started.note(job);
            let gate = gate.clone();
            async move {
                gate.passed().await;
                Ok(())
            }
            .boxed()
        })
    }
}

/// Holds jobs until it is opened.
#[derive(Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(super) fn open(&self) {
        self.0.close();
    }

    pub(super) async fn passed(&self) {
        // The semaphore never has a permit: it is closed, and that opens the gate.
        let _ = self.0.acquire().await;
    }
}

/// Enqueues the numbers from `first` to `last`.
pub(super) async fn push(database: &TestDatabase, first: i64, last: i64, max_attempts: i32) {
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         select apalis.generate_ulid(), 'naive', convert_to(n::text, 'UTF8'), 'Pending', 0, $3, now() - interval '1 second',
                0, ''
           from generate_series($1, $2) n",
    )
    .bind(first)
    .bind(last)
    .bind(max_attempts)
    .execute(&database.pool)
    .await
    .unwrap();
}

/// Enqueues `count` looks at payments, in the form of our jobs. There are no such payments.
pub(super) async fn push_looks(database: &TestDatabase, count: usize) {
    for _ in 0..count {
        sqlx::query(
            "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
             values (apalis.generate_ulid(), 'payments', convert_to($1, 'UTF8'), 'Pending', 0, 1, now(), 0, '')",
        )
        .bind(serde_json::json!({ "payment_id": PaymentId::generate() }).to_string())
        .execute(&database.pool)
        .await
        .unwrap();
    }
}

pub(super) async fn count(database: &TestDatabase, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap()
}

/// Waits until the worker that holds a job was heard of after it got the job for longer than it may
/// be silent.
pub(super) async fn heard_of_its_worker(database: &TestDatabase) {
    wait_until("a worker to be heard of again and again", async || {
        count(
            database,
            "select count(*) from apalis.jobs j join apalis.workers w on w.id = j.lock_by
              where j.status in ('Queued', 'Running') and w.last_seen > j.lock_at + interval '3 seconds'",
        )
        .await
            > 0
    })
    .await;
}
