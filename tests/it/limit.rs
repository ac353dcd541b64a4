//! The limit of a worker's gateway calls, with real processes. The gateway's journal shows that it holds, and
//! a payment that has to wait for it waits unclaimed.

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::PaymentId;
use serde_json::Value;
use tests::{Exit, Scrape, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// An API, and a worker that may call the gateway at that rate.
async fn calling_at(rate: &str) -> System {
    let worker_env = vec![("GATEWAY_RATE_PER_S", rate.to_owned())];
    System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await
}

async fn accepted(system: &System, count: usize, token: &str) -> Vec<PaymentId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(system.accepted(a_payment().method(token)).await);
    }
    ids
}

/// The calls that the gateway got, oldest first: when, which, and about which payment.
async fn calls(system: &System) -> Vec<(DateTime<Utc>, String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = system.journal().await;
    let requests = rows.iter().filter(|row| row["kind"] == "request");
    let mut calls: Vec<_> =
        requests.map(|row| (text(row, "at").parse().unwrap(), text(row, "op"), text(row, "key"))).collect();
    calls.sort();
    calls
}

async fn put_off(system: &System) -> f64 {
    Scrape::of(&system.workers[0]).await.sum("payonce_gateway_put_off_total", &[])
}

#[tokio::test]
async fn the_gateway_gets_no_more_calls_of_any_kind_than_the_limit_allows() {
    const BURST: usize = 5;
    const BETWEEN: TimeDelta = TimeDelta::milliseconds(200);
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut ids = accepted(&system, 12, "sim_ok").await;
    ids.extend(accepted(&system, 2, "sim_503").await);
    ids.extend(accepted(&system, 1, "sim_timeout_charged").await);

    let start: DateTime<Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&system.database.pool).await.unwrap();
    system.add_worker([("GATEWAY_RATE_PER_S", "5")]).await;
    for id in ids {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }

    // Slowness makes a call later and never earlier, so this holds on any machine. Each call comes after the
    // moment at which the limit can have given it, were the bucket full at the start.
    let calls = calls(&system).await;
    for (n, (at, op, key)) in calls.iter().enumerate() {
        let given = start + BETWEEN * i32::try_from((n + 1).saturating_sub(BURST)).unwrap();
        assert!(*at >= given, "call {n}, {op} of {key}, at {at}: the limit gave it no earlier than {given}");
    }
    assert!(calls.len() >= 12 + 2 * 3 + 2, "{}", calls.len());
    assert!(calls.iter().any(|(_, op, _)| op == "lookup"));
    assert!(put_off(&system).await > 0.0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn what_was_put_off_waits_unclaimed_and_a_worker_that_is_told_to_end_ends() {
    let mut system = calling_at("0.001").await;
    let ids = accepted(&system, 5, "sim_ok").await;
    wait_until("one to end", async || {
        system.count("select count(*) from payments where terminal_at is not null").await == 1
    })
    .await;
    wait_until("the others to be put off", async || put_off(&system).await >= 4.0).await;

    system.workers[0].terminate();
    assert_eq!(system.workers[0].wait_exit().await, Exit::Code(0));

    assert_eq!(system.count("select count(*) from payments where version = 1").await, 4, "claimed");
    system.add_worker([("RUST_LOG", "info")]).await;
    for id in ids {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }
    assert_eq!(system.count("select count(*) from payments where attempt_count <> 1").await, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn what_is_new_does_not_overtake_what_the_limit_has_put_off() {
    const BURST: usize = 4;
    let system = calling_at("4").await;
    let old = accepted(&system, 12, "sim_ok").await;
    wait_until("their jobs to be done", async || {
        system
            .count("select count(*) from apalis.jobs where job_type = 'payments' and status <> 'Done'")
            .await
            == 0
    })
    .await;
    let sweeps =
        async || Scrape::of(&system.workers[0]).await.sum("payonce_sweeps_total", &[("result", "ok")]);
    let before = sweeps().await;
    wait_until("some sweeps", async || sweeps().await > before + 3.0).await;

    wait_until("all of them to end", async || {
        system.accepted(a_payment()).await;
        let open = "select count(*) from (select status from payments order by id limit 12) old where status <> 'succeeded'";
        system.count(open).await == 0
    })
    .await;

    let calls = calls(&system).await;
    let keys = futures::future::join_all(old.iter().map(|&id| system.gateway_key(id))).await;
    let is_old = |key: &String| keys.contains(key);
    let overtook = calls.iter().position(|(_, _, key)| !is_old(key)).unwrap_or(calls.len());
    // Calls that were given together may reach the gateway in any order.
    assert!(overtook >= old.len() - BURST, "a new one was asked about after {overtook} old ones");
}

#[tokio::test]
async fn a_remedy_takes_its_call_from_the_limit_as_everything_else_does() {
    let mut system = calling_at("0.001").await;
    let failed = system.accepted(a_payment().method("sim_declined")).await;
    system.ended(failed).await;
    let before = put_off(&system).await;

    sqlx::query(
        "insert into breaks (payment_id, kind, detail, opened_at) values ($1, 'charged_after_end', '{}', now())",
    )
    .bind(failed.uuid())
    .execute(&system.database.pool)
    .await
    .unwrap();
    wait_until("the void to be put off", async || put_off(&system).await > before + 2.0).await;

    assert_eq!(system.count("select count(*) from breaks where void_started_at is null").await, 1);
    system.add_worker([("RUST_LOG", "info")]).await;
    wait_until("the void by a worker without a limit", async || {
        system.count("select count(*) from breaks where void_ended_at is not null").await == 1
    })
    .await;
}
