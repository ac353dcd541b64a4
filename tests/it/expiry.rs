//! A payment that the gateway never takes waits for it, but not for ever: in the end it fails, surely not charged.

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Exit, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// More tries than there is time for.
const TRIES: (&str, &str) = ("RETRIES", "1000000");

/// A worker with the default patience finds the gateway so, and the payment waits; one whose time is over by then ends it.
async fn waits_and_then_fails(reason: &str, faults: Value, is_away: bool) {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.faults(faults).await;
    if is_away {
        system.gateway.kill9();
    }
    let id = system.accepted(a_payment()).await;
    let patient = system.add_worker([TRIES]).await;
    wait_until(format!("the payment to wait: {reason}"), async || {
        let events = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
        let waits = |event: &Value| event["type"] == "retry_scheduled" && event["reason"] == reason;
        events["data"].as_array().unwrap().iter().any(waits)
    })
    .await;
    system.workers[patient].terminate();
    assert_eq!(system.workers[patient].wait_exit().await, Exit::Code(0));
    let waiting = system.client.payment(id).await;
    assert_eq!((&waiting["status"], &waiting["terminal_at"]), (&"pending".into(), &Value::Null), "{reason}");

    system.add_worker([TRIES, ("PAYMENT_MAX_AGE_MS", "1")]).await;
    let payment = system.ended(id).await;

    assert_eq!(payment["status"], "failed", "{reason}: {payment}");
    let failure = &payment["failure"];
    assert_eq!((&failure["code"], &failure["retryable"]), (&"expired".into(), &true.into()), "{reason}");
    // One that is away has taken nothing.
    if !is_away {
        let journal = system.journal_of(id).await;
        assert!(!journal.iter().any(|row| row.starts_with("charge ")), "{reason}: {journal:?}");
        system.assert_books_agree().await;
    }
}

#[tokio::test]
async fn a_payment_that_the_gateway_never_takes_waits_and_fails_when_its_time_is_over() {
    let hopeless = [
        ("rate_limited", json!({ "rate_429": 1.0 }), false),
        ("unauthorized", json!({ "unauthorized": true }), false),
        ("unreachable", json!({}), true),
    ];
    join_all(hopeless.map(|(reason, faults, is_away)| waits_and_then_fails(reason, faults, is_away))).await;
}
