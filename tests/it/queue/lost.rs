//! Jobs whose worker is gone, or is taken for gone.

use futures::FutureExt as _;
use futures::future::pending;
use tests::{TestDatabase, wait_until};

use super::library::{Gate, Naive, Started, count, heard_of_its_worker, ours, push, push_looks};

/// Leaves one job that was started by a worker which was killed in the middle of it.
async fn killed_in_the_middle(database: &TestDatabase, name: &'static str, started: &Started) {
    push(database, 1, 1, 1).await;
    let first = Naive::named(name).start(database, started.and_stuck());
    wait_until("the job to be started", async || started.times(1) == 1).await;
    first.kill();
}

#[tokio::test]
async fn a_worker_that_restarts_under_its_name_never_gets_its_job_back() {
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    killed_in_the_middle(&database, "the worker", &started).await;

    let _second = Naive::named("the worker").start(&database, started.and_done());

    heard_of_its_worker(&database).await;
    assert_eq!(started.times(1), 1);
    assert_eq!(count(&database, "select count(*) from apalis.jobs where status = 'Queued'").await, 1);
}

#[tokio::test]
async fn a_worker_that_restarts_under_another_name_gets_the_job() {
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    killed_in_the_middle(&database, "the worker", &started).await;

    let _second = Naive::named("another worker").start(&database, started.and_done());

    wait_until("the job to be started again", async || started.times(1) >= 2).await;
}

#[tokio::test]
async fn every_worker_of_ours_has_a_name_that_none_had_before_so_the_jobs_of_the_dead_are_found() {
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    push_looks(&database, 1).await;
    let noted = started.clone();
    let first = ours(&database, 2, move |_| {
        noted.note(1);
        pending().boxed()
    });
    wait_until("the job to be started", async || started.times(1) == 1).await;
    first.kill();
    // As if the time had passed after which a silent worker counts as dead.
    let aged = "update apalis.workers set last_seen = last_seen - interval '1 minute'";
    sqlx::query(aged).execute(&database.pool).await.unwrap();

    let _second = ours(&database, 2, |_| async { Ok(()) }.boxed());

    wait_until("the job to be done", async || {
        count(&database, "select count(*) from apalis.jobs where status = 'Done'").await == 1
    })
    .await;
    assert_eq!(count(&database, "select count(distinct id) from apalis.workers").await, 2);
}

/// A batch of five in the hands of a worker whose first job takes long, and a second worker beside it.
async fn slow_batch(concurrency: usize) -> (TestDatabase, Started, Gate, [super::library::Running; 2]) {
    let (database, started, gate) = (TestDatabase::fresh().await, Started::default(), Gate::closed());
    push(&database, 1, 5, 1).await;
    let slow = Naive { name: "slow", batch: 5, concurrency }.start(&database, started.and_wait(&gate));
    wait_until("the slow worker to start", async || started.total() == concurrency).await;
    let second = Naive::named("second").start(&database, started.and_done());
    (database, started, gate, [slow, second])
}

#[tokio::test]
async fn a_worker_with_a_batch_larger_than_its_concurrency_is_silent_and_its_jobs_run_twice() {
    let (_database, started, gate, _workers) = slow_batch(1).await;
    // The second worker takes them all for orphans, although the first one lives.
    wait_until("the whole batch to be started again", async || started.total() >= 6).await;

    gate.open();

    // They may run more often, on a machine so busy that the second worker is silent for too long as well.
    wait_until("every job to have run twice", async || (1..=5).all(|job| started.times(job) >= 2)).await;
}

#[tokio::test]
async fn a_worker_with_a_batch_no_larger_than_its_concurrency_is_heard_of_however_long_its_jobs_take() {
    let (database, started, gate, _workers) = slow_batch(5).await;

    heard_of_its_worker(&database).await;
    gate.open();

    wait_until("every job to be done", async || {
        count(&database, "select count(*) from apalis.jobs where status = 'Done'").await == 5
    })
    .await;
    assert_eq!(started.total(), 5);
}

#[tokio::test]
async fn a_worker_of_ours_is_heard_of_with_all_hands_full() {
    let (database, started, gate) = (TestDatabase::fresh().await, Started::default(), Gate::closed());
    push_looks(&database, 5).await;
    let (noted, shut) = (started.clone(), gate.clone());

    let _worker = ours(&database, 2, move |_| {
        noted.note(1);
        let shut = shut.clone();
        async move {
            shut.passed().await;
            Ok(())
        }
        .boxed()
    });

    heard_of_its_worker(&database).await;
    assert_eq!(started.total(), 2);
    gate.open();
    wait_until("every job to be done", async || {
        count(&database, "select count(*) from apalis.jobs where status = 'Done'").await == 5
    })
    .await;
}

#[tokio::test]
async fn a_job_that_kills_its_worker_is_delivered_for_ever() {
    const ROUNDS: &[&str] = &["first", "second", "third", "fourth"];
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    push(&database, 1, 1, 1).await;

    for (round, name) in ROUNDS.iter().enumerate() {
        let victim = Naive::named(name).start(&database, started.and_stuck());
        wait_until(format!("the {name} worker to be killed"), async || started.times(1) > round).await;
        victim.kill();
    }

    let beyond =
        "select count(*) from apalis.jobs where attempts >= 3 and max_attempts = 1 and status <> 'Killed'";
    assert_eq!(count(&database, beyond).await, 1);
}

#[tokio::test]
async fn a_job_that_was_lost_twice_is_ended() {
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    push(&database, 1, 1, 1).await;
    for (name, status) in [("first", "Pending"), ("second", "Killed")] {
        let before = started.total();
        let victim = Naive::named(name).start(&database, started.and_stuck());
        wait_until(format!("the {name} worker to be killed"), async || started.total() == before + 1).await;
        victim.kill();
        let aged = "update apalis.jobs set lock_at = lock_at - interval '1 hour'";
        sqlx::query(aged).execute(&database.pool).await.unwrap();

        let repaired = shared::queue::repair::lost_jobs(&database.pool, 10).await.unwrap();

        assert_eq!((repaired.checked, repaired.found, repaired.repaired), (1, 1, 1));
        let now: String =
            sqlx::query_scalar("select status from apalis.jobs").fetch_one(&database.pool).await.unwrap();
        assert_eq!(now, status);
    }
}
