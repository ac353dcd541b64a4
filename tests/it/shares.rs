//! How a worker's calls are shared out: payments of one merchant about which the gateway is silent hold up no
//! other merchant's.

use domain::ids::PaymentId;
use serde_json::Value;
use tests::{Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// The number of calls at a time.
const CALLS: usize = 4;
const SILENT: usize = 30;

/// The references of the payments that the gateway was asked to charge, in that order.
async fn charged(system: &System) -> Vec<String> {
    let key = |row: &Value| row["reference"].as_str().unwrap_or_default().to_owned();
    let rows = system.journal().await;
    rows.iter().filter(|row| row["kind"] == "request" && row["op"] == "charge").map(key).collect()
}

#[tokio::test]
async fn another_merchant_is_served_before_the_silent_payments_of_one_have_all_had_their_turn() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let other = system.another_merchant("second").await;
    for _ in 0..SILENT {
        system.accepted(a_payment().method("sim_doubt")).await;
    }
    let mut healthy: Vec<PaymentId> = Vec::new();
    for _ in 0..3 {
        healthy.push(other.pay(a_payment()).await.payment_id());
    }

    let calls = CALLS.to_string();
    system.add_worker([("WORKER_CONCURRENCY", calls.as_str()), ("DOUBT_DEADLINE_MS", "600000")]).await;

    for id in &healthy {
        wait_until(format!("{id} to end"), async || !other.payment(*id).await["terminal_at"].is_null()).await;
        assert_eq!(other.payment(*id).await["status"], "succeeded");
    }
    let charged = charged(&system).await;
    let last =
        healthy.iter().filter_map(|id| charged.iter().position(|key| *key == id.to_string())).max().unwrap();
    let before = last + 1 - healthy.len();
    assert!(before < SILENT / 2, "{before} of {SILENT} silent payments came first");
}
