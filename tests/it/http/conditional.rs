//! What a client knows already is not sent again, and nobody keeps an answer who was not told so.

use domain::ids::PaymentId;
use reqwest::Method;
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use serde_json::json;
use tests::client::send;
use tests::{Answer, Client, System, a_payment};

use super::an_api;
use crate::PROGRAM;
use crate::operator::ADAS_KEY;

/// Reads a payment as a client does that knows this.
async fn read(client: &Client, path: &str, known: &str) -> Answer {
    let known = HeaderValue::from_str(known).unwrap();
    send(client.request(Method::GET, path).header(IF_NONE_MATCH, known)).await
}

fn path_of(id: PaymentId) -> String {
    format!("/v1/payments/{id}")
}

#[tokio::test]
async fn a_payment_that_the_client_knows_as_it_stands_is_a_304_without_a_body() {
    let system = an_api().await;
    let path = path_of(system.accepted(a_payment()).await);
    let first = system.client.get(&path).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\"2.1.") && tag.ends_with('"'), "{tag}");

    for known in [&tag, &tag[2..], "*", &format!("\"other\", {tag}")] {
        let again = read(&system.client, &path, known).await;

        assert_eq!((again.status, again.body.as_slice()), (304, &b""[..]), "{known}");
        assert_eq!(again.header("etag"), tag);
        assert_eq!(again.header("cache-control"), "private, no-cache");
        assert_eq!(again.header("content-type"), "");
        assert!(!again.header("request-id").is_empty());
    }
    for known in ["W/\"1.2.0\"", "other", ""] {
        let again = read(&system.client, &path, known).await;

        assert_eq!((again.status, &again.body), (200, &first.body), "{known}");
    }
    let head = send(system.client.request(Method::HEAD, &path).header("if-none-match", &tag)).await;
    assert_eq!((head.status, head.header("etag")), (304, tag.as_str()));
}

#[tokio::test]
async fn a_payment_that_has_changed_is_sent_under_another_tag() {
    let mut system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let tag = system.client.get(&path_of(id)).await.header("etag").to_owned();
    system.add_worker([("RUST_LOG", "info")]).await;
    let ended = system.ended(id).await;

    let answer = read(&system.client, &path_of(id), &tag).await;

    answer.assert_status(200);
    assert_eq!(answer.json(), ended);
    let (now, other) = (answer.header("etag"), system.client.get(&path_of(id)).await);
    assert_ne!(now, tag);
    assert_eq!(other.header("etag"), now);
    assert_eq!(read(&system.client, &path_of(id), now).await.status, 304);
}

/// Where a past came back, a version is another event than the one that a client saw under it.
#[tokio::test]
async fn the_same_version_of_another_time_has_another_tag() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let tag = system.client.get(&path_of(id)).await.header("etag").to_owned();
    let another_time = "set session_replication_role = replica;
                        update payments set updated_at = updated_at + interval '1 millisecond'";
    sqlx::raw_sql(another_time).execute(&system.database.pool).await.unwrap();

    let answer = read(&system.client, &path_of(id), &tag).await;

    answer.assert_status(200);
    assert_eq!(answer.json()["version"], 1);
}

#[tokio::test]
async fn a_wait_that_brings_nothing_new_is_a_304() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let tag = system.client.get(&path_of(id)).await.header("etag").to_owned();
    let waiting = format!("{}?wait=1", path_of(id));

    assert_eq!(read(&system.client, &waiting, &tag).await.status, 304);
    assert_eq!(read(&system.client, &waiting, "\"other\"").await.status, 200);
}

#[tokio::test]
async fn what_one_may_not_see_is_a_404_whatever_one_knows_of_it() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    let id = system.accepted(a_payment()).await;
    let tag = system.client.get(&path_of(id)).await.header("etag").to_owned();
    for known in [&tag, "*"] {
        read(&other, &path_of(id), known).await.assert_problem(404, "not_found");
        read(&system.client, &path_of(PaymentId::generate()), known).await.assert_problem(404, "not_found");
        let stranger = system.client.with_secret("payonce_sk_unknown".to_owned());
        read(&stranger, &path_of(id), known).await.assert_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn nothing_else_may_be_kept() {
    let system = System::start(PROGRAM).await;
    let request = a_payment();
    let first = system.pay(request.clone()).await;
    let id = first.payment_id();
    let (client, key) = (&system.client, request.key.clone().unwrap());
    let mut answers = vec![("202".to_owned(), first), ("a repeat".to_owned(), client.pay(request).await)];
    answers.push(("a reused key".to_owned(), client.pay(a_payment().key(&key).amount("9.00")).await));
    answers.push(("201".to_owned(), client.pay(a_payment().header("prefer", "wait=60")).await));
    for path in [
        "/v1/payments".to_owned(),
        "/v1/payments?limit=0".to_owned(),
        format!("/v1/payments/{id}/events"),
        path_of(PaymentId::generate()),
        format!("/v1/idempotency-keys?key={key}&customer_id=customer-1"),
        "/v1/idempotency-keys".to_owned(),
        "/v1/breaks".to_owned(),
        "/v1/nothing".to_owned(),
        "/health".to_owned(),
        "/health/ready".to_owned(),
        "/metrics".to_owned(),
    ] {
        answers.push((path.clone(), client.get(&path).await));
        answers.push((path.clone(), send(client.request(Method::DELETE, &path)).await));
    }
    let admin = client.with_secret(ADAS_KEY.to_owned());
    answers.push(("an admin's list".to_owned(), admin.get("/v1/breaks").await));
    let resolve = client.with_secret(ADAS_KEY.to_owned());
    let resolve = resolve.request(Method::POST, "/v1/breaks/1/resolve").json(&json!({}));
    answers.push(("a refusal of an admin".to_owned(), send(resolve).await));

    assert!(answers.len() > 20);
    for (what, answer) in answers {
        assert_eq!(answer.header("cache-control"), "no-store", "{what}: {}", answer.status);
    }
}
