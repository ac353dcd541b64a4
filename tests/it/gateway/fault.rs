//! Misfortune by chance, and promises broken on purpose.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Exit, TestDatabase};

use super::caller::{Gateway, a_charge, a_gateway, effects};

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

/// The outcomes of forty calls, and their effects on money.
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
async fn the_documentation_explains_exactly_the_faults_that_there_are() {
    let gateway = Gateway::start().await;
    let faults = gateway.call(gateway.request(reqwest::Method::GET, "/faults")).await.answer().json();
    let there_are: BTreeSet<&str> = faults.as_object().unwrap().keys().map(String::as_str).collect();

    let documentation = include_str!("../../../docs/GATEWAY.md");
    let explained: BTreeSet<&str> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | ").map(|(name, _)| name))
        .collect();

    assert_eq!(explained, there_are, "left: docs/GATEWAY.md, right: the gateway");
}

/// How a call looks that a switch has struck.
struct Face {
    switch: &'static str,
    /// The outcome for the caller.
    told: &'static str,
    /// Whether it was charged. None where either may be.
    is_charged: Option<bool>,
}

/// The number of calls for each rate.
const CALLS: usize = 60;

/// The numbers of those calls that this switch strikes at this rate. All others are charged and answered.
async fn struck(gateway: &Gateway, face: &Face, rate: f64, (seed, name): (u64, &str)) -> BTreeSet<usize> {
    let mut faults = json!({ "seed": seed });
    faults[face.switch] = json!(rate);
    gateway.faults(faults).await;
    let key = |n: usize| format!("{}_{name}_{n}", face.switch);
    let mut struck = BTreeSet::new();
    for n in 0..CALLS {
        let told = gateway.charge(a_charge(&key(n))).await;
        if told == face.told {
            struck.insert(n);
        } else {
            assert_eq!(told, "201 succeeded 12.30", "{}, call {n}", face.switch);
        }
    }
    let journal = gateway.journal().await;
    for n in 0..CALLS {
        let charged = effects(journal.iter().filter(|row| row["key"] == key(n).as_str()));
        let is_charged = if struck.contains(&n) { face.is_charged } else { Some(true) };
        let expected = is_charged.map(|is_charged| if is_charged { &["charged 12.30"][..] } else { &[] });
        assert!(
            expected.is_none_or(|expected| charged == expected),
            "{}, call {n}: {charged:?}",
            face.switch
        );
    }
    struck
}

#[tokio::test]
async fn each_switch_strikes_its_share_of_calls_in_its_own_way_and_the_same_ones_for_the_same_seed() {
    let gateway = Gateway::start().await;
    let timeout = Face { switch: "timeout_rate", told: "closed", is_charged: None };
    let partial_failure = Face { switch: "lost_response_rate", told: "closed", is_charged: Some(true) };
    let network_error = Face { switch: "network_error_rate", told: "reset", is_charged: Some(false) };

    for (face, rate) in [(timeout, 0.1), (partial_failure, 0.1), (network_error, 0.05)] {
        let first = struck(&gateway, &face, rate, (7, "first")).await;
        assert!((1..CALLS / 3).contains(&first.len()), "{} at {rate} struck {first:?}", face.switch);
        assert_eq!(struck(&gateway, &face, rate, (7, "again")).await, first, "{}", face.switch);
        assert_ne!(struck(&gateway, &face, rate, (8, "other")).await, first, "{}", face.switch);
        let always = struck(&gateway, &face, 1.0, (7, "always")).await;
        assert_eq!(always.len(), CALLS, "{}", face.switch);
        let never = struck(&gateway, &face, 0.0, (7, "never")).await;
        assert!(never.is_empty(), "{}: {never:?}", face.switch);
    }
}

#[tokio::test]
async fn a_crash_keeps_what_the_journal_has_and_the_next_process_repeats_it() {
    let mut gateway = Gateway::start().await;
    gateway.charge(a_charge("earlier")).await;
    let earlier = ["request charge", "charge charge", "answer charge 201"];

    for (moment, kept) in [("before", &[][..]), ("after", &earlier)] {
        gateway.faults(json!({ "crash": moment })).await;
        let told = gateway.charge(a_charge(moment)).await;
        assert_eq!(gateway.process.wait_exit().await, Exit::Signal(9), "{moment}");
        assert!(["closed", "reset"].contains(&told.words()), "{moment}: {told:?}");

        gateway.kill9_and_restart().await;

        assert_eq!(gateway.journal_of("earlier").await, earlier, "{moment}");
        assert_eq!(gateway.journal_of(moment).await, kept, "{moment}");
        let stored =
            gateway.journal().await.into_iter().find(|row| row["key"] == moment && row["kind"] == "charge");
        let again = gateway.charge(a_charge(moment)).await;
        assert_eq!(again, "201 succeeded 12.30", "{moment}");
        assert!(stored.is_none_or(|stored| stored["charge_id"] == again.id()), "{moment}: another charge");
        assert_eq!(gateway.effects_of(moment).await, ["charged 12.30"], "{moment}");
    }
}

#[tokio::test]
async fn a_crash_may_come_with_a_lookup_or_a_void_too() {
    let mut gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;

    gateway.faults(json!({ "crash": "before" })).await;
    gateway.look_up("pay_1").await;
    assert_eq!(gateway.process.wait_exit().await, Exit::Signal(9));
    gateway.kill9_and_restart().await;
    gateway.faults(json!({ "crash": "after" })).await;
    gateway.void("pay_1").await;
    assert_eq!(gateway.process.wait_exit().await, Exit::Signal(9));
    gateway.kill9_and_restart().await;

    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30", "voided 12.30"]);
    assert!(!gateway.journal_of("pay_1").await.contains(&"request lookup".to_owned()));
    assert_eq!(gateway.void("pay_1").await, "201 voided its charge");
}

/// Charges until chance ends the process. Answers how many calls were answered, and whether the last one
/// was charged.
async fn lived(gateway: &mut Gateway, seed: u64, name: &str) -> (usize, bool) {
    gateway.faults(json!({ "seed": seed, "crash_rate": 0.1 })).await;
    let key = |n: usize| format!("{name}_{n}");
    let mut answered = 0;
    while gateway.charge(a_charge(&key(answered))).await == "201 succeeded 12.30" {
        answered += 1;
    }
    assert_eq!(gateway.process.wait_exit().await, Exit::Signal(9));
    gateway.kill9_and_restart().await;
    let journal = gateway.journal().await;
    let charged =
        |n| effects(journal.iter().filter(|row| row["key"] == key(n).as_str())) == ["charged 12.30"];
    assert!((0..answered).all(charged), "an answer left that is not in the journal");
    (answered, charged(answered))
}

#[tokio::test]
async fn chance_ends_the_process_in_the_same_call_and_at_the_same_moment_for_the_same_seed() {
    let mut gateway = Gateway::start().await;
    let mut ends = BTreeSet::new();
    for seed in 1..=6 {
        let first = lived(&mut gateway, seed, &format!("first_{seed}")).await;
        assert_eq!(lived(&mut gateway, seed, &format!("again_{seed}")).await, first, "seed {seed}");
        ends.insert(first);
    }

    let moments: BTreeSet<bool> = ends.iter().map(|(_, is_charged)| *is_charged).collect();
    assert!(ends.len() > 2 && moments.len() == 2, "{ends:?}");
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
        r#"{"crash_rate": 1.01}"#,
        r#"{"crash": "sometimes"}"#,
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
