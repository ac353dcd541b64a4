//! Each API key may make a number of requests. One more is refused, leaves nothing behind, and
//! succeeds later.

use reqwest::Method;
use tests::client::send;
use tests::{Answer, Client, Scrape, Shape, System, a_payment, wait_for};

use crate::PROGRAM;

/// The rate of a bucket that is not refilled while a test runs.
const HARDLY_EVER: &str = "0.001";

async fn limited(rate: &str, burst: &str) -> System {
    let api_env = vec![("API_RATE_PER_S", rate.to_owned()), ("API_RATE_BURST", burst.to_owned())];
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

/// Asserts that it was refused, and answers for how many seconds.
#[track_caller]
fn refused_for(answer: &Answer) -> u64 {
    answer.assert_problem(429, "too_many_requests");
    answer.header("retry-after").parse().unwrap()
}

async fn another_key(system: &System) -> Client {
    let merchant = shared::merchant::find_or_create(&system.database.pool, "first").await.unwrap();
    let key =
        shared::merchant::keys::create_for(&system.database.pool, &tests::peppers(), merchant.id, "another")
            .await
            .unwrap();
    system.client.with_secret(key.secret)
}

#[tokio::test]
async fn a_burst_beyond_the_bucket_is_refused_and_leaves_nothing_behind() {
    let system = limited(HARDLY_EVER, "3").await;
    let first = a_payment();
    let id = system.accepted(first.clone()).await;
    let _ = system.accepted(a_payment()).await;
    assert_eq!(system.pay(first.clone()).await.payment_id(), id, "a repetition is a request as well");
    let stored = system.stored().await;

    let wait = refused_for(&system.pay(a_payment()).await);
    refused_for(&system.pay(first).await);
    for path in ["/v1/payments".to_owned(), format!("/v1/payments/{id}"), format!("/v1/payments/{id}/events")]
    {
        refused_for(&system.client.get(&path).await);
    }

    assert!((1..=1000).contains(&wait), "{wait} s");
    assert_eq!(system.stored().await, stored);
    let api = Scrape::of(&system.apis[0]).await;
    assert_eq!(api.sum("http_requests_total", &[("status", "429")]), 5.0);
}

#[tokio::test]
async fn a_refused_request_is_accepted_once_the_bucket_has_been_refilled() {
    let system = limited("0.5", "1").await;
    let request = wait_for("a request to be refused", async || {
        let request = a_payment();
        let answer = system.pay(request.clone()).await;
        (answer.status != 202).then(|| {
            assert!((1..=2).contains(&refused_for(&answer)));
            request
        })
    })
    .await;

    let accepted = wait_for("it to be accepted", async || {
        let answer = system.pay(request.clone()).await;
        if answer.status == 202 {
            return Some(answer);
        }
        refused_for(&answer);
        None
    })
    .await;

    assert_eq!(accepted.header("idempotent-replayed"), "false", "the refused request had recorded something");
}

#[tokio::test]
async fn every_key_has_a_bucket_of_its_own_also_where_two_are_one_merchants() {
    let system = limited(HARDLY_EVER, "2").await;
    let others = [another_key(&system).await, system.another_merchant("other").await];
    let id = system.accepted(a_payment()).await;
    let _ = system.accepted(a_payment()).await;
    refused_for(&system.pay(a_payment()).await);

    for other in &others {
        let _ = other.pay(a_payment()).await.payment_id();
        let _ = other.pay(a_payment()).await.payment_id();
        refused_for(&other.pay(a_payment()).await);
    }

    refused_for(&system.client.get(&format!("/v1/payments/{id}")).await);
}

#[tokio::test]
async fn what_needs_no_valid_key_has_no_limit_and_takes_nothing_from_one() {
    let system = limited(HARDLY_EVER, "1").await;
    let nobody = system.client.with_secret("payonce_sk_unknown".to_owned());
    for _ in 0..5 {
        nobody.pay(a_payment()).await.assert_problem(401, "unauthorized");
        for path in ["/health", "/health/ready", "/metrics"] {
            send(system.client.request(Method::GET, path)).await.assert_status(200);
        }
    }

    let _ = system.accepted(a_payment()).await;
    refused_for(&system.pay(a_payment()).await);
    nobody.pay(a_payment()).await.assert_problem(401, "unauthorized");
    send(system.client.request(Method::GET, "/health/ready")).await.assert_status(200);
}

#[tokio::test]
async fn without_a_burst_of_its_own_it_is_one_seconds_worth() {
    let api_env = vec![("API_RATE_PER_S", "0.002".to_owned())];
    let system = System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await;

    let _ = system.accepted(a_payment()).await;

    refused_for(&system.pay(a_payment()).await);
}
