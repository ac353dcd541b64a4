//! The promises about refunds, one test each.

use super::*;
use crate::decide;
use crate::faults::{Fate, Faults};
use crate::request::{ChargeRequest, Request};

/// A charge of 12.30 by one payment method, and its refunds.
struct Desk {
    state: KeyState,
    faults: Faults,
    calls: u32,
    given_back: Vec<String>,
}

impl Desk {
    fn charged(payment_method: &str) -> Desk {
        let mut desk = Desk {
            state: KeyState::unused("pay_1".to_owned()),
            faults: Faults::default(),
            calls: 0,
            given_back: Vec::new(),
        };
        desk.call(&Request::Charge(ChargeRequest {
            key: "pay_1".to_owned(),
            amount: "12.30".parse().unwrap(),
            currency: "EUR".to_owned(),
            payment_method: payment_method.to_owned(),
            reference: "pay_1".to_owned(),
            is_keyless: false,
        }));
        desk
    }

    fn refund(&mut self, key: &str, amount: &str) -> String {
        self.call(&Request::Refund(RefundRequest {
            key: key.to_owned(),
            charge_id: "ch_1".to_owned(),
            amount: amount.parse().unwrap(),
            currency: "EUR".to_owned(),
            reference: "re_1".to_owned(),
        }))
    }

    fn look_up(&mut self, key: &str) -> String {
        self.call(&Request::LookUpRefunds(key.to_owned()))
    }

    fn call(&mut self, request: &Request) -> String {
        self.calls += 1;
        let case = Case {
            now: DateTime::UNIX_EPOCH,
            charge_id: format!("ch_{}", self.calls),
            faults: &self.faults,
            fate: Fate::default(),
        };
        let Decision { reply, effects } = decide::decide(&mut self.state, request, &case);
        let moved = effects.iter().filter_map(|effect| match effect {
            Effect::Refunded(_, refund) => Some(refund.amount.to_string()),
            Effect::Voided(charge) => Some(format!("void {}", charge.amount)),
            Effect::Acted(_, act) => Some(format!("{} {}", act.status.as_str(), act.amount)),
            Effect::Charged(_) => None,
        });
        self.given_back.extend(moved);
        let shown = |refund: &Refund| format!("{} {}", refund.status.as_str(), refund.amount);
        match reply.answer() {
            None => "silence".to_owned(),
            Some(answer @ Answer::Refund(refund)) => format!("{} {}", answer.http_status(), shown(refund)),
            Some(Answer::Refunds(refunds)) => refunds.iter().map(shown).collect::<Vec<_>>().join(", "),
            Some(Answer::Refused(refusal)) => refusal.facts().1.to_owned(),
            Some(answer) => answer.http_status().to_string(),
        }
    }
}

#[test]
fn one_key_gives_back_once_and_a_charge_never_more_than_it_took() {
    let mut desk = Desk::charged("sim_ok");
    assert_eq!(desk.look_up("a"), "");
    assert_eq!(desk.refund("a", "5.00"), "201 succeeded 5.00");
    assert_eq!(desk.refund("a", "5.00"), "201 succeeded 5.00");
    assert_eq!(desk.refund("a", "5.01"), "key_reused");
    assert_eq!(desk.refund("b", "7.31"), "402 failed 7.31");
    // The refusal is stored under its key.
    assert_eq!(
        (desk.refund("b", "7.31"), desk.look_up("b")),
        ("402 failed 7.31".into(), "failed 7.31".into())
    );
    assert_eq!(desk.refund("c", "7.30"), "201 succeeded 7.30");
    assert_eq!(desk.look_up("a"), "succeeded 5.00");
    assert_eq!(desk.given_back, ["5.00", "7.30"]);
}

#[test]
fn what_is_left_of_a_charge_is_voided_and_nothing_is_given_back_after_that() {
    let mut desk = Desk::charged("sim_ok");
    desk.refund("a", "5.00");
    assert_eq!(desk.call(&Request::Void("pay_1".to_owned())), "201");
    assert_eq!(desk.refund("b", "1.00"), "402 failed 1.00");
    assert_eq!(desk.given_back, ["5.00", "void 7.30"]);
}

#[test]
fn each_payment_method_does_to_its_refunds_what_its_script_says() {
    for (method, answers, looked_up) in [
        (
            "sim_refund_timeout_done",
            ["silence", "201 succeeded 1.00", "201 succeeded 1.00"],
            "succeeded 1.00",
        ),
        (
            "sim_refund_timeout_not_done",
            ["silence", "201 succeeded 1.00", "201 succeeded 1.00"],
            "succeeded 1.00",
        ),
        ("sim_refund_503", ["not_executed", "not_executed", "201 succeeded 1.00"], "succeeded 1.00"),
        ("sim_refund_declined", ["402 failed 1.00"; 3], "failed 1.00"),
        ("sim_refund_doubt", ["silence"; 3], "silence"),
    ] {
        let mut desk = Desk::charged(method);
        let told = [(); 3].map(|()| desk.refund("a", "1.00"));
        assert_eq!((told, desk.look_up("a").as_str()), (answers.map(str::to_owned), looked_up), "{method}");
        assert_eq!(desk.given_back.len(), usize::from(method != "sim_refund_declined"), "{method}");
    }
}

#[test]
fn a_gateway_that_ignores_keys_gives_back_at_each_call() {
    let mut desk = Desk::charged("sim_ok");
    desk.faults.ignore_idempotency_keys = true;
    desk.refund("a", "1.00");
    desk.refund("a", "1.00");
    assert_eq!(desk.given_back, ["1.00", "1.00"]);
}
