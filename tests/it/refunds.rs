//! Refunds, with real processes: one effect for each key, whatever is repeated, lost or refused, never more
//! than was taken, and a payment whose row does not change.

use domain::ids::PaymentId;
use reqwest::Method;
use serde_json::{Value, json};
use tests::client::answer;
use tests::{Answer, Client, Exit, Launch, Shape, System, a_payment, wait_for};

use crate::PROGRAM;
use crate::verify::{offences, report, verify};

mod acts;
mod adopted;
mod crashes;
mod held;
mod race;
mod refused;

/// A key that no other request has.
fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Asks for a refund, where the connection may break.
async fn try_refund(client: &Client, id: PaymentId, key: &str, body: &Value) -> reqwest::Result<Answer> {
    let path = format!("/v1/payments/{id}/refunds");
    answer(client.request(Method::POST, &path).header("idempotency-key", key).json(body)).await
}

async fn refund(client: &Client, id: PaymentId, key: &str, body: Value) -> Answer {
    try_refund(client, id, key, &body).await.unwrap()
}

/// A payment of 12.30 by this method that succeeded.
async fn paid(system: &System, method: &str) -> PaymentId {
    let id = system.accepted(a_payment().method(method)).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    id
}

/// Asks for all that is left.
async fn refund_all(system: &System, id: PaymentId) -> Answer {
    refund(&system.client, id, &key(), json!({})).await
}

fn refund_id(answer: &Answer) -> String {
    answer.assert_status(202);
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn shown(system: &System, id: &str) -> Value {
    let answer = system.client.get(&format!("/v1/refunds/{id}")).await;
    answer.assert_status(200);
    answer.json()
}

/// Waits until a refund is over or held, and answers it.
async fn at_rest(system: &System, id: &str) -> Value {
    wait_for(format!("{id} to be at rest"), async || {
        let refund = shown(system, id).await;
        let is_over = !refund["terminal_at"].is_null() || !refund["held_reason"].is_null();
        is_over.then_some(refund)
    })
    .await
}

/// What the gateway gave back of a payment, refund by refund.
async fn given_back(system: &System, id: PaymentId) -> Vec<String> {
    let reference = id.to_string();
    let rows = system.journal().await;
    let own = rows.iter().filter(|row| row["kind"] == "refund" && row["reference"] == reference.as_str());
    own.map(|row| row["amount"].as_str().unwrap().to_owned()).collect()
}

/// The balances of all accounts of the house and of merchants, by kind, as far as they are not zero.
async fn balances(system: &System) -> Vec<String> {
    sqlx::query_scalar(
        "select a.kind || ' ' || sum(case e.side when 'debit' then e.amount else -e.amount end)
           from ledger_entries e join ledger_accounts a on a.id = e.account_id
          group by a.kind having sum(case e.side when 'debit' then e.amount else -e.amount end) <> 0
          order by 1",
    )
    .fetch_all(&system.database.pool)
    .await
    .unwrap()
}

/// Asserts that `payonce verify` finds nothing wrong, and answers its exit code.
async fn verified(system: &System) -> i32 {
    let (code, report) = report(verify(system, &[])).await;
    assert_eq!(offences(&report), [], "{report}");
    assert_eq!(report["violations"], 0, "{report}");
    code
}

/// Runs a command of payonce to its end, and answers its exit.
async fn command(system: &System, arguments: &[&str]) -> Exit {
    let launch = Launch::payonce(PROGRAM).args(arguments.iter().copied());
    launch.env("DATABASE_URL", system.database.app_url()).run().await.0
}

#[tokio::test]
async fn a_payment_is_given_back_in_parts_once_for_each_key_and_its_row_does_not_change() {
    let system = System::with(PROGRAM, Shape { apis: 2, workers: 1, ..Shape::default() }).await;
    let id = paid(&system, "sim_ok").await;
    let before = system.client.get(&format!("/v1/payments/{id}")).await;
    assert_eq!(before.json()["amount_refunded"], "0.00");
    let (first_key, body) = (key(), json!({ "amount": "5", "reason": "damaged", "metadata": { "a": "b" } }));

    let first = refund(&system.client, id, &first_key, body.clone()).await;
    let part = refund_id(&first);
    let done = at_rest(&system, &part).await;
    let again = refund(&system.client, id, &first_key, body).await;
    let other = refund(&system.client, id, &first_key, json!({ "amount": "5.01" })).await;

    assert_eq!((done["status"].as_str(), done["amount"].as_str()), (Some("succeeded"), Some("5.00")));
    assert_eq!(first.json()["status"], "pending");
    assert_eq!((again.status, &again.body), (202, &first.body), "a repeat has the first answer");
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("false", "true"));
    assert_eq!(first.header("location"), format!("/v1/refunds/{part}"));
    other.assert_problem(422, "idempotency_key_reused");

    // The exact rest, and nothing after it.
    let rest = refund_id(&refund(&system.client, id, &key(), json!({})).await);
    assert_eq!(at_rest(&system, &rest).await["amount"], "7.30");
    let (no_more, asked) = (key(), json!({ "amount": "0.01" }));
    let refused = refund(&system.client, id, &no_more, asked.clone()).await;
    let problem = refused.assert_problem(422, "amount_exceeds_refundable");
    assert_eq!(problem["refundable"], "0.00");
    let repeated = refund(&system.client, id, &no_more, asked).await;
    assert_eq!(repeated.problem(), refused.problem());
    assert_eq!(repeated.header("idempotent-replayed"), "true");

    let after = system.client.get(&format!("/v1/payments/{id}")).await;
    let mut shown = after.json();
    assert_eq!(shown["amount_refunded"], "12.30");
    shown["amount_refunded"] = json!("0.00");
    assert_eq!(shown, before.json(), "the payment itself is as it was");
    assert_ne!(
        after.header("etag"),
        before.header("etag"),
        "whoever knows the payment is told of the refund"
    );
    let list = system.client.get(&format!("/v1/payments/{id}/refunds?limit=1")).await.json();
    assert_eq!((list["data"][0]["id"].as_str(), &list["has_more"]), (Some(rest.as_str()), &json!(true)));
    let path = format!("/v1/payments/{id}/refunds?limit=1&cursor={}", list["next_cursor"].as_str().unwrap());
    let next = system.client.get(&path).await.json();
    assert_eq!((next["data"][0]["id"].as_str(), &next["has_more"]), (Some(part.as_str()), &json!(false)));
    assert_eq!(given_back(&system, id).await, ["5.00", "7.30"]);
    assert_eq!(balances(&system).await, Vec::<String>::new(), "all that came went back");
    assert_eq!(verified(&system).await, 0);
}

/// Payment methods whose refunds go wrong, and how each must end, with what the gateway gave back.
const METHODS: &[(&str, &str, &[&str])] = &[
    ("sim_ok", "succeeded", &["2.00"]),
    ("sim_refund_timeout_done", "succeeded", &["2.00"]),
    ("sim_refund_timeout_not_done", "succeeded", &["2.00"]),
    ("sim_refund_503", "succeeded", &["2.00"]),
    ("sim_refund_declined", "failed", &[]),
];

#[tokio::test]
async fn whatever_the_gateway_answers_a_refund_is_made_once_or_not_at_all_and_the_books_say_which() {
    let system = System::start(PROGRAM).await;
    let mut asked = Vec::new();
    for (method, status, made) in METHODS {
        let id = paid(&system, method).await;
        let answer = refund(&system.client, id, &key(), json!({ "amount": "2.00" })).await;
        asked.push((id, refund_id(&answer), method, *status, *made));
    }
    for (id, refund, method, status, made) in asked {
        let ended = at_rest(&system, &refund).await;
        assert_eq!(ended["status"], status, "{method}: {ended}");
        assert_eq!(given_back(&system, id).await, made, "{method}");
        assert_eq!(ended["failure"].is_null(), status != "failed", "{method}: {ended}");
        let refunded = system.client.payment(id).await["amount_refunded"].clone();
        assert_eq!(refunded, if made.is_empty() { "0.00" } else { "2.00" }, "{method}");
        // What was declined is reserved no more: all of it can be asked for.
        let again = refund_id(&refund_all(&system, id).await);
        assert_eq!(shown(&system, &again).await["amount"], if made.is_empty() { "12.30" } else { "10.30" });
        at_rest(&system, &again).await;
    }
    assert_eq!(verified(&system).await, 0);
}
