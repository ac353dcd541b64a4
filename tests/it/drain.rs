//! Processes that are told to end: nothing is lost, no try is spent, and the end comes.

use domain::ids::PaymentId;
use futures::StreamExt as _;
use futures::stream;
use serde_json::json;
use tests::{Exit, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// The exit of a process that was told twice.
const TOLD_TWICE: Exit = Exit::Code(130);

async fn post(system: &System, count: usize, token: &str) -> Vec<PaymentId> {
    stream::iter(0..count)
        .map(|_| system.accepted(a_payment().method(token)))
        .buffer_unordered(16)
        .collect()
        .await
}

/// A lease that no charge outlasts, however slow the machine. So no abandoned payment is taken over while a
/// test lives.
const LONG_LEASE: &[(&str, &str)] = &[("GATEWAY_TIMEOUT_MS", "9000"), ("LEASE_MS", "3600000")];

/// A system whose every charge takes a while, with many of them under way.
async fn busy(workers: usize, worker_env: &[(&'static str, &str)]) -> System {
    let worker_env = worker_env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let system = System::with(PROGRAM, Shape { apis: 1, workers, worker_env, ..Shape::default() }).await;
    system.faults(json!({ "slow_token_ms": 300 })).await;
    post(&system, 200, "sim_slow").await;
    wait_until("charges to be under way", async || {
        system.count("select count(*) from payments where claim_token is not null").await > 10
    })
    .await;
    system
}

async fn every_attempt_was_the_first(system: &System) {
    assert_eq!(system.count("select count(*) from payments where status <> 'succeeded'").await, 0);
    assert_eq!(
        system.count("select count(*) from payments where attempt_count <> 1 or retries_spent <> 0").await,
        0
    );
    assert_eq!(system.count("select count(*) from payments where in_doubt").await, 0);
    assert_eq!(system.count("select count(*) from late_evidence").await, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_worker_that_drains_under_load_loses_nothing_and_spends_nothing() {
    let mut system = busy(2, LONG_LEASE).await;

    system.workers[0].terminate();
    let exit = system.workers[0].wait_exit().await;
    system.settled().await;

    assert_eq!(exit, Exit::Code(0));
    every_attempt_was_the_first(&system).await;
}

#[tokio::test]
async fn what_a_drained_worker_had_not_begun_is_left_for_the_next_one() {
    let mut system = busy(1, LONG_LEASE).await;

    system.workers[0].terminate();
    assert_eq!(system.workers[0].wait_exit().await, Exit::Code(0));
    assert_eq!(system.count("select count(*) from payments where claim_token is not null").await, 0);
    let _ = post(&system, 20, "sim_ok").await;
    system.add_worker(LONG_LEASE.iter().copied()).await;
    system.settled().await;

    every_attempt_was_the_first(&system).await;
}

#[tokio::test]
async fn a_worker_told_twice_ends_at_once_and_its_payment_is_looked_up() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_timeout_charged")).await;
    let patient = system.add_worker(LONG_LEASE.iter().copied()).await;
    wait_until("the charge to be sent", async || !system.journal_of(id).await.is_empty()).await;

    system.workers[patient].terminate();
    wait_until("the drain to begin", async || system.workers[patient].stderr().contains("shutting down"))
        .await;
    system.workers[patient].terminate();
    let exit = system.workers[patient].wait_exit().await;
    system.make_due(id).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(exit, TOLD_TWICE);
    assert_eq!(system.ended(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_worker_killed_in_mid_drain_is_made_up_for() {
    let mut system = busy(2, &[]).await;

    system.workers[0].terminate();
    system.workers[0].kill9();
    system.settled().await;

    assert_eq!(system.count("select count(*) from payments where status <> 'succeeded'").await, 0);
    assert_eq!(system.count("select count(*) from payments where retries_spent <> 0").await, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn an_api_that_drains_under_load_answers_what_it_took() {
    let mut system = System::with(PROGRAM, Shape { apis: 2, workers: 1, ..Shape::default() }).await;
    let client = &system.client;
    let posts = stream::iter(0..200).map(|n| {
        let request = a_payment().key(&format!("order-{n}"));
        async move {
            // As a merchant would do it: a request whose connection broke is sent again with the same key, to
            // the APIs in turn.
            loop {
                if let Ok(answer) = client.try_pay(request.clone()).await {
                    return answer.payment_id();
                }
            }
        }
    });

    let drained = &mut system.apis[0];
    let end = async {
        drained.terminate();
        drained.wait_exit().await
    };
    let (ids, exit) = tokio::join!(posts.buffer_unordered(16).collect::<Vec<_>>(), end);

    assert_eq!(exit, Exit::Code(0));
    assert_eq!(ids.len(), 200);
    system.settled().await;
    assert_eq!(system.count("select count(*) from payments").await, 200);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn who_waits_for_a_payment_is_answered_when_the_api_drains() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let path = format!("/v1/payments/{id}?wait=60");
    let api = &mut system.apis[0];
    let (client, pool) = (&system.client, &system.database.pool);

    let waiting = client.get(&path);
    let end = async {
        let looks = "select count(*) from pg_stat_activity where query like 'select id from payments where id = any(%'
                        and datname = current_database() and pid <> pg_backend_pid()";
        wait_until("somebody to wait", async || {
            sqlx::query_scalar::<_, i64>(looks).fetch_one(pool).await.unwrap() > 0
        })
        .await;
        api.terminate();
        api.wait_exit().await
    };
    let (answer, exit) = tokio::join!(waiting, end);

    answer.assert_status(200);
    assert_eq!(answer.json()["status"], "pending");
    assert_eq!(exit, Exit::Code(0));
}
