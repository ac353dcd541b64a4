//! Undoing a charge, or closing a key before there is one.

use super::caller::{Gateway, a_charge};

#[tokio::test]
async fn a_void_undoes_the_charge_of_its_key() {
    let gateway = Gateway::start().await;
    let charged = gateway.charge(a_charge("pay_1")).await;

    let voided = gateway.void("pay_1").await;

    assert_eq!(voided, "201 voided its charge");
    assert_eq!(voided.answer().json()["charge_id"], charged.id());
    assert_eq!(gateway.look_up("pay_1").await, "200 [voided 12.30]");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30", "voided 12.30"]);
}

#[tokio::test]
async fn a_void_said_again_answers_the_same_and_undoes_nothing_more() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;
    let first = gateway.void("pay_1").await;

    let again = futures::future::join_all((0..5).map(|_| gateway.void("pay_1"))).await;

    assert!(again.iter().all(|told| told.answer().body == first.answer().body), "{again:?}");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30", "voided 12.30"]);
}

#[tokio::test]
async fn a_voided_key_is_never_charged_again() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;
    gateway.void("pay_1").await;

    assert_eq!(gateway.charge(a_charge("pay_1")).await, "409 voided");
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30", "voided 12.30"]);
}

#[tokio::test]
async fn a_void_of_an_unknown_key_closes_it() {
    let gateway = Gateway::start().await;

    assert_eq!(gateway.void("pay_1").await, "201 voided nothing");

    assert_eq!(gateway.charge(a_charge("pay_1")).await, "409 voided");
    assert_eq!(gateway.look_up("pay_1").await, "200 []");
    let rows = ["request void", "answer void 201", "request charge", "answer charge 409"];
    assert_eq!(gateway.journal_of("pay_1").await[..4], rows);
    assert_eq!(gateway.effects_of("pay_1").await, [""; 0]);
}

#[tokio::test]
async fn a_void_of_a_declined_charge_undoes_nothing() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1").method("sim_declined")).await;

    assert_eq!(gateway.void("pay_1").await, "201 voided nothing");
    assert_eq!(gateway.look_up("pay_1").await, "200 [failed 12.30]");
    assert_eq!(gateway.effects_of("pay_1").await, [""; 0]);
}

#[tokio::test]
async fn what_was_voided_before_it_took_effect_never_does() {
    let gateway = Gateway::start().await;
    for token in ["sim_late_arrival", "sim_async_ok"] {
        let voided = format!("voided_{token}");
        gateway.charge(a_charge(&voided).method(token)).await;
        gateway.void(&voided).await;
        gateway.charge(a_charge(token).method(token)).await;
    }

    gateway.pass_time().await;

    for token in ["sim_late_arrival", "sim_async_ok"] {
        // The other charge, whose time came at the same moment, shows that it has come.
        assert_eq!(gateway.effects_of(token).await, ["charged 12.30"]);
        let voided = format!("voided_{token}");
        assert_eq!(gateway.effects_of(&voided).await, [""; 0]);
        assert_eq!(gateway.charge(a_charge(&voided).method(token)).await, "409 voided");
    }
    assert_eq!(gateway.look_up("voided_sim_late_arrival").await, "200 []");
    assert_eq!(gateway.look_up("voided_sim_async_ok").await, "200 [voided 12.30]");
}

#[tokio::test]
async fn a_void_racing_with_its_charge_leaves_nothing_standing() {
    let gateway = Gateway::start().await;
    let keys: Vec<String> = (0..20).map(|n| format!("pay_{n}")).collect();

    let races = keys.iter().map(async |key| tokio::join!(gateway.charge(a_charge(key)), gateway.void(key)));
    let told = futures::future::join_all(races).await;

    for (key, (charged, voided)) in keys.iter().zip(told) {
        let effects = gateway.effects_of(key).await;
        match charged.words() {
            "201 succeeded 12.30" => {
                assert_eq!(voided, "201 voided its charge");
                assert_eq!(effects, ["charged 12.30", "voided 12.30"]);
            }
            _ => {
                assert_eq!(charged, "409 voided");
                assert_eq!(voided, "201 voided nothing");
                assert_eq!(effects, [""; 0]);
            }
        }
    }
}
