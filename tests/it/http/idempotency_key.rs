//! `GET /v1/idempotency-keys`: what became of a request whose answer was lost.

use serde_json::{Value, json};
use tests::{Answer, Client, System, a_payment};

use super::{an_api, fields};
use crate::PROGRAM;

async fn ask(client: &Client, query: &str) -> Answer {
    client.get(&format!("/v1/idempotency-keys?{query}")).await
}

#[tokio::test]
async fn a_key_tells_its_payment_and_the_answer_that_every_repeat_gets() {
    let system = System::start(PROGRAM).await;
    let request = a_payment().key("order-77");
    let first = system.pay(request.clone()).await;
    let id = first.payment_id();
    system.ended(id).await;
    let scope = "customer_id=customer-1&operation=create_payment";
    for key in ["order-77", "%22order-77%22"] {
        let answer = ask(&system.client, &format!("key={key}&{scope}")).await;

        answer.assert_status(200);
        let told = answer.json();
        assert_eq!(
            fields(&told),
            ["created_at", "customer_id", "key", "object", "operation", "outcome", "payment_id"]
        );
        assert_eq!(told["object"], "idempotency_key");
        assert_eq!(told["key"], "order-77");
        assert_eq!(told["operation"], "create_payment");
        assert_eq!(told["customer_id"], "customer-1");
        assert_eq!(told["payment_id"], json!(id));
        assert_eq!(told["created_at"], first.json()["created_at"]);
        assert_eq!(told["outcome"], json!({"status": 202, "body": first.json()}));
    }
    let by_default = ask(&system.client, "key=order-77&customer_id=customer-1").await;
    assert_eq!(by_default.json()["payment_id"], json!(id));
}

#[tokio::test]
async fn a_key_that_made_nothing_for_that_customer_and_merchant_is_a_404() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    system.accepted(a_payment().key("order-77")).await;
    system.pay(a_payment().key("refused").amount("0")).await.assert_problem(400, "invalid_request");
    let (ours, theirs) = (&system.client, &other);
    for (client, query) in [
        (ours, "key=order-78&customer_id=customer-1"),
        (ours, "key=ORDER-77&customer_id=customer-1"),
        (ours, "key=order-77&customer_id=customer-2"),
        (ours, "key=refused&customer_id=customer-1"),
        (theirs, "key=order-77&customer_id=customer-1"),
    ] {
        let problem = ask(client, query).await.assert_problem(404, "idempotency_key_not_found");

        assert_eq!(problem["retryable"], false, "{query}");
    }
    let stranger = system.client.with_secret("payonce_sk_unknown".to_owned());
    ask(&stranger, "key=order-77&customer_id=customer-1").await.assert_problem(401, "unauthorized");
    ask(&stranger, "").await.assert_problem(401, "unauthorized");
    ask(ours, "key=order-77&customer_id=customer-1").await.assert_status(200);
}

#[tokio::test]
async fn a_question_that_cannot_be_understood_is_told_each_of_its_faults() {
    let system = an_api().await;
    for (query, faults) in [
        ("", vec![("key", "missing"), ("customer_id", "missing")]),
        ("key=order-77", vec![("customer_id", "missing")]),
        ("customer_id=c", vec![("key", "missing")]),
        ("key=&customer_id=c", vec![("key", "invalid")]),
        ("key=two%20words&customer_id=c", vec![("key", "invalid")]),
        ("key=k&customer_id=%00", vec![("customer_id", "invalid")]),
        ("key=k&customer_id=c&operation=refund", vec![("operation", "invalid")]),
        ("key=k&customer_id=c&colour=red", vec![("colour", "unknown")]),
    ] {
        let problem = ask(&system.client, query).await.assert_problem(400, "invalid_request");

        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told: Vec<_> = errors.iter().map(|it| (text(&it["query"]), text(&it["code"]))).collect();
        let told: Vec<_> = told.iter().map(|(name, code)| (name.as_str(), code.as_str())).collect();
        assert_eq!(told, faults, "{query}");
    }
}
