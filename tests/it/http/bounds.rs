//! What one key, or one request, may take up: requests at a time, waits, bytes of a path, levels of a body.

use reqwest::Method;
use serde_json::{Value, json};
use tests::client::send;
use tests::{Answer, Client, Scrape, Shape, System, a_payment, raw, wait_for, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::an_api;
use crate::PROGRAM;

async fn an_api_with(name: &'static str, value: &str) -> System {
    let api_env = vec![(name, value.to_owned())];
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

/// A post whose body is held back, once it is under way. Until then its place may be another request's, and
/// it is refused. With it come the rest of its body, and the answer that refuses the other client meanwhile.
async fn half_a_post(system: &System, beside: &Client) -> (tokio::net::TcpStream, String, Answer) {
    let whole = raw::post(system.client.secret(), "slow", &a_payment().body);
    let (head, body) = whole.split_at(whole.find("\r\n\r\n").unwrap() + 4);
    let mut connection = raw::sent(system.apis[0].address("api"), head).await;
    let refused = wait_for("half a post to be under way", async || {
        let answer = beside.get("/v1/payments").await;
        if !raw::is_silent(&connection) {
            connection = raw::sent(system.apis[0].address("api"), head).await;
        }
        (answer.status != 200).then_some(answer)
    })
    .await;
    (connection, body.to_owned(), refused)
}

async fn refusals(system: &System, limit: &str) -> f64 {
    Scrape::of(&system.apis[0]).await.sum("payonce_api_refusals_total", &[("limit", limit)])
}

/// Asserts that it says when to come back.
#[track_caller]
fn come_back(answer: &Answer) {
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.json()["retryable"], true);
}

#[tokio::test]
async fn a_key_has_a_number_of_requests_under_way_and_its_next_one_is_refused_until_one_has_ended() {
    let system = an_api_with("API_CONCURRENT_PER_KEY", "1").await;
    let other = system.another_merchant("other").await;

    let (mut connection, body, refused) = half_a_post(&system, &system.client).await;

    refused.assert_problem(429, "too_many_concurrent_requests");
    come_back(&refused);
    other.get("/v1/payments").await.assert_status(200);
    assert!(refusals(&system, "under_way").await >= 1.0);
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    wait_until("its place to be free", async || system.client.get("/v1/payments").await.status == 200).await;
}

#[tokio::test]
async fn all_keys_together_have_a_number_of_requests_under_way() {
    let system = an_api_with("API_CONCURRENT", "1").await;
    let other = system.another_merchant("other").await;

    let (connection, _, refused) = half_a_post(&system, &other).await;

    refused.assert_problem(503, "unavailable");
    come_back(&refused);
    system.client.get("/health/ready").await.assert_status(200);
    assert!(refusals(&system, "all").await >= 1.0);
    drop(connection);
    wait_until("its place to be free", async || other.get("/v1/payments").await.status == 200).await;
}

#[tokio::test]
async fn a_key_has_a_number_of_waits_and_a_read_without_one_is_answered_all_the_same() {
    let system = an_api_with("API_WAITS_PER_KEY", "1").await;
    let id = system.accepted(a_payment()).await;
    let path = format!("/v1/payments/{id}");
    let waits = || tokio::spawn(system.client.request(Method::GET, &format!("{path}?wait=60")).send());

    let mut held = waits();
    let refused = wait_for("one to wait", async || {
        let answer = system.client.get(&format!("{path}?wait=0")).await;
        // The place may have been the other request's.
        if held.is_finished() {
            held = waits();
        }
        (answer.status != 200).then_some(answer)
    })
    .await;

    refused.assert_problem(429, "too_many_waits");
    come_back(&refused);
    system.client.get(&path).await.assert_status(200);
    let other = system.another_merchant("other").await;
    let others = other.pay(a_payment()).await.payment_id();
    other.get(&format!("/v1/payments/{others}?wait=0")).await.assert_status(200);
    assert!(refusals(&system, "waits").await >= 1.0);
    held.abort();
    wait_until("a place to be free", async || {
        system.client.get(&format!("{path}?wait=0")).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_path_and_query_that_are_too_long_are_refused_as_a_problem() {
    let system = an_api().await;
    let path = |bytes: usize| format!("/v1/payments?customer_id={}", "a".repeat(bytes - 25));

    let refused = system.client.get(&path(8 * 1024 + 1)).await;

    let problem = refused.assert_problem(414, "uri_too_long");
    assert!(problem["detail"].as_str().unwrap().contains("8192"), "{problem}");
    system.client.get(&path(8 * 1024)).await.assert_status(200);
}

/// A payment whose metadata is nested so deep, as it is sent.
fn nested(levels: usize) -> String {
    let mut body = a_payment().body;
    body["metadata"] = json!("deep");
    let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    body.to_string().replace("\"deep\"", &deep)
}

#[tokio::test]
async fn a_body_that_is_nested_too_deep_is_told_so_and_its_text_does_not_count() {
    let system = an_api().await;
    let details = async |body: String| {
        let problem = system.client.pay_text("deep", body).await.assert_problem(400, "invalid_request");
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|it: &Value| it["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    for levels in [32, 20_000] {
        let told = details(nested(levels)).await;
        assert!(told.len() == 1 && told[0].contains("nested deeper than 32 levels"), "{levels}: {told:?}");
    }
    assert!(!details(nested(31)).await[0].contains("nested"));
    let text = a_payment().with("description", json!("[{\\\"[".repeat(20)));
    system.pay(text).await.assert_status(202);
    send(system.client.request(Method::GET, "/health")).await.assert_status(200);
}
