//! Charges that take effect later than the call.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::wait_until;

use super::caller::{Gateway, a_charge};

#[tokio::test]
async fn a_late_charge_arrives_once() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1").method("sim_late_arrival")).await;
    assert_eq!(gateway.look_up("pay_1").await, "200 []");

    gateway.pass_time().await;
    gateway.charge(a_charge("pay_2").method("sim_late_arrival")).await;
    gateway.pass_time().await;

    assert_eq!(gateway.look_up("pay_1").await, "200 [succeeded 12.30]");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
}

#[tokio::test]
async fn a_key_charged_again_before_its_late_charge_arrives_is_charged_once() {
    let gateway = Gateway::start().await;
    let call = || a_charge("pay_1").method("sim_late_arrival");
    gateway.charge(call()).await;

    let again = gateway.charge(call()).await;
    gateway.charge(a_charge("pay_2").method("sim_late_arrival")).await;
    gateway.pass_time().await;

    assert_eq!(again, "201 succeeded 12.30");
    assert_eq!(gateway.effects_of("pay_2").await, ["charged 12.30"], "its time has come");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
    assert_eq!(gateway.charge(call()).await.answer().body, again.answer().body);
}

#[tokio::test]
async fn a_void_after_a_late_charge_arrived_undoes_it() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1").method("sim_late_arrival")).await;
    gateway.pass_time().await;

    gateway.void("pay_1").await;

    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30", "voided 12.30"]);
}

#[tokio::test]
async fn an_undecided_charge_takes_effect_after_its_delay_and_without_a_call() {
    let gateway = Gateway::start().await;
    gateway.faults(json!({ "late_arrival_ms": 300, "async_delay_ms": 300 })).await;

    gateway.charge(a_charge("late").method("sim_late_arrival")).await;
    gateway.charge(a_charge("async").method("sim_async_ok")).await;

    for key in ["late", "async"] {
        wait_until(format!("{key} to be charged"), async || !gateway.effects_of(key).await.is_empty()).await;
        let journal = gateway.journal().await;
        let at = |kind: &str| time_of(journal.iter().find(|row| row["key"] == key && row["kind"] == kind));
        let delay = (at("charge") - at("request")).to_std().unwrap();
        assert!(delay >= Duration::from_millis(300), "{key} was charged after {delay:?}");
        assert!(!gateway.journal_of(key).await.contains(&"request lookup".to_owned()));
    }
}

fn time_of(row: Option<&Value>) -> DateTime<Utc> {
    row.and_then(|row| row["at"].as_str()?.parse().ok()).unwrap_or_default()
}
