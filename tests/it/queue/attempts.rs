//! Jobs that fail, panic, or say nothing readable.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BoxDynError, RetryAfterError};
use domain::ids::PaymentId;
use futures::FutureExt as _;
use tests::{Shape, System, TestDatabase, a_payment, wait_until};

use super::library::{Naive, Started, count, ours, push, push_looks};
use crate::PROGRAM;

#[tokio::test]
async fn a_job_that_panics_under_the_librarys_own_guard_runs_for_ever() {
    let database = TestDatabase::fresh().await;
    push(&database, 1, 1, 1).await;

    let _worker = Naive::named("panicking").start(&database, Arc::new(|_| async { panic!("a bug") }.boxed()));

    // The job counts as done, and runs all the same.
    wait_until("the job to be acknowledged", async || {
        count(&database, "select count(*) from apalis.jobs where done_at is not null").await == 1
    })
    .await;
    assert_eq!(count(&database, "select count(*) from apalis.jobs where status = 'Running'").await, 1);
}

#[tokio::test]
async fn a_job_of_ours_that_panics_fails_and_harms_no_other() {
    let database = TestDatabase::fresh().await;
    push_looks(&database, 6).await;
    let seen = Started::default();

    let _worker = ours(&database, 2, move |_| {
        seen.note(1);
        let nth = seen.total();
        async move { if nth % 2 == 0 { Ok(()) } else { panic!("a bug") } }.boxed()
    });

    wait_until("all jobs to end", async || {
        count(&database, "select count(*) from apalis.jobs where status in ('Done', 'Failed')").await == 6
    })
    .await;
    assert_eq!(count(&database, "select count(*) from apalis.jobs where status = 'Failed'").await, 3);
    let told = "select count(*) from apalis.jobs where last_result::text like '%panicked%'";
    assert_eq!(count(&database, told).await, 3);
}

#[tokio::test]
async fn a_payment_whose_job_panicked_is_found_by_the_sweep() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let panicking = ours(&system.database, 2, |_: PaymentId| async { panic!("a bug") }.boxed());
    wait_until("the job to fail", async || {
        system.count("select count(*) from apalis.jobs where status = 'Failed'").await == 1
    })
    .await;
    panicking.kill();

    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn the_library_tries_a_failed_job_again_without_any_delay() {
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    push(&database, 1, 1, 5).await;
    let due = "select (extract(epoch from run_at) * 1000000)::bigint from apalis.jobs";
    let first_due = count(&database, due).await;

    let noted = started.clone();
    let failing = move |job| {
        noted.note(job);
        async { Err(BoxDynError::from("not now")) }.boxed()
    };
    let _worker = Naive::named("retrying").start(&database, Arc::new(failing));

    wait_until("all tries to be used up", async || started.total() == 5).await;
    assert_eq!(count(&database, due).await, first_due, "the library has learnt to wait");
}

#[tokio::test]
async fn the_library_neither_waits_nor_stops_where_it_is_told_to_retry_later() {
    let (database, started) = (TestDatabase::fresh().await, Started::default());
    push(&database, 1, 1, 3).await;

    let noted = started.clone();
    let failing = move |job| {
        noted.note(job);
        let in_an_hour = RetryAfterError::new("not now", Duration::from_hours(1));
        async { Err(BoxDynError::from(in_an_hour)) }.boxed()
    };
    let _worker = Naive::named("retrying").start(&database, Arc::new(failing));

    wait_until("more tries than there are", async || started.total() > 6).await;
}

#[tokio::test]
async fn a_retry_of_ours_is_a_new_job_at_its_due_time() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_503")).await;

    assert_eq!(system.ended(id).await["attempt_count"], 3);

    let payments = "select count(*) from apalis.jobs where job_type = 'payments'";
    wait_until("all its jobs to be done", async || {
        system.count(payments).await == 3
            && system
                .count("select count(*) from apalis.jobs where job_type = 'payments' and status <> 'Done'")
                .await
                == 0
    })
    .await;
    let waited = "select count(*) from apalis.jobs j
                    join payment_events e on j.idempotency_key = e.payment_id || ':' || e.version
                   where e.type = 'retry_scheduled' and j.run_at = e.due_at and e.due_at > e.at
                     and j.attempts <= 1 and j.max_attempts = 1";
    assert_eq!(system.count(waited).await, 2);
}

/// A system, and a job with these contents beside those of its payments.
async fn with_a_job(says: &str) -> System {
    let system = System::start(PROGRAM).await;
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         values (apalis.generate_ulid(), 'payments', decode($1, 'escape'), 'Pending', 0, 1, now(), 7, '')",
    )
    .bind(says)
    .execute(&system.database.pool)
    .await
    .unwrap();
    system
}

/// Waits until the job has ended and is parked, and answers why.
async fn parked(system: &System) -> String {
    wait_until("the job to be parked and to end", async || {
        let ended =
            "select count(*) from apalis.jobs j join dead_letters l on l.job_id = j.id and l.job = j.job
                      where j.priority = 7 and j.status = 'Failed' and l.class = 'non_retryable'";
        system.count(ended).await == 1
    })
    .await;
    sqlx::query_scalar("select error from dead_letters").fetch_one(&system.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_job_of_no_payment_is_parked_at_once() {
    let system = with_a_job("{\"payment_id\":\"pay_01900000000070008000000000000000\"}").await;

    assert_eq!(parked(&system).await, "there is no such payment");
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_parked_at_once_and_its_worker_goes_on() {
    let system = with_a_job("neither JSON nor UTF-8: \\377").await;

    assert!(parked(&system).await.starts_with("the body cannot be read"));
    let id = system.accepted(a_payment()).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert!(!system.workers[0].stderr().contains("queue worker ended"), "{}", system.workers[0].stderr());
}
