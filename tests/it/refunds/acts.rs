//! Late returns and disputes: found in the gateway's books, booked with postings, and shown. The payment does
//! not change.

use domain::ids::PaymentId;
use serde_json::{Value, json};
use tests::System;

use super::{at_rest, balances, key, paid, refund, refund_id, verified};
use crate::PROGRAM;
use crate::reconcile::{open_breaks, reconcile};

/// Does something in the gateway's dashboard, and answers what it made.
async fn dashboard(system: &System, path: &str, body: Value) -> Value {
    let url = format!("{}/dashboard/{path}", system.gateway.address("gateway"));
    let sent = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(sent.status(), 201, "{path}");
    sent.json().await.unwrap()
}

async fn charge(system: &System, id: PaymentId) -> Value {
    system.client.payment(id).await["gateway"]["transaction_id"].clone()
}

/// The only entry of a list of the payment's.
async fn only(system: &System, id: PaymentId, list: &str) -> Value {
    let answer = system.client.get(&format!("/v1/payments/{id}/{list}")).await;
    answer.assert_status(200);
    let data = answer.json()["data"].clone();
    assert_eq!(data.as_array().unwrap().len(), 1, "{data}");
    let shown = system.client.get(&format!("/v1/{list}/{}", data[0]["id"].as_str().unwrap())).await;
    shown.assert_status(200);
    assert_eq!(shown.json(), data[0]);
    data[0].clone()
}

#[tokio::test]
async fn a_late_return_becomes_an_object_with_postings_and_the_payment_stays_as_it_is() {
    let system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    let before = system.client.payment(id).await;
    let made =
        dashboard(&system, "returns", json!({ "charge": charge(&system, id).await, "amount": "2.30" })).await;
    assert_eq!(balances(&system).await, ["gateway_clearing 12.30", "merchant_payable -12.30"]);

    reconcile(&system).await;
    reconcile(&system).await;

    let returned = only(&system, id, "returns").await;
    assert_eq!((&returned["status"], &returned["amount"]), (&json!("returned"), &json!("2.30")));
    assert_eq!(returned["gateway"]["transaction_id"], made["id"]);
    assert_eq!(system.client.payment(id).await, before, "the payment is as it was");
    assert_eq!(balances(&system).await, ["gateway_clearing 10.00", "merchant_payable -10.00"]);
    assert_eq!(open_breaks(&system).await, Vec::<String>::new());
    // What went back cannot be given back once more.
    let refused = refund(&system.client, id, &key(), json!({ "amount": "10.01" })).await;
    assert_eq!(refused.assert_problem(422, "amount_exceeds_refundable")["refundable"], "10.00");
    let rest = refund_id(&refund(&system.client, id, &key(), json!({})).await);
    assert_eq!(at_rest(&system, &rest).await["status"], "succeeded");
    assert_eq!(balances(&system).await, Vec::<String>::new());
    assert_eq!(verified(&system).await, 0);
    let stranger = system.another_merchant("second").await;
    for path in
        [format!("/v1/returns/{}", returned["id"].as_str().unwrap()), format!("/v1/payments/{id}/returns")]
    {
        stranger.get(&path).await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_dispute_keeps_its_amount_until_it_is_won_or_lost_and_refunds_wait_for_its_end() {
    let system = System::start(PROGRAM).await;
    for (end, left) in [("won", "12.30"), ("lost", "7.30")] {
        let id = paid(&system, "sim_ok").await;
        let before = system.client.payment(id).await;
        let body = json!({ "charge": charge(&system, id).await, "amount": "5.00" });
        let made = dashboard(&system, "disputes", body).await;
        reconcile(&system).await;

        let open = only(&system, id, "disputes").await;
        assert_eq!((&open["status"], &open["terminal_at"]), (&json!("open"), &Value::Null));
        let (kept, all) = (key(), json!({}));
        let refused = refund(&system.client, id, &kept, all.clone()).await;
        refused.assert_problem(409, "payment_disputed");
        assert_eq!(verified(&system).await, 0);

        dashboard(&system, &format!("disputes/{}/{end}", made["id"].as_str().unwrap()), json!({})).await;
        reconcile(&system).await;
        reconcile(&system).await;

        let ended = only(&system, id, "disputes").await;
        assert_eq!((&ended["id"], &ended["status"]), (&open["id"], &json!(end)));
        assert!(!ended["terminal_at"].is_null());
        assert_eq!(
            refund(&system.client, id, &kept, all).await.problem(),
            refused.problem(),
            "it stays an outcome"
        );
        let more = refund(&system.client, id, &key(), json!({ "amount": "12.31" })).await;
        assert_eq!(more.assert_problem(422, "amount_exceeds_refundable")["refundable"], left);
        assert_eq!(system.client.payment(id).await, before, "the payment is as it was");
        let rest = refund_id(&refund(&system.client, id, &key(), json!({})).await);
        assert_eq!(at_rest(&system, &rest).await["status"], "succeeded");
        assert_eq!(balances(&system).await, Vec::<String>::new(), "{end}");
    }
    assert_eq!(open_breaks(&system).await, Vec::<String>::new());
    assert_eq!(verified(&system).await, 0);
}

#[tokio::test]
async fn a_refund_under_way_while_a_dispute_opens_may_succeed_and_then_a_break_tells_of_both() {
    let mut system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    system.workers.iter_mut().for_each(tests::Process::kill9);
    let all = refund_id(&refund(&system.client, id, &key(), json!({ "amount": "8.00" })).await);
    dashboard(&system, "disputes", json!({ "charge": charge(&system, id).await, "amount": "12.30" })).await;
    reconcile(&system).await;

    assert_eq!(open_breaks(&system).await, [format!("over_refunded of {id}")]);
    assert_eq!(only(&system, id, "disputes").await["status"], "open");
    system.add_worker::<&str>([]).await;
    assert_eq!(at_rest(&system, &all).await["status"], "failed", "the gateway has nothing left to give back");
    assert_eq!(verified(&system).await, 3);
}

#[tokio::test]
async fn what_happens_at_the_gateway_is_not_clean_before_it_is_booked() {
    let system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    dashboard(&system, "returns", json!({ "charge": charge(&system, id).await, "amount": "1.00" })).await;

    let (code, report) = crate::verify::report(crate::verify::verify(&system, &[])).await;

    assert_eq!(code, 1, "{report}");
    let said = crate::verify::offences(&report);
    assert!(
        said.iter().any(|(check, _, says)| check == "refunds" && says.contains("is not booked")),
        "{said:?}"
    );
}
