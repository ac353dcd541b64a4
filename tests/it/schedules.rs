//! Work that is done once per fleet: each tick is one job, whichever worker ticks, and its work may
//! be repeated.

use std::time::Duration;

use futures::future::join_all;
use shared::queue::schedule::{self, SCHEDULES};
use shared::queue::{prune, worker_name};
use tests::{Shape, System, TestDatabase, a_payment, wait_until};

use crate::PROGRAM;

const OFTEN: (&str, &str) = ("RECONCILE_EVERY_MS", "400");

async fn count(database: &TestDatabase, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn three_schedulers_of_the_librarys_enqueue_a_tick_three_times() {
    let database = TestDatabase::fresh().await;

    // Each scheduler has its own clock and pipes its ticks to the queue.
    for _ in 0..3 {
        let tick = apalis::prelude::TaskBuilder::new(b"{\"tick\":0}".to_vec()).build();
        let mut connection = database.pool.acquire().await.unwrap();
        apalis_postgres::queries::push_tasks(&mut *connection, "ticks", vec![tick]).await.unwrap();
    }

    assert_eq!(count(&database, "select count(*) from apalis.jobs").await, 3);
}

#[tokio::test]
async fn a_tick_is_enqueued_once_however_many_enqueue_it() {
    let database = TestDatabase::fresh().await;
    let pool = shared::database::connect(&database.url, 20).await.unwrap();

    let every = Duration::from_hours(24);
    let waits = join_all((0..20).map(|_| schedule::tick(&pool, every))).await;

    assert!(waits.into_iter().all(|wait| wait.unwrap() <= every));
    let once = "select count(*) from apalis.jobs where idempotency_key ~ '^(reconcile|prune)-[0-9]+$'";
    assert_eq!(count(&database, once).await, 2);
    assert_eq!(count(&database, "select count(*) from apalis.jobs").await, 2);
}

#[tokio::test]
async fn three_workers_run_every_tick_once() {
    let system = System::with(PROGRAM, Shape { workers: 3, worker_env: often(), ..Shape::default() }).await;

    wait_until("six ticks to be done", async || {
        system.count("select count(*) from reconciliation_runs where finished_at is not null").await >= 6
    })
    .await;

    // In one statement, since ticks go on.
    let twice = "select count(*) - count(distinct idempotency_key) from apalis.jobs
                  where job_type = 'schedules' and idempotency_key like 'reconcile-%'";
    assert_eq!(system.count(twice).await, 0);
    assert_eq!(system.count("select count(*) from reconciliation_runs where trigger <> 'tick'").await, 0);
    // Their logs tell of no run twice.
    let logs: String = system.workers.iter().map(tests::Process::stderr).collect();
    let mut runs = runs_told(&logs);
    runs.sort_unstable();
    let told = runs.len();
    runs.dedup();
    assert!(told >= 6, "{logs}");
    assert_eq!(runs.len(), told, "a run is told of twice: {runs:?}");
}

fn often() -> Vec<(&'static str, String)> {
    vec![(OFTEN.0, OFTEN.1.to_owned()), ("RUST_LOG", "info".to_owned())]
}

/// The numbers of the runs that these logs tell of.
fn runs_told(logs: &str) -> Vec<&str> {
    let lines = logs.lines().filter(|line| line.contains("payments_compared"));
    lines.filter_map(number_of_run).collect()
}

/// The number of the run, whether the line is text or JSON.
fn number_of_run(line: &str) -> Option<&str> {
    let rest = line.split_once("run\":").or_else(|| line.split_once(" run="))?.1;
    Some(rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
}

#[tokio::test]
async fn a_tick_delivered_twice_is_run_once() {
    let mut system = System::with(PROGRAM, Shape::default()).await;
    schedule::tick(&system.database.pool, Duration::from_hours(24)).await.unwrap();
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         select apalis.generate_ulid(), job_type, job, 'Pending', 0, 1, run_at, 0, ''
           from apalis.jobs cross join generate_series(1, 3)",
    )
    .execute(&system.database.pool)
    .await
    .unwrap();

    system.add_worker([("RECONCILE_EVERY_MS", "86400000"), ("RUST_LOG", "info")]).await;

    wait_until("all ticks to be done", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0
    })
    .await;
    assert_eq!(system.count("select count(*) from reconciliation_runs").await, 1);
    assert_eq!(runs_told(&system.workers[0].stderr()), ["1"]);
}

#[tokio::test]
async fn pruning_deletes_what_is_old_and_finished_and_nothing_else() {
    let database = TestDatabase::fresh().await;
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, done_at)
         select to_char(n, 'FM00000000000000000000000000'), 'payments', '', s.status, s.attempts, 1, now(), 0, '',
                now() - s.ago
           from generate_series(1, 1200) n
           join (values (0, 'Done', 1, interval '2 hours'), (1, 'Failed', 1, '2 hours'), (2, 'Killed', 1, '2 hours'),
                        (3, 'Done', 1, '30 minutes'), (4, 'Failed', 0, '2 hours'), (5, 'Pending', 0, null),
                        (6, 'Running', 1, '2 hours')) as s (nth, status, attempts, ago)
             on n % 7 = s.nth",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into apalis.workers (id, worker_type, storage_name, last_seen)
         values ('gone', 'payments', 'x', now() - interval '2 hours'), ('here', 'payments', 'x', now()),
                ('holds', 'payments', 'x', now() - interval '2 hours')",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    sqlx::query("update apalis.jobs set lock_by = 'holds' where status = 'Running'")
        .execute(&database.pool)
        .await
        .unwrap();
    let old = "select count(*) from apalis.jobs where done_at < now() - interval '1 hour'
                  and (status in ('Done', 'Killed') or status = 'Failed' and attempts = 1)";
    let (finished, all) =
        (count(&database, old).await, count(&database, "select count(*) from apalis.jobs").await);

    let pruned = prune::run(&database.pool, Duration::from_hours(1)).await.unwrap();
    let again = prune::run(&database.pool, Duration::from_hours(1)).await.unwrap();

    assert!(finished > 500, "{finished}");
    assert_eq!(pruned, prune::Pruned { jobs: finished.unsigned_abs(), workers: 1 });
    assert_eq!(again, prune::Pruned::default());
    assert_eq!(count(&database, "select count(*) from apalis.jobs").await, all - finished);
    assert_eq!(count(&database, "select count(*) from apalis.workers").await, 2);
}

#[tokio::test]
async fn pruning_takes_as_many_batches_as_it_needs() {
    let database = TestDatabase::fresh().await;
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, done_at)
         select to_char(n, 'FM00000000000000000000000000'), 'payments', '', 'Done', 1, 1, now(), 0, '',
                now() - interval '2 hours'
           from generate_series(1, 2500) n",
    )
    .execute(&database.pool)
    .await
    .unwrap();

    let pruned = prune::run(&database.pool, Duration::from_hours(1)).await.unwrap();

    assert_eq!(pruned.jobs, 2_500);
}

#[tokio::test]
async fn a_payment_whose_jobs_were_pruned_still_works() {
    let mut system = System::start(PROGRAM).await;
    let ended = system.pay(a_payment().key("ended")).await;
    let payment = system.ended(ended.payment_id()).await;
    wait_until("its job to be done", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0
    })
    .await;
    system.workers[0].kill9();
    let waiting = system.accepted(a_payment()).await;
    sqlx::query("update apalis.jobs set status = 'Killed', done_at = now() where status = 'Pending'")
        .execute(&system.database.pool)
        .await
        .unwrap();
    // As if all of them had been made and done long ago.
    sqlx::query("update apalis.jobs set done_at = done_at - interval '2 hours', id = '00' || substr(id, 3)")
        .execute(&system.database.pool)
        .await
        .unwrap();

    prune::run(&system.database.pool, Duration::from_hours(1)).await.unwrap();

    assert_eq!(system.count("select count(*) from apalis.jobs").await, 0);
    let again = system.pay(a_payment().key("ended")).await;
    assert_eq!(again.body, ended.body);
    assert_eq!(system.client.payment(ended.payment_id()).await, payment);
    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(waiting).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_worker_that_was_pruned_while_it_was_frozen_works_on_under_another_name() {
    let mut system = System::start(PROGRAM).await;
    wait_until("the worker to be known", async || {
        system.count("select count(*) from apalis.workers where worker_type = 'payments'").await == 1
    })
    .await;
    // Not in the middle of its first tick, where it may hold what is changed below.
    wait_until("its first ticks to be done", async || {
        system.count("select count(*) from apalis.jobs where status = 'Done'").await == 2
    })
    .await;
    system.workers[0].stop().await;
    sqlx::query("update apalis.jobs set lock_by = null").execute(&system.database.pool).await.unwrap();
    sqlx::query("delete from apalis.workers").execute(&system.database.pool).await.unwrap();
    system.workers[0].cont();

    let id = system.accepted(a_payment()).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    wait_until("the worker to be known again", async || {
        system.count("select count(*) from apalis.workers where worker_type = 'payments'").await == 1
    })
    .await;
}

#[test]
fn no_two_workers_have_one_name() {
    assert_ne!(worker_name(), worker_name());
    assert_eq!(SCHEDULES, "schedules");
}
