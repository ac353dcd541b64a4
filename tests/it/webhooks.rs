//! Webhooks: what is sent to endpoints, in which order, signed how, and what becomes of what is not taken.

pub(crate) mod crashes;
mod endpoints;
mod receiver;
mod signed;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::client::send;
use tests::{Answer, Client, PrivateServer, Shape, System, a_payment, wait_until};

use crate::events::{alone, told};
use receiver::{Receiver, SILENCE};

/// Fast tries, and a short patience with receivers.
const HASTY: [(&str, &str); 2] = [("WEBHOOK_HASTE", "1000"), ("WEBHOOK_TIMEOUT_MS", "500")];

async fn a_system() -> (PrivateServer, System) {
    let worker_env = HASTY.map(|(name, value)| (name, value.to_owned())).to_vec();
    alone(Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await
}

/// Posts this body to a path, under an idempotency key.
async fn post(client: &Client, path: &str, key: &str, body: Value) -> Answer {
    send(client.request(reqwest::Method::POST, path).header("idempotency-key", key).json(&body)).await
}

/// Posts to a path that takes no body.
async fn act(client: &Client, path: &str) -> Answer {
    send(client.request(reqwest::Method::POST, path)).await
}

/// Makes an endpoint for everything, and answers its path and its secret.
async fn made(client: &Client, url: &str) -> (String, String) {
    let answer = post(client, "/v1/webhook_endpoints", url, json!({"url": url})).await;
    answer.assert_status(201);
    let endpoint = answer.json();
    let path = format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().unwrap());
    (path, endpoint["secret"].as_str().unwrap().to_owned())
}

/// An endpoint as it reads.
async fn shown(client: &Client, path: &str) -> Value {
    let answer = client.get(path).await;
    answer.assert_status(200);
    answer.json()
}

/// The versions of each payment, in the order in which they were taken.
fn versions(events: &[Value]) -> BTreeMap<String, Vec<i64>> {
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for event in events {
        let payment = event["payment"].as_str().unwrap_or_default().to_owned();
        versions.entry(payment).or_default().push(event["version"].as_i64().unwrap());
    }
    versions
}

/// Two events of one payment: held, and held again once a person has given it back.
async fn hold_twice(system: &System) {
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(id).await;
    sqlx::query(
        "insert into payment_events (payment_id, version, type, from_status, to_status, reason, correlation_id, at)
         select id, version + 1, 'held', 'processing', 'processing', 'contradiction', 'c', clock_timestamp() from payments where id = $1",
    )
    .bind(id.uuid())
    .execute(&system.database.pool)
    .await
    .unwrap();
}

/// What was taken, each once by its id. What is asked for again may come twice, and is the same then.
fn once(receiver: &Receiver) -> Vec<Value> {
    let mut once: Vec<Value> = Vec::new();
    for event in receiver.taken() {
        match once.iter().find(|it| it["id"] == event["id"]) {
            Some(before) => assert_eq!(*before, event, "one id, and another body"),
            None => once.push(event),
        }
    }
    once
}

#[tokio::test]
async fn every_event_is_taken_once_and_of_a_payment_in_order_though_the_receiver_breaks() {
    let (_server, system) = a_system().await;
    let receiver = Receiver::start().await;
    let (path, _) = made(&system.client, &receiver.url).await;
    for (round, status) in [500, SILENCE, 302, 200].into_iter().enumerate() {
        receiver.answer(status);
        let before = receiver.got().len();
        hold_twice(&system).await;
        let declined = system.accepted(a_payment().method("sim_declined")).await;
        system.ended(declined).await;
        wait_until("something to come", async || receiver.got().len() > before).await;
        assert_eq!(receiver.taken().is_empty(), round < 3);
    }
    let told = told(&system.client, 12).await;
    assert_eq!(told.len(), 12);
    wait_until("all to be taken", async || {
        // What it gave up meanwhile is sent again.
        post(&system.client, &format!("{path}/recover"), "again", json!({})).await.assert_status(200);
        once(&receiver).len() >= told.len()
    })
    .await;

    let taken = once(&receiver);
    assert_eq!(taken.len(), told.len(), "{taken:?}");
    assert_eq!(versions(&taken), versions(&told));
    for event in &taken {
        assert!(told.contains(event), "other than told: {event}");
    }
    // No redirect was followed, and what was answered can be read.
    let attempts = shown(&system.client, &format!("{path}/attempts?limit=100")).await;
    let attempts = attempts["data"].as_array().unwrap().clone();
    let statuses: Vec<_> = attempts.iter().map(|it| it["http_status"].clone()).collect();
    for status in [json!(500), json!(302), json!(200), Value::Null] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    let silent = attempts.iter().find(|it| it["http_status"].is_null()).unwrap();
    assert!(silent["error"].as_str().unwrap().contains("no answer within"), "{silent}");
    wait_until("nothing to wait", async || shown(&system.client, &path).await["pending"] == 0).await;
}

#[tokio::test]
async fn ten_receivers_that_never_answer_keep_nothing_from_the_others() {
    let (_server, system) = a_system().await;
    let mut black_holes = Vec::new();
    for _ in 0..10 {
        let hole = Receiver::answering(SILENCE).await;
        made(&system.client, &hole.url).await;
        black_holes.push(hole);
    }
    let (healthy, other) = (Receiver::start().await, Receiver::start().await);
    made(&system.client, &healthy.url).await;
    let failures = json!({"url": other.url, "types": ["payment.failed"]});
    post(&system.client, "/v1/webhook_endpoints", "failures", failures).await.assert_status(201);
    for n in 0..30 {
        system.accepted(a_payment().method(["sim_ok", "sim_declined"][n % 2])).await;
    }
    system.settled().await;
    wait_until("all to be taken", async || healthy.taken().len() == 30 && other.taken().len() == 15).await;
    assert!(other.taken().iter().all(|event| event["type"] == "payment.failed"));
    for hole in &black_holes {
        // It was tried, and then only probed: not each event for itself.
        assert!(hole.got().len() < 30, "{}", hole.got().len());
    }
}
