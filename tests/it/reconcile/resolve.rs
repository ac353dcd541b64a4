//! Breaks and runs over HTTP and on the command line: listed, shown and resolved, by a person with the
//! admin key.

use reqwest::Method;
use serde_json::{Value, json};
use tests::client::send;
use tests::{Answer, System, a_payment};

use super::{behind_the_guards, one_that_succeeded, payonce, reconcile};
use crate::PROGRAM;

const ADMIN_KEY: &str = "an-admin-key-for-tests";

async fn asks(system: &System, method: Method, path: &str, body: Option<Value>, key: &str) -> Answer {
    let url = format!("{}{path}", system.apis[0].address("api"));
    let request = reqwest::Client::new().request(method, url).bearer_auth(key);
    send(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

async fn get(system: &System, path: &str) -> Value {
    let answer = asks(system, Method::GET, path, None, ADMIN_KEY).await;
    answer.assert_status(200);
    answer.json()
}

async fn resolve(system: &System, id: &Value, body: Value) -> Answer {
    asks(system, Method::POST, &format!("/v1/breaks/{id}/resolve"), Some(body), ADMIN_KEY).await
}

/// A payment that lacks its transfer, and has a break for it.
async fn a_break() -> (System, Value) {
    let (system, id) = one_that_succeeded().await;
    behind_the_guards(&system, "delete from ledger_transfers where payment_id = $id", id).await;
    assert_eq!(reconcile(&system).await.0, 3);
    let list = get(&system, "/v1/breaks?open=true").await;
    (system, list["data"][0].clone())
}

#[tokio::test]
async fn breaks_are_listed_shown_and_resolved_once_with_a_name_and_a_reason() {
    let (system, it) = a_break().await;
    assert_eq!(
        (&it["object"], &it["kind"], &it["closed_at"]),
        (&"break".into(), &"transfer_missing".into(), &Value::Null)
    );
    assert_eq!(get(&system, &format!("/v1/breaks/{}", it["id"])).await, it);
    assert_eq!(get(&system, "/v1/breaks?kind=history").await["data"], json!([]));

    let said = json!({ "by": "ada", "reason": "posted by hand" });
    let first = resolve(&system, &it["id"], said.clone()).await;
    let again = resolve(&system, &it["id"], said).await;
    let otherwise = resolve(&system, &it["id"], json!({ "by": "bob", "reason": "no idea" })).await;

    first.assert_status(200);
    assert_eq!(
        (&first.json()["closed_by"], &first.json()["closed_reason"]),
        (&"ada".into(), &"posted by hand".into())
    );
    assert_eq!(again.body, first.body);
    let problem = otherwise.assert_problem(409, "break_resolved");
    assert!(problem["detail"].as_str().unwrap().contains("ada resolved this break already"), "{problem}");
    assert_eq!(get(&system, "/v1/breaks?open=true").await["data"], json!([]));
    assert_eq!(get(&system, "/v1/breaks?open=false").await["data"][0]["id"], it["id"]);
    // A break that a person has closed is not opened again for the same facts.
    let (code, report) = reconcile(&system).await;
    assert_eq!((code, &report["ledger"]["found"], &report["needs_a_person"]), (0, &0.into(), &false.into()));
}

#[tokio::test]
async fn a_break_of_a_held_payment_is_resolved_by_a_decision() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(id).await;
    let it = get(&system, "/v1/breaks").await["data"][0].clone();
    assert_eq!((&it["payment_is_held"], &it["payment_id"]), (&true.into(), &id.to_string().into()));

    resolve(&system, &it["id"], json!({ "reason": "x" })).await.assert_problem(409, "decision_needed");
    for wrong in [
        json!({ "reason": "" }),
        json!({ "reason": "x", "decision": "pay" }),
        json!({ "reason": "x", "decision": "succeed" }),
        json!({ "reason": "x", "decision": "fail", "charge_id": "ch_1" }),
        json!({ "reason": "x", "other": 1 }),
        json!({}),
    ] {
        resolve(&system, &it["id"], wrong).await.assert_problem(400, "invalid_request");
    }
    let looked = resolve(&system, &it["id"], json!({ "reason": "what is there?", "decision": "look" })).await;
    looked.assert_status(200);
    assert_eq!((&looked.json()["seen"], &looked.json()["permits"]), (&"one".into(), &json!(["void"])));
    let too_early = json!({ "reason": "refunded by them", "decision": "reverse" });
    let problem =
        resolve(&system, &it["id"], too_early.clone()).await.assert_problem(409, "decision_refused");
    assert!(problem["detail"].as_str().unwrap().contains("decided instead: void, or release"), "{problem}");
    let key = system.gateway_key(id).await;
    let void = reqwest::Client::new()
        .post(format!("{}/voids", system.gateway.address("gateway")))
        .header("idempotency-key", format!("{key}:void"));
    assert_eq!(void.json(&json!({ "key": key })).send().await.unwrap().status(), 201);
    let done = resolve(&system, &it["id"], too_early.clone()).await;

    done.assert_status(200);
    assert_eq!(done.json()["closed_by"], "admin");
    assert_eq!(resolve(&system, &it["id"], too_early).await.body, done.body, "repeated");
    assert_eq!(system.client.payment(id).await["status"], "reversed");
}

#[tokio::test]
async fn there_is_nothing_to_decide_about_a_payment_that_is_not_held() {
    let (system, it) = a_break().await;

    let decided = resolve(&system, &it["id"], json!({ "reason": "x", "decision": "release" })).await;

    decided.assert_problem(409, "nothing_to_decide");
}

#[tokio::test]
async fn a_decision_that_no_worker_checks_is_taken_up_and_keeps_another_one_out() {
    let mut system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(id).await;
    system.workers[0].kill9();
    let it = get(&system, "/v1/breaks").await["data"][0].clone();

    let asked = resolve(&system, &it["id"], json!({ "by": "ada", "reason": "x", "decision": "void" })).await;
    let other =
        resolve(&system, &it["id"], json!({ "by": "bob", "reason": "y", "decision": "reverse" })).await;

    asked.assert_status(202);
    assert_eq!((&asked.json()["object"], &asked.json()["outcome"]), (&"decision".into(), &Value::Null));
    other.assert_problem(409, "decision_open");
}

#[tokio::test]
async fn only_the_admin_key_opens_breaks_and_runs() {
    let system = System::start(PROGRAM).await;
    let merchants = system.pay(a_payment()).await;
    merchants.assert_status(202);
    for (method, path) in [
        (Method::GET, "/v1/breaks"),
        (Method::GET, "/v1/breaks/1"),
        (Method::POST, "/v1/breaks/1/resolve"),
        (Method::GET, "/v1/reconciliation/runs"),
    ] {
        asks(&system, method.clone(), path, None, "payonce_sk_nobody")
            .await
            .assert_problem(401, "unauthorized");
        let answer = send(system.client.request(method, path)).await;
        answer.assert_problem(403, "insufficient_scope");
    }
    for path in ["/v1/breaks/1", "/v1/breaks/x"] {
        asks(&system, Method::GET, path, None, ADMIN_KEY).await.assert_problem(404, "not_found");
    }
    for path in
        ["/v1/breaks?kind=x", "/v1/breaks?limit=0", "/v1/breaks?open=2", "/v1/reconciliation/runs?limit=101"]
    {
        asks(&system, Method::GET, path, None, ADMIN_KEY).await.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page() {
    let (system, _) = one_that_succeeded().await;
    for _ in 0..3 {
        reconcile(&system).await;
    }

    let first = get(&system, "/v1/reconciliation/runs?limit=2").await;
    let last = first["data"][1]["id"].clone();
    let rest = get(&system, &format!("/v1/reconciliation/runs?starting_after={last}")).await;

    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (2, &true.into()));
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (1, &false.into()));
    let run = &rest["data"][0];
    assert_eq!(
        (&run["trigger"], &run["findings"]["ledger"]["checked"]),
        (&"command".into(), &1.into()),
        "{run}"
    );
    assert!(run["finished_at"].is_string(), "{run}");
}

#[tokio::test]
async fn the_command_line_lists_shows_and_resolves() {
    let (system, it) = a_break().await;
    let number = it["id"].to_string();

    let (code, listed) = payonce(&system, &["breaks", "list"]).await;
    assert_eq!(code, 0);
    assert!(listed.stdout().contains("transfer_missing"), "{}", listed.stdout());
    let (_, shown) = payonce(&system, &["breaks", "show", &number, "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout()).unwrap(), it, "as the API shows it");
    let resolving = ["breaks", "resolve", &number, "--by", "ada", "--reason", "posted by hand"];
    assert_eq!(payonce(&system, &resolving).await.0, 0);
    let (code, again) = payonce(&system, &resolving).await;
    assert_eq!((code, again.stdout().trim()), (0, format!("{number} was resolved so before").as_str()));
    let (code, other) =
        payonce(&system, &["breaks", "resolve", &number, "--by", "bob", "--reason", "x"]).await;
    assert_eq!(code, 1);
    assert!(other.stderr().contains("ada resolved it already"), "{}", other.stderr());
    let (code, missing) = payonce(&system, &["breaks", "show", "4711"]).await;
    assert_eq!(code, 1);
    assert!(missing.stderr().contains("there is no break 4711"), "{}", missing.stderr());
    let (_, none) = payonce(&system, &["breaks", "list"]).await;
    assert_eq!(none.stdout().trim(), "no break is open");
}
