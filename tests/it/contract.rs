//! The contract as a table: what holds for every operation of it is asked of every one.

use std::collections::BTreeSet;

use futures::future::join_all;
use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use shared::merchant::scope::Scope;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tests::client::send;
use tests::contract::{Operation, operations};
use tests::raw::{self, exchange};
use tests::{Answer, PrivateServer, Shape, System, a_payment, wait_until};

use crate::PROGRAM;
use crate::http::scopes::key_with;
use crate::operator::ADAS_KEY;

const NOBODYS: &str = "payonce_sk_unknown";

/// The operations that need a key.
fn locked() -> Vec<Operation> {
    let all: Vec<_> = operations().into_iter().filter(|it| it.path.starts_with("/v1/")).collect();
    assert!(all.len() >= 19, "{all:?}");
    all
}

fn key_of<'a>(system: &'a System, operation: &Operation) -> &'a str {
    if operation.takes("api_key") { system.client.secret() } else { ADAS_KEY }
}

/// A body that the operation can read, if it takes one.
fn body(operation: &Operation) -> Option<Value> {
    let nobodys = "pay_00000000000000000000000000000000";
    Some(match operation.body()? {
        "PaymentRequest" => a_payment().body,
        "Proposal" => {
            json!({"payment_id": nobodys, "kind": "charge_missing", "amount": "0", "reason": "why"})
        }
        "AccountRequest" | "FundingAccountRequest" => json!({"currency": "EUR", "owner": "cus_1"}),
        "TransferRequest" => json!({
            "from": format!("acc_{:032}", 1), "to": format!("acc_{:032}", 2), "amount": "1.00", "currency": "EUR",
        }),
        "PostingRequest" | "RefundRequest" | "Reviewing" | "WebhookRecovery" => json!({}),
        "ReviewingTogether" => json!({"decision": "deny", "payments": [nobodys]}),
        "WebhookEndpointRequest" => json!({"url": "https://example.com/hooks"}),
        "Resolution" | "Closing" | "Withdrawal" => json!({"reason": "why"}),
        other => unreachable!("no {other} is known here"),
    })
}

/// A request of the operation about something that there is not, without a key and without a body.
fn bare(system: &System, operation: &Operation) -> RequestBuilder {
    let method: Method = operation.method.parse().unwrap();
    let url = format!("{}{}", system.apis[0].address("api"), operation.path_of_nothing());
    reqwest::Client::new().request(method, url)
}

/// The same with its key, and with what else it takes.
fn whole(system: &System, operation: &Operation) -> RequestBuilder {
    let request = bare(system, operation)
        .header("x-api-key", key_of(system, operation))
        .header("idempotency-key", operation.id.clone());
    match body(operation) {
        Some(body) => request.json(&body),
        None => request,
    }
}

async fn an_api(api_env: Vec<(&'static str, String)>) -> System {
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

/// Asks for all of these at once.
async fn ask<'a>(
    operations: impl IntoIterator<Item = &'a Operation>,
    request: impl Fn(&Operation) -> RequestBuilder,
) -> Vec<(&'a Operation, Answer)> {
    join_all(operations.into_iter().map(async |it| (it, send(request(it)).await))).await
}

/// A transaction that keeps these tables of ours locked until it is dropped.
async fn tables_locked(system: &System, which: &str) -> Transaction<'static, Postgres> {
    let mut lock = system.database.pool.begin().await.unwrap();
    let all = format!(
        "do $$ declare each regclass; begin
           for each in select oid from pg_class
                        where relkind = 'r' and relnamespace = 'public'::regnamespace and {which}
           loop execute format('lock table %s in access exclusive mode', each); end loop;
         end $$"
    );
    for held in ["set local idle_in_transaction_session_timeout = 0".to_owned(), all] {
        sqlx::query(AssertSqlSafe(held)).execute(&mut *lock).await.unwrap();
    }
    lock
}

fn names(answer: &Answer) -> BTreeSet<String> {
    answer.headers.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn without_a_key_everything_below_v1_is_one_401_be_it_an_operation_or_not() {
    let system = an_api(vec![]).await;
    let first = send(bare(&system, &locked()[0])).await;
    first.assert_problem(401, "unauthorized");
    let is_the_same = |what: &str, answer: &Answer| {
        assert_eq!(answer.problem(), first.problem(), "{what}");
        assert_eq!(names(answer), names(&first), "{what}");
    };
    for (operation, answer) in ask(&locked(), |it| bare(&system, it)).await {
        is_the_same(&operation.id, &answer);
    }
    for (operation, answer) in ask(&locked(), |it| whole(&system, it).header("x-api-key", NOBODYS)).await {
        is_the_same(&operation.id, &answer);
    }
    let base = system.apis[0].address("api");
    for (method, path) in [
        (Method::GET, "/v1/nothing"),
        (Method::DELETE, "/v1/payments"),
        (Method::PUT, "/v1/breaks/1"),
        (Method::OPTIONS, "/v1/payments"),
        (Method::GET, "/v1/"),
    ] {
        let url = format!("{base}{path}");
        let answer = send(reqwest::Client::new().request(method.clone(), url)).await;
        is_the_same(&format!("{method} {path}"), &answer);
    }
}

#[tokio::test]
async fn a_path_says_which_methods_it_takes_and_one_that_there_is_not_is_a_404() {
    let system = an_api(vec![]).await;
    let base = system.apis[0].address("api");
    let asks = async |method: Method, path: &str| {
        let is_merchants = path.starts_with("/v1/payments");
        let key = if is_merchants { system.client.secret() } else { ADAS_KEY };
        send(reqwest::Client::new().request(method, format!("{base}{path}")).header("x-api-key", key)).await
    };
    for (path, allow) in [
        ("/v1/payments", "GET, HEAD, POST, OPTIONS"),
        ("/v1/breaks/1/resolve", "POST, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ] {
        let refused = asks(Method::DELETE, path).await;
        refused.assert_problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), allow, "{path}");
        let told = asks(Method::OPTIONS, path).await;
        told.assert_status(204);
        assert_eq!(told.header("allow"), allow, "{path}");
    }
    asks(Method::GET, "/v1/nothing").await.assert_problem(404, "not_found");
    let bearer = reqwest::Client::new().get(format!("{base}/v1/nothing")).bearer_auth(system.client.secret());
    send(bearer).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn what_is_not_there_is_a_404_of_every_operation_that_takes_an_id() {
    let system = an_api(vec![]).await;
    let all: Vec<_> = operations().into_iter().filter(|it| it.path.contains('{')).collect();
    assert!(all.len() >= 12, "{all:?}");
    for (operation, answer) in ask(&all, |it| whole(&system, it)).await {
        let code = match operation.path.split('/').nth(2).unwrap_or_default() {
            "accounts" => "account_not_found",
            "transfers" => "transfer_not_found",
            _ => "not_found",
        };
        answer.assert_problem(404, code);
    }
    let proposal = operations().into_iter().find(|it| it.id == "propose_correction").unwrap();
    send(whole(&system, &proposal)).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_head_that_is_not_well_formed_is_a_400_of_every_operation() {
    let system = an_api(vec![]).await;
    for (operation, answer) in
        ask(&operations(), |it| whole(&system, it).header("x-correlation-id", "a b")).await
    {
        let problem = answer.assert_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["header"], "X-Correlation-Id", "{}", operation.id);
        assert_eq!(problem["type"], "/problems/invalid_request");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_taken_is_told_by_every_operation_that_takes_one() {
    let system = an_api(vec![]).await;
    let all: Vec<_> = locked().into_iter().filter(|it| it.body().is_some()).collect();
    assert!(all.len() >= 6, "{all:?}");
    let keyed = |it: &Operation| {
        let request = bare(&system, it).header("x-api-key", key_of(&system, it));
        request.header("idempotency-key", "a-key")
    };
    let long = "x".repeat(65 * 1024);
    let typed =
        |it: &Operation, of: &str, body: &str| keyed(it).header("content-type", of).body(body.to_owned());
    for (_, answer) in ask(&all, |it| typed(it, "application/json", &long)).await {
        answer.assert_problem(413, "payload_too_large");
    }
    for (_, answer) in ask(&all, |it| typed(it, "text/plain", "{}")).await {
        answer.assert_problem(415, "unsupported_media_type");
    }
    for (_, answer) in
        ask(&all, |it| typed(it, "application/json", "{}").header("content-encoding", "gzip")).await
    {
        answer.assert_problem(415, "unsupported_content_encoding");
    }
    let base = system.apis[0].address("api");
    let slow = all.iter().map(async |it| {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: payonce\r\nx-api-key: {}\r\nidempotency-key: slow\r\n\
             content-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
            it.path_of_nothing(),
            key_of(&system, it)
        );
        (it, exchange(base, &head).await)
    });
    for (operation, told) in join_all(slow).await {
        assert!(told.starts_with("HTTP/1.1 408"), "{}: {told}", operation.id);
        assert!(told.contains("\"request_timeout\""), "{}: {told}", operation.id);
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn while_the_database_is_away_every_operation_is_a_503_that_says_so() {
    let mut server = PrivateServer::start().await;
    let system = System::on(server.database().await, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    server.end_by(Signal::SIGQUIT).await;

    for (operation, answer) in ask(&locked(), |it| whole(&system, it)).await {
        answer.assert_problem(503, "database_unavailable");
        assert_eq!(answer.header("retry-after"), "1", "{}", operation.id);
    }
    let ready = operations().into_iter().find(|it| it.id == "get_readiness").unwrap();
    send(bare(&system, &ready)).await.assert_problem(503, "not_ready");
}

#[tokio::test]
async fn while_somebody_keeps_the_tables_locked_every_operation_is_a_503_that_says_so() {
    let system = an_api(vec![]).await;
    let _lock = tables_locked(&system, "true").await;

    for (_, answer) in ask(&locked(), |it| whole(&system, it)).await {
        answer.assert_problem(503, "database_busy");
    }
}

#[tokio::test]
async fn a_key_of_another_kind_is_a_403_of_every_operation() {
    let system = an_api(vec![]).await;
    let operators = key_with(&system, &[Scope::Ops, Scope::Admin]).await;
    let other =
        |it: &Operation| if it.takes("api_key") { operators.as_str() } else { system.client.secret() };
    for (_, answer) in ask(&locked(), |it| bare(&system, it).header("x-api-key", other(it))).await {
        answer.assert_problem(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn who_brought_too_many_wrong_keys_gets_a_429_of_every_operation_of_operators() {
    let system = an_api(vec![("ADMIN_TRIES_PER_MIN", "1".to_owned())]).await;
    let all: Vec<_> = locked().into_iter().filter(|it| it.takes("admin_key")).collect();
    assert!(all.len() >= 15, "{all:?}");
    send(bare(&system, &all[0]).header("x-api-key", NOBODYS)).await.assert_problem(401, "unauthorized");

    for (_, answer) in ask(&all, |it| bare(&system, it).header("x-api-key", NOBODYS)).await {
        answer.assert_problem(429, "too_many_tries");
    }
}

#[tokio::test]
async fn beyond_the_limit_of_its_key_every_operation_of_a_merchant_is_a_429() {
    let rate = vec![("API_RATE_PER_S", "0.001".to_owned()), ("API_RATE_BURST", "1".to_owned())];
    let system = an_api(rate).await;
    let _ = system.accepted(a_payment()).await;
    system.client.get("/v1/payments").await.assert_status(200);

    let all: Vec<_> = locked().into_iter().filter(|it| it.takes("api_key")).collect();
    for (_, answer) in ask(&all, |it| whole(&system, it)).await {
        answer.assert_problem(429, "too_many_requests");
    }
}

#[tokio::test]
async fn beyond_the_requests_that_its_key_may_have_under_way_every_operation_of_a_merchant_is_a_429() {
    let system = an_api(vec![("API_CONCURRENT_PER_KEY", "1".to_owned())]).await;
    let base = system.client.url("");
    let post = raw::post(system.client.secret(), "slow", &a_payment().body);
    let half = &post[..post.len() - 1];
    let mut held = raw::sent(&base, half).await;

    // A post whose body has not come whole is under way. It may take its place only after others were asked.
    for operation in locked().iter().filter(|it| it.takes("api_key")) {
        wait_until(format!("{} to be refused", operation.id), async || {
            if !raw::is_silent(&held) {
                held = raw::sent(&base, half).await;
            }
            let answer = send(whole(&system, operation)).await;
            let is_refused = answer.status == 429;
            if is_refused {
                answer.assert_problem(429, "too_many_concurrent_requests");
            }
            is_refused
        })
        .await;
    }
}

#[tokio::test]
async fn a_path_that_is_too_long_is_a_414_of_every_operation() {
    let system = an_api(vec![]).await;
    let long = "a".repeat(9000);
    for operation in operations() {
        let (client, request) = whole(&system, &operation).build_split();
        let mut request = request.unwrap();
        request.url_mut().set_query(Some(&long));
        let answer = send(RequestBuilder::from_parts(client, request)).await;
        answer.assert_problem(414, "uri_too_long");
    }
}

#[tokio::test]
async fn the_document_and_its_pages_are_there_for_anybody() {
    let system = an_api(vec![]).await;
    let base = system.apis[0].address("api");
    let get = async |path: &str| send(reqwest::Client::new().get(format!("{base}{path}"))).await;

    let document = get("/openapi.json").await;
    assert_eq!(document.body, api::openapi().as_bytes());
    assert_eq!(document.header("content-type"), "application/json");
    let page = get("/docs").await;
    let page = String::from_utf8(page.body).unwrap();
    for operation in operations() {
        assert!(page.contains(&format!("id=\"{}\"", operation.id)), "{} is not on the page", operation.id);
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs another host");
    let codes = document.json()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].clone();
    for code in codes.as_array().unwrap() {
        let code = code.as_str().unwrap();
        let explained = get(&format!("/problems/{code}")).await;
        explained.assert_status(200);
        assert!(page.contains(&format!("href=\"/problems/{code}\"")), "{code}");
    }
    get("/problems/none").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn every_example_of_the_document_is_accepted() {
    let system = an_api(vec![]).await;
    let mut seen = 0;
    for operation in locked() {
        let example = &operation.described["requestBody"]["content"]["application/json"]["example"];
        if example.is_null() {
            continue;
        }
        let request = bare(&system, &operation).header("x-api-key", key_of(&system, &operation));
        let answer = send(request.header("idempotency-key", "example").json(example)).await;
        // It was read, and is about a payment that there is not.
        let is_of_nothing = operation.id == "refund_payment" && answer.status == 404;
        assert!(answer.status < 300 || is_of_nothing, "{}: {}", operation.id, answer.json());
        seen += 1;
    }
    assert!(seen >= 1);
}
