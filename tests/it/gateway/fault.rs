//! Misfortune by chance, and promises broken on purpose.

use serde_json::{Value, json};
use tests::TestDatabase;

use super::caller::{Gateway, a_charge, a_gateway};

#[tokio::test]
async fn a_gateway_starts_without_faults() {
    let database = TestDatabase::fresh_empty().await;
    let gateway = a_gateway(&database).start().await;

    let url = format!("{}/faults", gateway.address("gateway"));
    let faults: Value = reqwest::get(url).await.unwrap().json().await.unwrap();

    let delays = ["async_delay_ms", "late_arrival_ms", "slow_token_ms"].map(|name| faults[name].clone());
    assert_eq!(delays, [2_000, 3_000, 2_000]);
    for (name, value) in faults.as_object().unwrap() {
        let is_off = *value == json!(0.0) || *value == json!(0) || *value == json!(false) || value.is_null();
        assert!(is_off || name.ends_with("_ms"), "{name} is {value}");
    }
}

#[tokio::test]
async fn the_same_seed_makes_the_same_misfortunes() {
    let gateway = Gateway::start().await;

    let first = misfortunes(&gateway, 7, "first").await;
    let again = misfortunes(&gateway, 7, "again").await;
    let other = misfortunes(&gateway, 8, "other").await;

    assert_eq!(again, first);
    assert_ne!(other, first);
    for kind in
        ["201 succeeded 12.30", "201 succeeded 13.30", "429 rate_limited", "500 internal", "reset", "closed"]
    {
        assert!(first.iter().any(|told| told.starts_with(kind)), "no {kind} among {first:?}");
    }
}

/// What forty calls get, and what they do to money.
async fn misfortunes(gateway: &Gateway, seed: u64, name: &str) -> Vec<String> {
    let rates = ["network_error_rate", "rate_429", "error_5xx_rate", "timeout_rate", "lost_response_rate"];
    let mut faults = json!({ "seed": seed, "duplicate_rate": 0.3, "wrong_amount_rate": 0.3 });
    for rate in rates {
        faults[rate] = json!(0.15);
    }
    gateway.faults(faults).await;
    let mut told = Vec::new();
    for n in 0..40 {
        let key = format!("{name}_{n}");
        let words = gateway.charge(a_charge(&key)).await.words().to_owned();
        told.push(format!("{words}, {}", gateway.effects_of(&key).await.join(", ")));
    }
    told
}

#[tokio::test]
async fn faults_that_are_not_right_are_refused_and_change_nothing() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "seed": 7, "timeout_rate": 0.5, "slow_ms": 5 })).await;
    let faults = || gateway.call(gateway.request(reqwest::Method::GET, "/faults"));
    let before = faults().await;

    for wrong in [
        r#"{"timeout_rates": 0.1}"#,
        r#"{"timeout_rate": 2.0}"#,
        r#"{"timeout_rate": -0.1}"#,
        r#"{"timeout_rate": "0.1"}"#,
        r#"{"slow_ms": -1}"#,
        r#"{"slow_ms": 1.5}"#,
        r#"{"ignore_idempotency_keys": 1}"#,
        r#"{"slow_ms": 1"#,
        "[]",
        "",
    ] {
        let put = gateway.request(reqwest::Method::PUT, "/faults").body(wrong);
        assert_eq!(gateway.call(put).await, "400 invalid_request", "{wrong}");
    }

    assert_eq!(faults().await.answer().body, before.answer().body);
    assert_eq!(before.answer().json()["timeout_rate"], 0.5);
}

#[tokio::test]
async fn a_call_processed_twice_charges_once() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "duplicate_rate": 1.0 })).await;

    assert_eq!(gateway.charge(a_charge("pay_1")).await, "201 succeeded 12.30");
    assert_eq!(gateway.charge(a_charge("no").method("sim_declined")).await, "402 card_declined failed 12.30");

    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
    assert_eq!(gateway.look_up("no").await, "200 [failed 12.30]");
}

#[tokio::test]
async fn a_call_processed_twice_goes_through_its_key_twice() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "duplicate_rate": 1.0, "ignore_idempotency_keys": true })).await;

    gateway.charge(a_charge("pay_1")).await;

    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"; 2]);
}

#[tokio::test]
async fn a_gateway_that_ignores_keys_really_charges_twice() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "ignore_idempotency_keys": true })).await;

    let first = gateway.charge(a_charge("pay_1")).await;
    let second = gateway.charge(a_charge("pay_1")).await;
    let third = gateway.charge(a_charge("pay_1").amount("5.00")).await;

    assert_ne!(first.id(), second.id());
    assert_eq!(third, "201 succeeded 5.00");
    assert_eq!(gateway.look_up("pay_1").await, "200 [succeeded 12.30, succeeded 12.30, succeeded 5.00]");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30", "charged 12.30", "charged 5.00"]);
}

#[tokio::test]
async fn a_void_undoes_all_that_ignored_keys_charged() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "ignore_idempotency_keys": true })).await;
    gateway.charge(a_charge("pay_1")).await;
    gateway.charge(a_charge("pay_1")).await;

    gateway.void("pay_1").await;

    assert_eq!(gateway.look_up("pay_1").await, "200 [voided 12.30, voided 12.30]");
    assert_eq!(gateway.charge(a_charge("pay_1")).await, "409 voided");
}

#[tokio::test]
async fn an_unsupported_lookup_or_void_says_so_and_does_nothing() {
    let gateway = Gateway::start().await;
    let charged = gateway.charge(a_charge("pay_1")).await;
    let by_id = gateway.request(reqwest::Method::GET, &format!("/charges/{}", charged.id()));

    gateway.faults(json!({ "lookup_unsupported": true, "void_unsupported": true })).await;

    assert_eq!(gateway.look_up("pay_1").await, "501 lookup_unsupported");
    assert_eq!(gateway.call(by_id).await, "501 lookup_unsupported");
    assert_eq!(gateway.void("pay_1").await, "501 void_unsupported");
    gateway.faults(json!({})).await;
    assert_eq!(gateway.look_up("pay_1").await, "200 [succeeded 12.30]");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
}

#[tokio::test]
async fn a_lookup_can_fail_by_chance_and_a_charge_be_wrong() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "lookup_error_rate": 1.0, "wrong_amount_rate": 1.0 })).await;

    assert_eq!(gateway.charge(a_charge("pay_1")).await, "201 succeeded 13.30");
    assert_eq!(gateway.look_up("pay_1").await, "500 internal");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 13.30"]);
}
