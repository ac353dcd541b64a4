//! `X-Correlation-Id`: from the client's request to the gateway's journal.

use reqwest::Method;
use reqwest::header::HeaderValue;
use tests::client::send;
use tests::{System, a_payment};

use super::an_api;
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
async fn the_request_id_stands_in_for_a_correlation_id_that_is_missing() {
    let system = System::start(PROGRAM).await;

    let posted = system.pay(a_payment()).await;
    let id = posted.payment_id();
    system.ended(id).await;

    assert_eq!(posted.header("x-correlation-id"), posted.header("request-id"));
    let (events, journal) = left_behind(&system, id).await;
    for found in events.iter().chain(&journal) {
        assert_eq!(found, posted.header("request-id"));
    }
}

#[tokio::test]
async fn every_answer_repeats_the_correlation_id_of_its_own_request() {
    let system = an_api().await;
    let request = a_payment();
    let id = system.accepted(request.clone().header("x-correlation-id", "first")).await;
    let longest = "x".repeat(128);
    let replay = system.pay(request.header("x-correlation-id", &longest)).await;
    assert_eq!(replay.header("idempotent-replayed"), "true");
    assert_eq!(replay.header("x-correlation-id"), longest);
    for (method, path) in [
        (Method::GET, format!("/v1/payments/{id}")),
        (Method::GET, "/v1/payments?limit=0".to_owned()),
        (Method::GET, "/nothing".to_owned()),
        (Method::DELETE, "/v1/payments".to_owned()),
        (Method::POST, "/v1/payments".to_owned()),
        (Method::GET, "/v1/breaks".to_owned()),
        (Method::GET, "/health".to_owned()),
    ] {
        let answer = send(system.client.request(method, &path).header("x-correlation-id", "trace-7")).await;

        assert_eq!(answer.header("x-correlation-id"), "trace-7", "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_correlation_id_that_cannot_be_followed_is_refused_and_not_replaced() {
    let system = an_api().await;
    let bytes = |value: &[u8]| HeaderValue::from_bytes(value).unwrap();
    for brought in [&b""[..], b"two words", b"tab\there", "schl\u{fc}ssel".as_bytes(), &[b'x'; 129]] {
        let post = system.client.request(Method::POST, "/v1/payments").json(&a_payment().body);
        let get = system.client.request(Method::GET, "/v1/payments");
        for request in [post.header("idempotency-key", "key-1"), get] {
            let answer = send(request.header("x-correlation-id", bytes(brought))).await;

            let problem = answer.assert_problem(400, "invalid_request");
            assert_eq!(problem["errors"][0]["header"], "X-Correlation-Id", "{problem}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("1 to 128 visible ASCII characters"), "{detail}");
            assert_eq!(answer.header("x-correlation-id"), answer.header("request-id"));
        }
    }
    let two = system.client.request(Method::GET, "/v1/payments").header("x-correlation-id", "a");
    send(two.header("x-correlation-id", "b")).await.assert_problem(400, "invalid_request");
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
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
