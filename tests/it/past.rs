//! The past comes back: payments that the gateway remembers are forgotten here, as after a restored backup,
//! or a server that took over without its last commits. A client that repeats its request is charged once.

mod adopted;
mod claimed;
mod late;
mod looked_first;
mod voided;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Shape, System};

use crate::PROGRAM;
use crate::reconcile::behind_the_guards;

async fn without_worker() -> System {
    System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await
}

/// Adds one worker, with its log at level info.
async fn with_worker(mut system: System) -> System {
    system.add_worker([("RUST_LOG", "info")]).await;
    system
}

/// Takes a payment out of our books, as if it had never been accepted.
async fn forget(system: &System, id: PaymentId) {
    let all = "delete from ledger_transfers where payment_id = $id; delete from late_evidence where payment_id = $id;
               delete from breaks where payment_id = $id; delete from payment_events where payment_id = $id;
               delete from public_events where object = $id;
               delete from idempotency_keys where payment_id = $id; delete from payments where id = $id;
               delete from apalis.jobs where idempotency_key like $id || ':%'";
    behind_the_guards(system, all, id).await;
}

/// Executes statements in our own database.
pub(crate) async fn at_home(system: &System, sql: &'static str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&system.database.pool).await.unwrap();
}

/// Charges at the gateway under a key, by any name, as for a forgotten payment.
pub(super) async fn charged_at_the_gateway(system: &System, key: &str, name: PaymentId, amount: &str) {
    charged_at_the_gateway_of(system.gateway.address("gateway"), key, name, amount).await;
}

/// The same at the gateway of that address.
pub(super) async fn charged_at_the_gateway_of(address: &str, key: &str, name: PaymentId, amount: &str) {
    let url = format!("{address}/charges");
    let body = json!({ "amount": amount, "currency": "EUR", "payment_method": "sim_ok", "reference": name });
    let sent = reqwest::Client::new().post(url).header("idempotency-key", key).json(&body).send();
    assert_eq!(sent.await.unwrap().status(), 201);
}

/// Closes a key at the gateway.
async fn closed_at_the_gateway(system: &System, key: &str) {
    let url = format!("{}/voids", system.gateway.address("gateway"));
    let void = reqwest::Client::new().post(url).header("idempotency-key", format!("{key}:void"));
    assert_eq!(void.json(&json!({ "key": key })).send().await.unwrap().status(), 201);
}

/// How many charges the gateway ever made, even those that do not stand any more.
async fn charges(system: &System) -> usize {
    system.journal().await.iter().filter(|row| row["kind"] == "charge").count()
}

/// The payment's last event, as the API shows it.
async fn last_event(system: &System, id: PaymentId) -> Value {
    let list = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
    list["data"].as_array().unwrap().last().unwrap().clone()
}

/// The evidence of its last event.
async fn evidence(system: &System, id: PaymentId) -> Value {
    sqlx::query_scalar(
        "select evidence from payment_events where payment_id = $1 order by version desc limit 1",
    )
    .bind(id.uuid())
    .fetch_one(&system.database.pool)
    .await
    .unwrap()
}

async fn looks_first(system: &System, id: PaymentId) -> bool {
    sqlx::query_scalar("select look_first from payments where id = $1")
        .bind(id.uuid())
        .fetch_one(&system.database.pool)
        .await
        .unwrap()
}
