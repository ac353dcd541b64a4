//! What a person may do, and the page on which it is done.

mod accounts;
mod dead_letters;
mod decide;
mod guard;
mod page;
mod plan;
mod race;
mod unproven;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use shared::payment::transition::Justification;
use tests::client::send;
use tests::{Answer, Shape, System, a_payment};

use crate::PROGRAM;

pub(super) const ADMIN_KEY: &str = "an-admin-key-for-tests";
/// Ada's own key; below, Bob's.
pub(super) const ADAS_KEY: &str = "an-admin-key-of-ada-s";
pub(super) const BOBS_KEY: &str = "an-admin-key-of-bob-s";

/// A payment for which the gateway charged another amount, and its version.
async fn a_wrong_amount(system: &System) -> (PaymentId, i32) {
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    (id, version(&system.held(id).await))
}

/// A system whose gateway cannot void, with a payment that was charged without an answer: a void has started.
async fn a_doubt_that_cannot_end() -> (System, PaymentId, i32) {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "300".to_owned())];
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await;
    system.faults(json!({ "void_unsupported": true })).await;
    let id = system.accepted(a_payment().method("sim_doubt")).await;
    let version = version(&system.held(id).await);
    (system, id, version)
}

pub(super) fn version(payment: &Value) -> i32 {
    payment["version"].as_i64().and_then(|version| version.try_into().ok()).unwrap()
}

fn ada() -> Justification {
    Justification::new("ada", "seen in the gateway's own books").unwrap()
}

/// Has Ada decide on the page about that version: `look`, `succeed&charge_id=ch_1`, `fail+unproven`, …
pub(super) async fn decides(system: &System, id: PaymentId, version: i32, decision: &str) -> Answer {
    let fields = format!("version={version}&decision={decision}&reason=seen+in+the+gateway%27s+own+books");
    send(page::form(system, &format!("/ops/payments/{id}"), &fields)).await
}

/// The result of a form: its status, and the page's complaint.
fn came(answer: &Answer) -> (u16, String) {
    let page = page::text(answer);
    let complaint = page.split_once("role=\"alert\">").map(|(_, rest)| rest.split("</p>").next().unwrap());
    (answer.status, complaint.unwrap_or_default().to_owned())
}

/// The settings of a worker that can learn nothing from the gateway: neither lookups nor voids.
pub(super) const BLIND: [(&str, &str); 2] =
    [("GATEWAY_LOOKUP_SUPPORTED", "false"), ("GATEWAY_VOID_SUPPORTED", "false")];

/// A payment of this method whose doubt could not end, and after that a worker that can look.
async fn held_in_doubt(method: &str) -> (System, PaymentId, i32) {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method(method)).await;
    let blind = system.add_worker(BLIND).await;
    let version = version(&system.held(id).await);
    system.workers[blind].kill9();
    system.workers.clear();
    system.add_worker([("RUST_LOG", "info")]).await;
    (system, id, version)
}

/// Voids the payment's key, as a person does it at the gateway.
pub(super) async fn void_at_the_gateway(system: &System, id: PaymentId) {
    let url = format!("{}/voids", system.gateway.address("gateway"));
    let key = system.gateway_key(id).await;
    let void = reqwest::Client::new().post(url).header("idempotency-key", format!("{key}:void"));
    let answer = void.json(&json!({ "key": key })).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

/// The id of the only charge that the gateway made for it.
pub(super) async fn charge_id(system: &System, id: PaymentId) -> String {
    let reference = id.to_string();
    let journal = system.journal().await;
    let charge = journal.iter().find(|row| row["kind"] == "charge" && row["reference"] == reference.as_str());
    charge.unwrap()["charge_id"].as_str().unwrap().to_owned()
}

/// Its breaks: how many are open, and who closed each closed one.
async fn breaks(system: &System, id: PaymentId) -> (usize, Vec<String>) {
    let rows: Vec<(Option<String>, Option<String>)> =
        sqlx::query_as("select closed_by, closed_reason from breaks where payment_id = $1 order by id")
            .bind(id.uuid())
            .fetch_all(&system.database.pool)
            .await
            .unwrap();
    let open = rows.iter().filter(|(by, _)| by.is_none()).count();
    let closed = rows.into_iter().filter_map(|(by, reason)| Some(format!("{}: {}", by?, reason?)));
    (open, closed.collect())
}
