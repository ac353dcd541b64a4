//! Many payments of every kind, and workers that are killed in the middle of them.

use futures::StreamExt as _;
use futures::stream;
use tests::{Exit, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// Payment methods: mostly good ones, as in life, and some of each kind of trouble.
const TOKENS: &[&str] = &[
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_declined",
    "sim_503",
    "sim_500_charged",
    "sim_500_not_charged",
    "sim_reset_before",
    "sim_reset_after",
    "sim_async_ok",
    "sim_lookup_down",
];

const PAYMENTS: usize = 2_000;
const KILLS: usize = 5;

async fn post(system: &System, count: usize) {
    let posted = stream::iter(0..count)
        .map(|n| system.accepted(a_payment().method(TOKENS[n % TOKENS.len()])))
        .buffer_unordered(32)
        .count()
        .await;
    assert_eq!(posted, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_of_which_one_is_killed_five_times_finish_two_thousand_payments() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, workers: 2, ..Shape::default() }).await;
    post(&system, PAYMENTS / 2).await;

    for kill in 1..=KILLS {
        post(&system, PAYMENTS / 2 / KILLS).await;
        let enough = i64::try_from(PAYMENTS / (KILLS + 1) * kill).unwrap();
        wait_until(format!("{enough} payments to end"), async || {
            system.count("select count(*) from payments where terminal_at is not null").await >= enough
        })
        .await;
        system.workers[1].kill9();
        assert_eq!(system.workers[1].wait_exit().await, Exit::Signal(9));
        system.workers[1] = system.worker().start().await;
    }

    system.settled().await;
    assert_eq!(system.count("select count(*) from payments").await, i64::try_from(PAYMENTS).unwrap());
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_job_that_never_comes_is_made_up_for_by_the_sweep() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    sqlx::query("delete from apalis.jobs").execute(&system.database.pool).await.unwrap();

    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_job_run_again_after_the_end_changes_nothing() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    let payment = system.ended(id).await;

    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         select apalis.generate_ulid(), job_type, job, 'Pending', 0, 1, now(), 0, ''
           from apalis.jobs cross join generate_series(1, 3)",
    )
    .execute(&system.database.pool)
    .await
    .unwrap();
    wait_until("every job to be done", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0
    })
    .await;

    assert_eq!(system.client.payment(id).await, payment);
    assert_eq!(system.journal_of(id).await, ["request charge", "charge charge", "answer charge 201"]);
}

#[tokio::test]
async fn a_worker_told_to_end_finishes_what_it_holds() {
    let mut system = System::start(PROGRAM).await;
    system.faults(serde_json::json!({ "slow_token_ms": 500 })).await;
    let id = system.accepted(a_payment().method("sim_slow")).await;
    wait_until("the charge to be sent", async || !system.journal_of(id).await.is_empty()).await;

    system.workers[0].terminate();
    let exit = system.workers[0].wait_exit().await;

    assert_eq!(exit, Exit::Code(0));
    assert_eq!(system.client.payment(id).await["status"], "succeeded");
}
