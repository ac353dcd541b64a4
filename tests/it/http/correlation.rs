//! `X-Correlation-Id`: from the client's request to the gateway's journal.

use tests::{System, a_payment};

use crate::PROGRAM;

/// The correlation ids in a payment's events and in the gateway's rows about it.
async fn left_behind(system: &System, id: domain::ids::PaymentId) -> (Vec<String>, Vec<String>) {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
    let events = list["data"].as_array().into_iter().flatten().map(|event| text(&event["correlation_id"]));
    let journal = system.journal().await;
    let key = system.gateway_key(id).await;
    let of_payment = journal.iter().filter(|row| row["key"] == key.as_str());
    let (events, journal): (Vec<_>, Vec<_>) =
        (events.collect(), of_payment.map(|row| text(&row["correlation_id"])).collect());
    assert!(events.len() >= 3 && journal.len() >= 3, "{id} left too little: {events:?} {journal:?}");
    (events, journal)
}

#[tokio::test]
async fn a_correlation_id_is_in_every_event_and_in_the_gateways_journal() {
    let system = System::start(PROGRAM).await;

    let id = system.accepted(a_payment().method("sim_503").header("x-correlation-id", "trace-001")).await;
    system.ended(id).await;

    let (events, journal) = left_behind(&system, id).await;
    assert!(events.len() > 3 && journal.len() > 3, "{events:?} {journal:?}");
    for found in events.iter().chain(&journal) {
        assert_eq!(found, "trace-001", "events {events:?}, journal {journal:?}");
    }
}

#[tokio::test]
async fn the_request_id_stands_in_for_a_correlation_id_that_is_missing_or_unusable() {
    let system = System::start(PROGRAM).await;
    let too_long = "x".repeat(129);
    for brought in [None, Some(""), Some("two words"), Some(too_long.as_str())] {
        let mut request = a_payment();
        if let Some(brought) = brought {
            request = request.header("x-correlation-id", brought);
        }

        let posted = system.pay(request).await;
        let id = posted.payment_id();
        system.ended(id).await;

        let (events, journal) = left_behind(&system, id).await;
        for found in events.iter().chain(&journal) {
            assert_eq!(found, posted.header("request-id"), "{brought:?}");
        }
    }
}

#[tokio::test]
async fn a_replay_leaves_the_first_correlation_id() {
    let system = System::start(PROGRAM).await;
    let request = a_payment();

    let id = system.accepted(request.clone().header("x-correlation-id", "first")).await;
    system.accepted(request.header("x-correlation-id", "second")).await;
    system.ended(id).await;

    let (events, journal) = left_behind(&system, id).await;
    assert!(events.iter().chain(&journal).all(|found| found == "first"), "{events:?} {journal:?}");
}
