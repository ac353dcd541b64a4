//! The circuit breaker, with real processes. While the gateway is away nothing is claimed and nothing fails.
//! Once it is back, one probe brings all the others.

use domain::ids::PaymentId;
use serde_json::json;
use tests::client::send;
use tests::{Scrape, Shape, System, a_payment, wait_until};

use crate::{PROGRAM, verify};

/// An opening time that no test sees the end of.
const FOR_EVER: &str = "3600000";

/// An API, and a worker whose breaker opens for that time.
async fn opening_for(open_ms: &str) -> System {
    let worker_env = vec![("BREAKER_OPEN_MS", open_ms.to_owned())];
    System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await
}

async fn accepted(system: &System, count: usize) -> Vec<PaymentId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(system.accepted(a_payment()).await);
    }
    ids
}

async fn open(system: &System) {
    wait_until("the breaker to be open", async || {
        Scrape::of(&system.workers[0]).await.sum("payonce_gateway_breaker_state", &[]) == 2.0
    })
    .await;
    wait_until("what was under way to end", async || {
        system.count("select count(*) from payments where claim_token is not null").await == 0
    })
    .await;
}

/// The number of claims, of any kind.
async fn claims(system: &System) -> i64 {
    system
        .count("select count(*) from payment_events where type in ('attempt_started', 'verifying', 'taken_over')")
        .await
}

/// Waits until the worker has had every job, and has swept several times.
async fn had_its_chances(system: &System) {
    wait_until("every job to be done", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done' and run_at <= now()").await == 0
    })
    .await;
    let sweeps =
        async || Scrape::of(&system.workers[0]).await.sum("payonce_sweeps_total", &[("result", "ok")]);
    let before = sweeps().await;
    wait_until("some sweeps", async || sweeps().await > before + 3.0).await;
}

/// How often the worker's log names that event.
fn said(system: &System, event: &str) -> usize {
    system.workers[0].stderr().matches(&format!("\"event\":\"{event}\"")).count()
}

#[tokio::test]
async fn while_the_gateway_is_away_nothing_is_claimed_and_payments_are_accepted() {
    let mut system = opening_for(FOR_EVER).await;
    system.gateway.kill9();
    accepted(&system, 10).await;
    open(&system).await;
    let before = claims(&system).await;

    let later = accepted(&system, 5).await;
    had_its_chances(&system).await;

    assert_eq!(claims(&system).await, before, "something was claimed while the breaker was open");
    for id in later {
        assert_eq!(system.story(id).await, ["created"]);
    }
    assert_eq!(system.count("select count(*) from payments where terminal_at is not null").await, 0);
    let ready = format!("{}/health/ready", system.workers[0].address("metrics"));
    send(reqwest::Client::new().get(ready)).await.assert_status(200);
    assert_eq!(said(&system, "breaker_opened"), 1);
}

#[tokio::test]
async fn once_the_gateway_is_back_everything_succeeds_and_no_try_was_spent_in_vain() {
    let mut system = opening_for("1000").await;
    system.gateway.kill9();
    let ids = accepted(&system, 30).await;
    open(&system).await;

    system.restart_gateway().await;

    for id in ids {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }
    assert_eq!(system.count("select sum(retries_spent)::bigint from payments").await, 0);
    assert_eq!(said(&system, "breaker_closed"), 1);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn refused_credentials_open_it_until_they_are_accepted_again() {
    let system = opening_for("300").await;
    system.faults(json!({ "unauthorized": true })).await;
    let mut ids = accepted(&system, 1).await;
    wait_until("the breaker to open", async || said(&system, "breaker_opened") > 0).await;
    let before = claims(&system).await;
    ids.extend(accepted(&system, 20).await);
    had_its_chances(&system).await;
    assert_eq!(claims(&system).await, before, "something was claimed although the door refuses us");

    system.faults(json!({})).await;
    for id in ids {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }
    assert_eq!(system.count("select sum(retries_spent)::bigint from payments").await, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_remedy_waits_for_the_gateway_as_everything_else_does() {
    let mut system = opening_for(FOR_EVER).await;
    let failed = system.accepted(a_payment().method("sim_declined")).await;
    system.ended(failed).await;
    system.faults(json!({ "unauthorized": true })).await;
    accepted(&system, 1).await;
    open(&system).await;

    sqlx::query(
        "insert into breaks (payment_id, kind, detail, opened_at) values ($1, 'charged_after_end', '{}', now())",
    )
    .bind(failed.uuid())
    .execute(&system.database.pool)
    .await
    .unwrap();
    had_its_chances(&system).await;

    assert_eq!(system.count("select count(*) from breaks where void_started_at is null").await, 1);
    system.faults(json!({})).await;
    system.add_worker([("RUST_LOG", "info")]).await;
    wait_until("the void by a worker that reaches the gateway", async || {
        system.count("select count(*) from breaks where void_ended_at is not null").await == 1
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_nothing_but_the_gateway_is_counted_apart_and_is_no_violation() {
    let mut system = opening_for(FOR_EVER).await;
    system.faults(json!({ "unauthorized": true })).await;
    accepted(&system, 3).await;
    open(&system).await;
    wait_until("it to be written down", async || {
        system.count("select count(*) from gateway_outages where ended_at is null").await == 1
            && system.count("select count(*) from payments where due_at < now()").await == 3
    })
    .await;

    let (code, report) = verify::report(verify::verify(&system, &["--grace", "0"])).await;
    assert_eq!((code, &report["held_back"], &report["violations"]), (3, &3.into(), &0.into()), "{report}");

    // A worker that finds the gateway, or no worker at all, is no such excuse.
    system.workers[0].kill9();
    sqlx::query("update apalis.workers set last_seen = now() - interval '1 hour'")
        .execute(&system.database.pool)
        .await
        .unwrap();
    let (code, report) = verify::report(verify::verify(&system, &["--grace", "0"])).await;
    assert_eq!((code, &report["held_back"], &report["violations"]), (1, &0.into(), &3.into()), "{report}");
}
