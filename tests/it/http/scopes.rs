//! What a key with each scope opens: every path, as the routers' own source names them.

use reqwest::Method;
use serde_json::json;
use shared::merchant::auth::Owner;
use shared::merchant::keys::{self, Wanted};
use shared::merchant::scope::Scope;
use tests::client::send;
use tests::{System, a_payment, peppers};

use super::an_api;
use super::keys::{asks, is_merchants, is_open, is_page, routes_of_the_api};

/// A key with this scope and no other, of a merchant or of an operator.
pub(crate) async fn key_with(system: &System, scopes: &[Scope]) -> String {
    let pool = &system.database.pool;
    let owner = if Scope::OF_OPERATORS.contains(&scopes[0]) {
        Owner::Operator("grace".to_owned())
    } else {
        Owner::Merchant(shared::merchant::find_or_create(pool, "first").await.unwrap().id)
    };
    let wanted = Wanted { owner, name: "test", scopes, expires_in: None };
    keys::create(pool, &peppers(), &wanted).await.unwrap().secret
}

/// The scope that a key must have for this.
fn needed(method: &Method, path: &str) -> Scope {
    match (is_merchants(path), method.is_safe()) {
        (true, true) => Scope::PaymentsRead,
        (true, false) => Scope::PaymentsWrite,
        (false, true) => Scope::Ops,
        (false, false) => Scope::Admin,
    }
}

#[tokio::test]
async fn each_path_opens_for_a_key_with_its_scope_and_names_the_scope_to_any_other() {
    let system = an_api().await;
    for scope in Scope::ALL {
        let key = key_with(&system, &[*scope]).await;
        for (method, path) in routes_of_the_api().into_iter().filter(|(_, path)| !is_open(path)) {
            let needed = needed(&method, &path);
            let is_page = is_page(&path);
            let request = asks(&system, &method, &path);
            let request =
                if is_page { request.basic_auth("x", Some(&key)) } else { request.header("x-api-key", &key) };

            let answer = send(request).await;

            let case = format!("{method} {path} with {scope}");
            assert_ne!(answer.status, 401, "{case}");
            if needed == *scope {
                let is_refused =
                    answer.status == 403 && String::from_utf8_lossy(&answer.body).contains("scope");
                assert!(!is_refused, "{case}: {}", String::from_utf8_lossy(&answer.body));
            } else {
                assert_eq!(answer.status, 403, "{case}");
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(said.contains(&format!("the scope {needed}")), "{case}: {said}");
                if !is_page {
                    answer.assert_problem(403, "insufficient_scope");
                }
            }
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_key_without_the_scope_hears_nothing_else_about_its_request() {
    let system = an_api().await;
    let reads = system.client.with_secret(key_with(&system, &[Scope::PaymentsRead]).await);
    let writes = system.client.with_secret(key_with(&system, &[Scope::PaymentsWrite]).await);
    let id = writes.pay(a_payment().key("order-77")).await.payment_id();

    for body in ["", "{", "[]", "{}"] {
        reads.pay_text("order-77", body).await.assert_problem(403, "insufficient_scope");
    }
    reads.pay(a_payment().key("order-77")).await.assert_problem(403, "insufficient_scope");
    reads.pay(a_payment().without_key()).await.assert_problem(403, "insufficient_scope");
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        send(reads.request(method.clone(), "/v1/payments")).await.assert_problem(403, "insufficient_scope");
        send(writes.request(method, "/v1/payments")).await.assert_problem(405, "method_not_allowed");
    }
    for path in [id.to_string(), "pay_1".to_owned(), format!("{id}?wait=99"), format!("{id}/events")] {
        writes.get(&format!("/v1/payments/{path}")).await.assert_problem(403, "insufficient_scope");
    }
    reads.get(&format!("/v1/payments/{id}")).await.assert_status(200);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn below_v1_only_somebody_with_a_key_hears_which_paths_and_methods_there_are() {
    let system = an_api().await;
    let operator = key_with(&system, &[Scope::Ops, Scope::Admin]).await;
    for (method, path) in [
        (Method::GET, "/v1"),
        (Method::GET, "/v1/"),
        (Method::GET, "/v1/nothing"),
        (Method::POST, "/v1/payments/1/nothing"),
        (Method::DELETE, "/v1/payments"),
        (Method::PUT, "/v1/breaks/1"),
        (Method::POST, "/v1/recovery-reports"),
    ] {
        let asks = || asks(&system, &method, path);
        send(asks()).await.assert_problem(401, "unauthorized");
        send(asks().header("x-api-key", "nobody-has-this-key")).await.assert_problem(401, "unauthorized");
        let is_merchants = is_merchants(path);
        let key = if is_merchants { system.client.secret() } else { &operator };
        let answer = send(asks().header("x-api-key", key)).await;
        assert!([404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
    }
    send(asks(&system, &Method::GET, "/v2/nothing")).await.assert_problem(404, "not_found");
    send(asks(&system, &Method::POST, "/health")).await.assert_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn the_database_gives_no_key_the_scopes_of_another_kind_of_owner() {
    let system = an_api().await;
    let pool = &system.database.pool;
    let merchant = shared::merchant::find_or_create(pool, "first").await.unwrap().id;
    for (owner, scopes) in [
        (Owner::Merchant(merchant), &[Scope::Ops][..]),
        (Owner::Merchant(merchant), &[Scope::PaymentsRead, Scope::Admin]),
        (Owner::Operator("ada".to_owned()), &[Scope::PaymentsWrite]),
        (Owner::Merchant(merchant), &[]),
    ] {
        let wanted = Wanted { owner, name: "test", scopes, expires_in: None };
        let refused = keys::create(pool, &peppers(), &wanted).await.unwrap_err().to_string();
        assert!(refused.contains("api_keys_scopes_of_its_owner"), "{wanted:?}: {refused}");
    }
    let both = "update api_keys set operator = 'ada'";
    let refused = sqlx::query(both).execute(pool).await.unwrap_err().to_string();
    assert!(refused.contains("api_keys_one_owner") || refused.contains("api_keys_scopes"), "{refused}");
    assert_eq!(send(system.client.request(Method::GET, "/v1/payments")).await.json()["data"], json!([]));
}
