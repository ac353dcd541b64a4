//! Endpoints: made once per key, refused where they lead inside, disabled never silently, and recovered.

use serde_json::{Value, json};
use tests::{Shape, System, a_payment, wait_until};

use super::receiver::Receiver;
use super::{a_system, act, made, post, shown};
use crate::PROGRAM;

const PATH: &str = "/v1/webhook_endpoints";

#[tokio::test]
async fn an_endpoint_is_made_once_per_key_and_its_secret_is_shown_to_whoever_repeats_the_request() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let (client, stranger) = (&system.client, system.another_merchant("stranger").await);
    let body = json!({"url": "https://example.com/hooks", "types": ["payment.failed", "payment.succeeded"]});
    let first = post(client, PATH, "one", body.clone()).await;
    first.assert_status(201);
    let again = post(client, PATH, "one", body).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("false", "true"));
    post(client, PATH, "one", json!({"url": "https://example.com/"}))
        .await
        .assert_problem(422, "idempotency_key_reused");
    let no_key = client.request(reqwest::Method::POST, PATH).json(&json!({"url": "https://example.com/"}));
    tests::client::send(no_key).await.assert_problem(400, "idempotency_key_missing");

    let made = first.json();
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let read = shown(client, &path).await;
    assert_eq!(read["secret"], Value::Null);
    assert_eq!(read["types"], json!(["payment.failed", "payment.succeeded"]));
    assert_eq!(shown(client, PATH).await["data"], json!([read]));
    for (verb, ending) in [
        ("GET", ""),
        ("GET", "/attempts"),
        ("POST", "/disable"),
        ("POST", "/test"),
        ("POST", "/rotate_secret"),
        ("POST", "/recover"),
    ] {
        let request = stranger
            .request(verb.parse().unwrap(), &format!("{path}{ending}"))
            .header("idempotency-key", "k");
        let request = if ending == "/recover" { request.json(&json!({})) } else { request };
        tests::client::send(request).await.assert_problem(404, "not_found");
    }
    let rotated = post_nothing(client, &format!("{path}/rotate_secret"), "r").await;
    let repeated = post_nothing(client, &format!("{path}/rotate_secret"), "r").await;
    assert_eq!((rotated.status, &rotated.body), (200, &repeated.body));
    assert_ne!(rotated.json()["secret"], made["secret"]);
    // No table has it in the clear.
    let secret = made["secret"].as_str().unwrap().trim_start_matches("whsec_").to_owned();
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("select sealed from webhook_secrets")
        .fetch_all(&system.database.pool)
        .await
        .unwrap();
    assert_eq!(sealed.len(), 2);
    assert!(sealed.iter().all(|it| !String::from_utf8_lossy(it).contains(&secret)));

    for n in 1..16 {
        post(client, PATH, &format!("more-{n}"), json!({"url": "https://example.com/"}))
            .await
            .assert_status(201);
    }
    post(client, PATH, "too-many", json!({"url": "https://example.com/"}))
        .await
        .assert_problem(409, "too_many_endpoints");
}

async fn post_nothing(client: &tests::Client, path: &str, key: &str) -> tests::Answer {
    tests::client::send(client.request(reqwest::Method::POST, path).header("idempotency-key", key)).await
}

#[tokio::test]
async fn nothing_is_sent_inside_or_without_a_key_to_seal_by() {
    let strict = vec![("WEBHOOK_ALLOW_HTTP", "false".to_owned()), ("WEBHOOK_ALLOW_NETS", String::new())];
    let system = System::with(PROGRAM, Shape { apis: 1, api_env: strict, ..Shape::default() }).await;
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "https://example.com:8080/",
        "https://u@example.com/",
    ] {
        let refused = post(&system.client, PATH, "key", json!({"url": url})).await;
        let problem = refused.assert_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], "/url", "{url}: {problem}");
    }
    for body in [
        json!({"url": "https://example.com/", "types": []}),
        json!({"url": "https://example.com/", "types": ["payment"]}),
        json!({"url": "https://example.com/", "secret": "x"}),
        json!({}),
    ] {
        post(&system.client, PATH, "key", body).await.assert_problem(400, "invalid_request");
    }
    assert_eq!(system.count("select count(*) from webhook_endpoints").await, 0);

    let off = vec![("WEBHOOK_SECRET_KEY", String::new())];
    let without = System::with(PROGRAM, Shape { apis: 1, api_env: off, ..Shape::default() }).await;
    post(&without.client, PATH, "key", json!({"url": "https://example.com/"}))
        .await
        .assert_problem(503, "webhooks_off");
    let path = format!("{PATH}/whe_{:032x}/rotate_secret", 1);
    post_nothing(&without.client, &path, "key").await.assert_problem(503, "webhooks_off");
}

#[tokio::test]
async fn who_is_gone_is_disabled_at_once_the_others_are_told_and_nothing_is_lost() {
    let (_server, system) = a_system().await;
    let (gone, other) = (Receiver::answering(410).await, Receiver::start().await);
    let (path, _) = made(&system.client, &gone.url).await;
    made(&system.client, &other.url).await;
    let first = system.accepted(a_payment()).await;
    system.ended(first).await;
    wait_until("the endpoint to be disabled", async || {
        shown(&system.client, &path).await["status"] == "disabled"
    })
    .await;
    wait_until("the other one to be told", async || {
        other.taken().iter().any(|event| event["type"] == "webhook_endpoint.disabled")
    })
    .await;
    let told = other.taken().into_iter().find(|event| event["type"] == "webhook_endpoint.disabled").unwrap();
    assert_eq!(
        (&told["data"]["status"], &told["data"]["disabled_reason"]),
        (&json!("disabled"), &json!("gone"))
    );
    assert_eq!(told["payment"], Value::Null);
    let second = system.accepted(a_payment()).await;
    system.ended(second).await;

    gone.answer(200);
    post(&system.client, &format!("{path}/recover"), "k", json!({"since": "2026-01-01T00:00:00Z"}))
        .await
        .assert_status(200);
    wait_until("both to be taken", async || {
        let taken = gone.taken();
        let has = |id: String| taken.iter().any(|event| event["payment"] == id.as_str());
        has(first.to_string()) && has(second.to_string())
    })
    .await;
    assert!(gone.taken().iter().all(|event| event["type"] != "webhook_endpoint.disabled"));
    // A test goes to its own endpoint alone.
    act(&system.client, &format!("{path}/test")).await.assert_status(202);
    let is_test = |event: &Value| event["type"] == "webhook_endpoint.test";
    wait_until("the test to be taken", async || gone.taken().iter().any(is_test)).await;
    let disabled = act(&system.client, &format!("{path}/disable")).await;
    assert_eq!(disabled.json()["disabled_reason"], "merchant");
    wait_until("the other one to be told", async || {
        let disabled =
            other.taken().iter().filter(|event| event["type"] == "webhook_endpoint.disabled").count();
        disabled == 2
    })
    .await;
    assert!(!other.taken().iter().any(is_test));
}
