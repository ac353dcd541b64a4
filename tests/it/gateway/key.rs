//! One key charges once.

use serde_json::json;

use super::caller::{Gateway, a_charge};

#[tokio::test]
async fn a_stored_answer_is_replayed_byte_for_byte() {
    let gateway = Gateway::start().await;

    for token in ["sim_ok", "sim_declined", "sim_async_ok"] {
        let first = gateway.charge(a_charge(token).method(token)).await;
        let second = gateway.charge(a_charge(token).method(token)).await;

        assert_eq!(second.answer().status, first.answer().status, "{token}");
        assert_eq!(second.answer().body, first.answer().body, "{token}");
    }
    assert_eq!(gateway.count("select count(*) from gateway_charges").await, 3);
}

#[tokio::test]
async fn a_stored_answer_outlives_the_process() {
    let mut gateway = Gateway::start().await;
    let charged = gateway.charge(a_charge("ok")).await;
    let declined = gateway.charge(a_charge("no").method("sim_declined")).await;
    let voided = gateway.void("gone").await;

    gateway.kill9_and_restart().await;

    assert_eq!(gateway.charge(a_charge("ok")).await.answer().body, charged.answer().body);
    assert_eq!(gateway.charge(a_charge("no").method("sim_declined")).await.words(), declined.words());
    assert_eq!(gateway.void("gone").await.answer().body, voided.answer().body);
    assert_eq!(gateway.charge(a_charge("gone")).await, "409 voided");
    assert_eq!(gateway.effects_of("ok").await, ["charged 12.30"]);
}

#[tokio::test]
async fn a_script_goes_on_where_the_killed_process_left_it() {
    let mut gateway = Gateway::start().await;
    let call = || a_charge("pay_1").method("sim_503");
    assert_eq!(gateway.charge(call()).await, "503 not_executed");

    gateway.kill9_and_restart().await;

    assert_eq!(gateway.charge(call()).await, "503 not_executed");
    assert_eq!(gateway.charge(call()).await, "201 succeeded 12.30");
}

#[tokio::test]
async fn a_charge_on_its_way_arrives_though_the_process_was_killed() {
    let mut gateway = Gateway::start().await;
    gateway.charge(a_charge("late").method("sim_late_arrival")).await;
    gateway.charge(a_charge("async").method("sim_async_ok")).await;

    gateway.kill9_and_restart().await;
    gateway.pass_time().await;

    assert_eq!(gateway.effects_of("late").await, ["charged 12.30"]);
    assert_eq!(gateway.effects_of("async").await, ["charged 12.30"]);
}

#[tokio::test]
async fn a_key_for_another_amount_or_currency_is_refused_and_charges_nothing() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;

    let other_amount = gateway.charge(a_charge("pay_1").amount("99.00")).await;
    let other_currency = gateway.charge(a_charge("pay_1").with("currency", json!("USD"))).await;

    assert_eq!(other_amount, "422 key_reused");
    assert_eq!(other_currency, "422 key_reused");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
    assert_eq!(gateway.charge(a_charge("pay_1")).await, "201 succeeded 12.30");
}

#[tokio::test]
async fn the_same_amount_written_otherwise_is_the_same_request() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1").amount("12.30")).await;

    assert_eq!(gateway.charge(a_charge("pay_1").amount("12.3")).await, "201 succeeded 12.30");
}

#[tokio::test]
async fn an_error_is_not_stored() {
    let gateway = Gateway::start().await;

    for (fault, error) in [
        ("not_executed_rate", "503 not_executed"),
        ("rate_429", "429 rate_limited"),
        ("error_5xx_rate", "500 internal"),
        ("network_error_rate", "reset"),
    ] {
        gateway.faults(json!({ fault: 1.0 })).await;
        let spoilt = gateway.charge(a_charge(fault)).await;
        gateway.faults(json!({})).await;

        assert_eq!(spoilt, error);
        assert_eq!(gateway.charge(a_charge(fault)).await, "201 succeeded 12.30", "{fault}");
        assert_eq!(gateway.effects_of(fault).await, ["charged 12.30"], "{fault}");
    }
}

#[tokio::test]
async fn a_key_refused_for_its_method_is_free_for_another_request() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1").method("sim_unheard_of")).await;

    assert_eq!(gateway.charge(a_charge("pay_1").amount("5.00")).await, "201 succeeded 5.00");
}

#[tokio::test]
async fn concurrent_calls_under_one_key_charge_once() {
    let gateway = Gateway::start().await;

    let calls = (0..16).map(|_| gateway.charge(a_charge("pay_1")));
    let told = futures::future::join_all(calls).await;

    let ids: Vec<String> = told.iter().map(|told| told.id()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
}

#[tokio::test]
async fn a_charge_is_found_by_its_key_and_by_its_id() {
    let gateway = Gateway::start().await;
    let charged = gateway.charge(a_charge("pay_1")).await;
    let by_id = |id: &str| gateway.call(gateway.request(reqwest::Method::GET, &format!("/charges/{id}")));

    let charge = charged.answer().json();
    assert_eq!(gateway.look_up("pay_1").await.answer().json()["data"], json!([charge]));
    assert_eq!(by_id(&charged.id()).await.answer().json(), charge);
    assert_eq!(by_id("ch_unknown").await, "404 not_found");
    assert_eq!(gateway.look_up("pay_2").await, "200 []");
}

#[tokio::test]
async fn a_charge_says_what_it_is() {
    let gateway = Gateway::start().await;

    let charge = gateway.charge(a_charge("pay_1")).await.answer().json();

    assert!(charge["id"].as_str().is_some_and(|id| id.starts_with("ch_")), "{charge}");
    assert!(charge["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{charge}");
    let rest = ["key", "status", "amount", "currency", "reference"].map(|field| charge[field].clone());
    assert_eq!(rest, ["pay_1", "succeeded", "12.30", "EUR", "pay_1"]);
}

#[tokio::test]
async fn a_key_is_not_a_reference_and_a_repeat_may_call_it_otherwise() {
    let gateway = Gateway::start().await;
    let call = |reference: &str| a_charge("pk1_1").with("reference", json!(reference));

    let first = gateway.charge(call("pay_1")).await;
    let again = gateway.charge(call("pay_2")).await;
    let other_method = gateway.charge(call("pay_1").method("sim_slow")).await;

    assert_eq!(again.answer().body, first.answer().body);
    assert_eq!(other_method, "422 key_reused");
    let charge = gateway.look_up("pk1_1").await.answer().json()["data"][0].clone();
    assert_eq!((&charge["key"], &charge["reference"]), (&json!("pk1_1"), &json!("pay_1")));
    gateway.void("pk1_1").await;
    let moved: Vec<_> = gateway.journal().await.into_iter().filter(|row| !row["amount"].is_null()).collect();
    let named = |kind: &str| moved.iter().find(|row| row["kind"] == kind).map(|row| row["reference"].clone());
    assert_eq!((named("charge"), named("void")), (Some(json!("pay_1")), Some(json!("pay_1"))));
}
