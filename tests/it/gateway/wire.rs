//! Connections that end without an answer, or late.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Exit, wait_until};

use super::caller::{Gateway, HOUR_MS, a_charge};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_reset_is_a_reset_and_not_a_close() {
    let gateway = Gateway::start().await;

    // The caller tells the two apart by what the operating system reports.
    assert_eq!(gateway.charge(a_charge("pay_1").method("sim_reset_before")).await, "reset");
    assert_eq!(gateway.charge(a_charge("pay_2").method("sim_reset_after")).await, "reset");
    gateway.faults(json!({ "network_error_rate": 1.0 })).await;
    assert_eq!(gateway.charge(a_charge("pay_3")).await, "reset");
    gateway.faults(json!({ "lost_response_rate": 1.0 })).await;
    assert_eq!(gateway.charge(a_charge("pay_4")).await, "closed");
}

#[tokio::test]
async fn a_lost_response_has_charged_and_a_network_error_has_not() {
    let gateway = Gateway::start().await;

    gateway.faults(json!({ "lost_response_rate": 1.0 })).await;
    gateway.charge(a_charge("lost")).await;
    gateway.faults(json!({ "network_error_rate": 1.0 })).await;
    gateway.charge(a_charge("never")).await;

    assert_eq!(gateway.journal_of("lost").await, ["request charge", "charge charge", "answer charge"]);
    assert_eq!(gateway.journal_of("never").await, ["request charge", "answer charge"]);
}

#[tokio::test]
async fn no_answer_means_silence_for_its_time_and_then_a_close() {
    let gateway = Gateway::start().await;

    gateway.faults(json!({ "timeout_delay_ms": HOUR_MS })).await;
    let silent = gateway.charge(a_charge("pay_1").method("sim_timeout_charged").patience(SHORT)).await;
    gateway.faults(json!({ "timeout_delay_ms": 300 })).await;
    let asked = Instant::now();
    let closed = gateway.charge(a_charge("pay_2").method("sim_timeout_charged")).await;

    assert_eq!(silent, "silence");
    assert_eq!(closed, "closed");
    assert!(asked.elapsed() >= SHORT, "closed after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_slow_answer_comes_late_but_what_it_says_is_there_at_once() {
    let gateway = Gateway::start().await;

    gateway.faults(json!({ "slow_token_ms": HOUR_MS })).await;
    tokio::select! {
        told = gateway.charge(a_charge("pay_1").method("sim_slow")) => panic!("it was told {told:?} too early"),
        () = wait_until("the charge", async || gateway.look_up("pay_1").await == "200 [succeeded 12.30]") => {}
    }
    assert_eq!(gateway.charge(a_charge("pay_1").method("sim_slow")).await, "201 succeeded 12.30");

    for (faults, token) in
        [(json!({ "slow_token_ms": 300 }), "sim_slow"), (json!({ "slow_ms": 300 }), "sim_ok")]
    {
        gateway.faults(faults).await;
        let asked = Instant::now();
        assert_eq!(gateway.charge(a_charge(token).method(token)).await, "201 succeeded 12.30");
        assert!(asked.elapsed() >= SHORT, "{token} answered after {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back() {
    let gateway = Gateway::start().await;

    let refused = gateway.charge(a_charge("pay_1").method("sim_429")).await;

    assert_eq!(refused.answer().header("retry-after"), "1");
}

#[tokio::test]
async fn a_call_that_gets_no_answer_does_not_hold_up_the_end() {
    let mut gateway = Gateway::start().await;
    gateway.faults(json!({ "timeout_delay_ms": HOUR_MS })).await;
    let url = format!("{}/charges", gateway.base());
    let body =
        json!({ "amount": "1.00", "currency": "EUR", "payment_method": "sim_doubt", "reference": "pay_1" });
    let call = reqwest::Client::new().post(url).header("idempotency-key", "pay_1").json(&body);
    let hanging = tokio::spawn(call.send());
    wait_until("the call to be taken up", async || !gateway.journal_of("pay_1").await.is_empty()).await;

    gateway.process.terminate();

    assert_eq!(gateway.process.wait_exit().await, Exit::Code(0));
    let said = gateway.process.stderr();
    assert!(!said.contains("leaving connections that do not end"), "the call was waited for: {said}");
    assert!(hanging.await.unwrap().is_err());
}
