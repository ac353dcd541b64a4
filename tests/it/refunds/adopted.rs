//! Refunds that somebody made at the gateway, without Payonce: they are booked, and count.

use domain::ids::PaymentId;
use serde_json::{Value, json};
use tests::{Exit, System, wait_until};

use super::{at_rest, balances, command, given_back, key, paid, refund, refund_id, verified};
use crate::PROGRAM;
use crate::reconcile::{open_breaks, reconcile};

/// Gives back a part of a payment at the gateway, under a key that is none of ours.
async fn by_hand(system: &System, id: PaymentId, key: &str, amount: &str) -> Value {
    let charge = system.client.payment(id).await["gateway"]["transaction_id"].clone();
    let body = json!({ "charge": charge, "amount": amount, "currency": "EUR", "reference": "by-hand" });
    let url = format!("{}/refunds", system.gateway.address("gateway"));
    let sent =
        reqwest::Client::new().post(url).header("idempotency-key", key).json(&body).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    sent.json().await.unwrap()
}

async fn listed(system: &System, id: PaymentId) -> Vec<(String, String)> {
    let list = system.client.get(&format!("/v1/payments/{id}/refunds")).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list["data"].as_array().unwrap().iter().map(|it| (text(&it["origin"]), text(&it["amount"]))).collect()
}

#[tokio::test]
async fn a_refund_that_was_made_at_the_gateway_is_booked_once_and_only_the_rest_can_be_asked_for() {
    let system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    let ours = refund_id(&refund(&system.client, id, &key(), json!({ "amount": "2.00" })).await);
    at_rest(&system, &ours).await;
    let before = system.client.payment(id).await["version"].clone();
    by_hand(&system, id, "dash-1", "4.00").await;

    reconcile(&system).await;
    reconcile(&system).await;

    assert_eq!(open_breaks(&system).await, Vec::<String>::new());
    assert_eq!(
        listed(&system, id).await,
        [("gateway", "4.00"), ("api", "2.00")].map(|(a, b)| (a.into(), b.into()))
    );
    let payment = system.client.payment(id).await;
    assert_eq!((&payment["amount_refunded"], &payment["version"]), (&json!("6.00"), &before));
    let refused = refund(&system.client, id, &key(), json!({ "amount": "6.31" })).await;
    assert_eq!(refused.assert_problem(422, "amount_exceeds_refundable")["refundable"], "6.30");
    let rest = refund_id(&refund(&system.client, id, &key(), json!({})).await);
    assert_eq!(at_rest(&system, &rest).await["status"], "succeeded");
    assert_eq!(balances(&system).await, Vec::<String>::new(), "all that came went back");
    assert_eq!(verified(&system).await, 0);
}

#[tokio::test]
async fn what_is_made_at_the_gateway_while_all_is_reserved_opens_a_break_and_is_booked_all_the_same() {
    let mut system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    system.workers.iter_mut().for_each(tests::Process::kill9);
    let all = refund_id(&refund(&system.client, id, &key(), json!({})).await);
    by_hand(&system, id, "dash-1", "12.30").await;
    reconcile(&system).await;

    assert_eq!(open_breaks(&system).await, [format!("over_refunded of {id}")]);
    system.add_worker::<&str>([]).await;
    // Nothing is left to give back, says the gateway, and stores that under its key.
    assert_eq!(at_rest(&system, &all).await["status"], "failed");
    assert_eq!(given_back(&system, id).await, ["12.30"]);
    assert_eq!(verified(&system).await, 3, "the break waits for a person");
}

#[tokio::test]
async fn a_refund_that_was_forgotten_here_is_found_and_its_repetition_makes_no_other() {
    let mut system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    let forgotten = (key(), json!({ "amount": "5.00" }));
    let first = refund_id(&refund(&system.client, id, &forgotten.0, forgotten.1.clone()).await);
    at_rest(&system, &first).await;
    // As a backup from before it has it.
    system.workers.iter_mut().for_each(tests::Process::kill9);
    let gone = "set session_replication_role = replica;
                delete from operation_transfers; delete from operation_events; delete from operations; delete from refund_totals;
                delete from idempotency_keys where operation = 'refund_payment'; reset session_replication_role";
    sqlx::raw_sql(gone).execute(&system.database.pool).await.unwrap();
    reconcile(&system).await;

    let again = refund(&system.client, id, &forgotten.0, forgotten.1.clone()).await;
    let other = refund(&system.client, id, &key(), json!({ "amount": "7.31" })).await;

    let adopted = refund_id(&again);
    assert_ne!(adopted, first, "the id was forgotten, too");
    other.assert_problem(422, "amount_exceeds_refundable");
    assert_eq!(refund(&system.client, id, &forgotten.0, forgotten.1).await.body, again.body);
    assert_eq!(listed(&system, id).await, [("gateway".to_owned(), "5.00".to_owned())]);
    system.add_worker::<&str>([]).await;
    let shown = at_rest(&system, &adopted).await;
    assert_eq!(shown["status"], "succeeded");
    assert_eq!(given_back(&system, id).await, ["5.00"]);
    assert_eq!(verified(&system).await, 0);
}

#[tokio::test]
async fn a_reconciliation_that_dies_while_it_adopts_adopts_once() {
    let system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    for (n, point) in ["refund_adopt.before", "refund_adopt.committed"].into_iter().enumerate() {
        by_hand(&system, id, &format!("dash-{n}"), "1.00").await;
        let launch = tests::Launch::payonce(PROGRAM).args(["reconcile"]);
        let launch = launch
            .env("DATABASE_URL", system.database.app_url())
            .env("GATEWAY_URL", system.gateway.address("gateway"));
        let (exit, _) = launch.env("PAYONCE_FAULTS", format!("{point}=kill")).run().await;
        assert_eq!(exit, Exit::Signal(9), "{point}");
        reconcile(&system).await;
        assert_eq!(listed(&system, id).await.len(), n + 1, "{point}");
    }
    wait_until("nothing to be under way", async || {
        system.count("select count(*) from operations where due_at is not null").await == 0
    })
    .await;
    assert_eq!(command(&system, &["refunds", "list"]).await, Exit::Code(0));
    assert_eq!(verified(&system).await, 0);
}
