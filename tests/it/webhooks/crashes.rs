//! Processes that die at any point of a delivery, or of a change of an endpoint.

use serde_json::{Value, json};
use tests::{Exit, Shape, System, a_payment, wait_until};

use super::receiver::Receiver;
use super::{HASTY, made, post, shown};
use crate::PROGRAM;
use crate::events::alone;

/// The points of webhooks, which no payment passes.
pub(crate) const WEBHOOK_POINTS: &[&str] = &[
    "take_endpoints.before",
    "take_endpoints.committed",
    "settle_round.before",
    "settle_round.committed",
    "make_endpoint.before",
    "make_endpoint.committed",
    "rotate_endpoint.before",
    "rotate_endpoint.committed",
    "disable_endpoint.before",
    "disable_endpoint.committed",
    "recover_endpoint.before",
    "recover_endpoint.committed",
    "test_endpoint.before",
    "test_endpoint.committed",
];

#[tokio::test]
async fn what_a_worker_that_died_had_sent_or_not_is_sent_by_the_next_one_in_the_same_bytes() {
    for point in WEBHOOK_POINTS.iter().filter(|point| point.contains("take_") || point.contains("settle_")) {
        let (_server, mut system) = alone(Shape { apis: 1, ..Shape::default() }).await;
        let receiver = Receiver::start().await;
        let (path, _) = made(&system.client, &receiver.url).await;
        let id = system.accepted(a_payment()).await;
        let settling = system.add_worker([("WEBHOOK_SECRET_KEY", "")]).await;
        system.ended(id).await;
        system.workers[settling].kill9();
        let dying = system.add_worker([("PAYONCE_FAULTS", format!("{point}=kill"))]).await;
        assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{point}");
        // Its lease is over.
        sqlx::query(
            "update webhook_endpoints set lease_until = clock_timestamp() where lease_until is not null",
        )
        .execute(&system.database.pool)
        .await
        .unwrap();
        system.add_worker(HASTY).await;
        wait_until("nothing to wait", async || {
            let delivered =
                system.count("select count(*) from webhook_deliveries where status = 'delivered'").await;
            delivered == 1 && shown(&system.client, &path).await["pending"] == 0
        })
        .await;
        let got = receiver.got();
        let again = point.contains("settle_round.before");
        assert_eq!(got.len(), 1 + usize::from(again), "{point}: {got:?}");
        assert!(got.iter().all(|it| it.body == got[0].body), "{point}: other bytes");
    }
}

#[tokio::test]
async fn an_api_that_died_has_made_an_endpoint_or_has_not_and_a_repeat_finds_out() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let base = system.client.with_secret(system.client.secret().to_owned());
    let (path, _) = made(&base, "https://example.com/first").await;
    for point in WEBHOOK_POINTS.iter().filter(|point| !point.contains("take_") && !point.contains("settle_"))
    {
        let (verb, ending, body): (_, _, Option<Value>) = match point.split('.').next().unwrap() {
            "make_endpoint" => {
                ("POST", "/v1/webhook_endpoints".to_owned(), Some(json!({"url": "https://example.com/"})))
            }
            "rotate_endpoint" => ("POST", format!("{path}/rotate_secret"), None),
            "disable_endpoint" => ("POST", format!("{path}/disable"), None),
            "recover_endpoint" => ("POST", format!("{path}/recover"), Some(json!({}))),
            _ => ("POST", format!("{path}/test"), None),
        };
        let mut dying = system.api().env("PAYONCE_FAULTS", format!("{point}=kill")).start().await;
        let ask = |address: &str| {
            let request = reqwest::Client::new().request(verb.parse().unwrap(), format!("{address}{ending}"));
            let request = request
                .header("x-api-key", system.client.secret())
                .header("idempotency-key", point.replace(".before", "").replace(".committed", "-c"));
            match &body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        assert!(ask(dying.address("api")).send().await.is_err(), "{point}");
        assert_eq!(dying.wait_exit().await, Exit::Signal(9), "{point}");
        let answer = tests::client::send(ask(system.apis[0].address("api"))).await;
        assert!((200..300).contains(&answer.status), "{point}: {}", answer.json());
        let replayed = if point.ends_with("committed") { "true" } else { "false" };
        if point.starts_with("make") || point.starts_with("rotate") {
            assert_eq!(answer.header("idempotent-replayed"), replayed, "{point}");
        }
    }
    // Each key made one endpoint and one secret, as often as it was sent.
    assert_eq!(system.count("select count(*) from webhook_endpoints").await, 3);
    assert_eq!(system.count("select count(*) from webhook_secrets").await, 5);
    post(&system.client, &format!("{path}/recover"), "k", json!({})).await.assert_status(200);
    system.apis[0].kill9();
}
