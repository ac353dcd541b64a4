//! Who may ask. The answer is the same for no key, an unknown and a revoked one, and no merchant sees
//! another's payments.

use domain::ids::PaymentId;
use reqwest::Method;
use tests::client::send;
use tests::{Client, System, a_payment, raw};

use super::an_api;

/// Every path that belongs to a merchant.
fn paths(id: PaymentId) -> [(Method, String); 4] {
    [
        (Method::POST, "/v1/payments".to_owned()),
        (Method::GET, "/v1/payments".to_owned()),
        (Method::GET, format!("/v1/payments/{id}")),
        (Method::GET, format!("/v1/payments/{id}/events")),
    ]
}

/// A key that is revoked and opens nothing any more.
async fn a_revoked_key(system: &System) -> String {
    let client = system.another_merchant("revoked").await;
    let id = system.accepted(a_payment()).await;
    let before = client.get(&format!("/v1/payments/{id}")).await;
    before.assert_problem(404, "not_found");
    let keys = shared::merchant::keys::list(&system.database.pool).await;
    let key = keys.into_iter().flatten().find(|key| key.merchant_name.as_deref() == Some("revoked"));
    let revoked = match key {
        Some(key) => {
            shared::merchant::keys::revoke(&system.database.pool, key.id).await.is_ok_and(|found| found)
        }
        None => false,
    };
    assert!(revoked, "the key can be revoked");
    client.secret().to_owned()
}

#[tokio::test]
async fn without_a_valid_key_every_path_of_a_merchant_is_a_401() {
    let system = an_api().await;
    let revoked = a_revoked_key(&system).await;
    let id = system.accepted(a_payment()).await;
    let stored = system.stored().await;
    let secret = system.client.secret();
    let cases = [
        None,
        Some(("x-api-key", String::new())),
        Some(("x-api-key", "payonce_sk_unknown".to_owned())),
        Some(("x-api-key", revoked.clone())),
        Some(("x-api-key", format!("{secret}0"))),
        Some(("x-api-key", secret.to_uppercase())),
        Some(("authorization", format!("Bearer {revoked}"))),
        Some(("authorization", "Bearer ".to_owned())),
        Some(("authorization", secret.to_owned())),
        Some(("authorization", format!("Basic {secret}"))),
    ];
    for (method, path) in paths(id) {
        for case in &cases {
            let mut request = reqwest::Client::new().request(method.clone(), system.client.url(&path));
            if let Some((name, value)) = case {
                request = request.header(*name, value);
            }

            let answer = send(request.header("idempotency-key", "k").json(&a_payment().body)).await;

            assert_eq!(answer.status, 401, "{method} {path} with {case:?}");
            answer.assert_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path} with {case:?}");
        }
    }
    assert_eq!(system.stored().await, stored);
}

#[tokio::test]
async fn a_key_that_was_revoked_is_refused_from_then_on_and_replays_nothing() {
    let system = an_api().await;
    let request = || a_payment().key("order-77");
    system.pay(request()).await.assert_status(202);
    let keys = shared::merchant::keys::list(&system.database.pool).await.unwrap();
    shared::merchant::keys::revoke(&system.database.pool, keys[0].id).await.unwrap();

    system.pay(request()).await.assert_problem(401, "unauthorized");
    system.pay(a_payment()).await.assert_problem(401, "unauthorized");
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_only_to_a_merchant() {
    let system = an_api().await;
    let stranger =
        Client::new(vec![system.apis[0].address("api").to_owned()], "payonce_sk_unknown".to_owned());
    for body in ["", "{", "{}"] {
        system.client.pay_text("order-77", body).await.assert_status(400);
        stranger.pay_text("order-77", body).await.assert_problem(401, "unauthorized");
    }
    let id = PaymentId::generate();
    for (path, status) in [("pay_1".to_owned(), 404), (format!("{id}?wait=99"), 400), (id.to_string(), 404)] {
        let path = format!("/v1/payments/{path}");
        system.client.get(&path).await.assert_status(status);
        stranger.get(&path).await.assert_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_key_is_taken_under_a_header_name_in_any_letter_case() {
    let system = an_api().await;
    let template = raw::post(system.client.secret(), "key-1", &a_payment().body);
    for name in ["x-api-key", "X-API-Key", "X-Api-Key", "X-API-KEY"] {
        let request = template.replace("x-api-key", name);

        let answer = raw::exchange(system.apis[0].address("api"), &request).await;

        assert!(answer.starts_with("HTTP/1.1 202 "), "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_key_is_taken_as_a_bearer_token_on_every_path() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        for (method, path) in paths(id) {
            let request = reqwest::Client::new().request(method.clone(), system.client.url(&path));
            let request = request.header("authorization", format!("{scheme} {}", system.client.secret()));

            let answer = send(request.header("idempotency-key", "key-1").json(&a_payment().body)).await;

            let expected = if method == Method::POST { 202 } else { 200 };
            assert_eq!(answer.status, expected, "{scheme}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn another_merchants_payment_looks_exactly_like_one_that_does_not_exist() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    let (theirs, nobodys) = (system.accepted(a_payment()).await, PaymentId::generate());
    for suffix in ["", "/events", "?wait=1"] {
        let hidden = other.get(&format!("/v1/payments/{theirs}{suffix}")).await;
        let missing = other.get(&format!("/v1/payments/{nobodys}{suffix}")).await;

        hidden.assert_problem(404, "not_found");
        assert_eq!(hidden.problem(), missing.problem());
    }
}
