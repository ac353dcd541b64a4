//! The promises of the gateway, one test each. Time is a number of milliseconds that the test chooses.

use super::*;

/// A key under test, and the circumstances of its calls.
struct Desk {
    state: KeyState,
    now_ms: i64,
    faults: Faults,
    fate: Fate,
    effects: Vec<&'static str>,
    charges_made: u32,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            state: KeyState::unused("pay_1".to_owned()),
            now_ms: 0,
            faults: Faults::default(),
            fate: Fate::default(),
            effects: Vec::new(),
            charges_made: 0,
        }
    }

    fn at(mut self, now_ms: i64) -> Desk {
        self.now_ms = now_ms;
        self
    }

    fn charge(&mut self, payment_method: &str) -> String {
        self.charge_amount(payment_method, "12.30")
    }

    fn charge_amount(&mut self, payment_method: &str, amount: &str) -> String {
        self.call(&Request::Charge(ChargeRequest {
            key: "pay_1".to_owned(),
            amount: amount.parse().unwrap(),
            currency: "EUR".to_owned(),
            payment_method: payment_method.to_owned(),
            reference: "pay_1".to_owned(),
            is_keyless: false,
        }))
    }

    fn look_up(&mut self) -> String {
        self.call(&Request::LookUpKey("pay_1".to_owned()))
    }

    fn void(&mut self) -> String {
        self.call(&Request::Void("pay_1".to_owned()))
    }

    fn call(&mut self, request: &Request) -> String {
        let now = DateTime::from_timestamp_millis(self.now_ms).unwrap();
        self.charges_made += 1;
        let charge_id = format!("ch_{}", self.charges_made);
        let mut effects = settle_due(&mut self.state, now);
        let case = Case { now, charge_id, faults: &self.faults, fate: self.fate };
        let decision = decide(&mut self.state, request, &case);
        effects.extend(decision.effects);
        self.effects.extend(effects.iter().map(|effect| match effect {
            Effect::Charged(_) => "charge",
            Effect::Voided(_) => "void",
            Effect::Refunded(..) => "refund",
            Effect::Acted(..) => "act",
        }));
        shown(&decision.reply)
    }
}

/// A reply in short: `201 succeeded 12.30`, `[succeeded 12.30]`, `409 voided`, `silence`.
fn shown(reply: &Reply) -> String {
    let charge_shown = |charge: &Charge| format!("{} {}", charge.status.as_str(), charge.amount);
    let answer_shown = |answer: &Answer| match answer {
        Answer::Charge(charge) => format!("{} {}", answer.http_status(), charge_shown(charge)),
        Answer::Found(charge) => charge_shown(charge),
        Answer::Charges(charges) => {
            format!("[{}]", charges.iter().map(charge_shown).collect::<Vec<_>>().join(", "))
        }
        Answer::Refund(_) | Answer::Refunds(_) | Answer::Act(_) => {
            unreachable!("these have tests of their own")
        }
        Answer::Voided { charge_id, .. } => {
            format!("201 voided {}", charge_id.as_deref().unwrap_or("nothing"))
        }
        Answer::Refused(refusal) => format!("{} {}", refusal.facts().0, refusal.facts().1),
    };
    match reply {
        Reply::Answer(answer) => answer_shown(answer),
        Reply::LateAnswer(answer) => format!("late {}", answer_shown(answer)),
        Reply::None(Failure::Silence) => "silence".to_owned(),
        Reply::None(Failure::HangUp) => "hang up".to_owned(),
        Reply::None(Failure::Reset) => "reset".to_owned(),
    }
}

/// Each token: its name, the replies to four charge calls, what a lookup then says, and how many took effect.
const SCRIPTS: [(&str, [&str; 4], &str, usize); 29] = [
    ("sim_ok", [OK; 4], LISTED, 1),
    ("pm_card_visa", [OK; 4], LISTED, 1),
    ("tok_1", [OK; 4], LISTED, 1),
    ("sim_slow", ["late 201 succeeded 12.30", OK, OK, OK], LISTED, 1),
    ("sim_declined", ["402 failed 12.30"; 4], "[failed 12.30]", 0),
    ("sim_insufficient_funds", ["402 failed 12.30"; 4], "[failed 12.30]", 0),
    ("sim_invalid", ["400 invalid_payment_method"; 4], "[]", 0),
    ("sim_unheard_of", ["400 invalid_payment_method"; 4], "[]", 0),
    ("sim_503", ["503 not_executed", "503 not_executed", OK, OK], LISTED, 1),
    ("sim_503_always", ["503 not_executed"; 4], "[]", 0),
    ("sim_429", ["429 rate_limited", "429 rate_limited", OK, OK], LISTED, 1),
    ("sim_500_charged", ["500 internal", OK, OK, OK], LISTED, 1),
    ("sim_500_not_charged", ["500 internal", OK, OK, OK], LISTED, 1),
    ("sim_timeout_charged", ["silence", OK, OK, OK], LISTED, 1),
    ("sim_timeout_not_charged", ["silence", OK, OK, OK], LISTED, 1),
    ("sim_reset_before", ["reset", OK, OK, OK], LISTED, 1),
    ("sim_reset_after", ["reset", OK, OK, OK], LISTED, 1),
    ("sim_late_arrival", ["silence", OK, OK, OK], LISTED, 1),
    ("sim_async_ok", ["202 pending 12.30"; 4], "[pending 12.30]", 0),
    ("sim_async_fail", ["202 pending 12.30"; 4], "[pending 12.30]", 0),
    ("sim_lookup_down", ["silence", OK, OK, OK], "500 internal", 1),
    ("sim_doubt", ["silence"; 4], "silence", 1),
    ("sim_wrong_amount", ["201 succeeded 13.30"; 4], "[succeeded 13.30]", 1),
    ("sim_flip_flop", [OK; 4], "[failed 12.30]", 1),
    ("sim_refund_timeout_done", [OK; 4], LISTED, 1),
    ("sim_refund_timeout_not_done", [OK; 4], LISTED, 1),
    ("sim_refund_503", [OK; 4], LISTED, 1),
    ("sim_refund_declined", [OK; 4], LISTED, 1),
    ("sim_refund_doubt", [OK; 4], LISTED, 1),
];
const OK: &str = "201 succeeded 12.30";
const LISTED: &str = "[succeeded 12.30]";

#[test]
fn every_token_keeps_to_its_script() {
    for (token, calls, lookup, effects) in SCRIPTS {
        let mut desk = Desk::new();

        let got = [(); 4].map(|()| desk.charge(token));

        assert_eq!(got, calls, "{token}");
        assert_eq!(desk.look_up(), lookup, "{token}");
        assert_eq!(desk.effects.len(), effects, "{token}");
    }
}

#[test]
fn every_token_has_a_script() {
    for token in token::TOKENS {
        assert!(SCRIPTS.iter().any(|(name, ..)| *name == token.name), "{}", token.name);
    }
}

#[test]
fn what_the_first_call_did_shows_in_lookups() {
    for (token, lookup) in [
        ("sim_500_charged", "[succeeded 12.30]"),
        ("sim_500_not_charged", "[]"),
        ("sim_timeout_charged", "[succeeded 12.30]"),
        ("sim_timeout_not_charged", "[]"),
        ("sim_reset_after", "[succeeded 12.30]"),
        ("sim_reset_before", "[]"),
        ("sim_late_arrival", "[]"),
    ] {
        let mut desk = Desk::new();

        desk.charge(token);

        assert_eq!(desk.look_up(), lookup, "{token}");
    }
}

#[test]
fn a_key_used_for_another_request_is_refused_and_charges_nothing() {
    let mut desk = Desk::new();
    desk.charge_amount("sim_ok", "12.30");

    assert_eq!(desk.charge_amount("sim_ok", "12.31"), "422 key_reused");
    assert_eq!(desk.charge_amount("sim_ok", "12.300"), "201 succeeded 12.30");
    assert_eq!(desk.effects, ["charge"]);
}

#[test]
fn a_void_undoes_the_charge_once_and_closes_the_key() {
    let mut desk = Desk::new();
    desk.charge("sim_ok");

    assert_eq!(desk.void(), "201 voided ch_1");
    assert_eq!(desk.void(), "201 voided ch_1");
    assert_eq!(desk.charge("sim_ok"), "409 voided");
    assert_eq!(desk.charge_amount("sim_ok", "99"), "409 voided");
    assert_eq!(desk.look_up(), "[voided 12.30]");
    assert_eq!(desk.effects, ["charge", "void"]);
}

#[test]
fn a_void_of_nothing_closes_the_key() {
    for first in [None, Some("sim_declined"), Some("sim_503"), Some("sim_timeout_not_charged")] {
        let mut desk = Desk::new();
        first.map(|token| desk.charge(token));

        assert_eq!(desk.void(), "201 voided nothing", "{first:?}");
        assert_eq!(desk.charge("sim_ok"), "409 voided", "{first:?}");
        assert!(desk.effects.is_empty(), "{first:?}");
    }
}

#[test]
fn a_void_answers_where_lookups_are_silent() {
    let mut desk = Desk::new();
    desk.charge("sim_doubt");

    assert_eq!(desk.void(), "201 voided ch_1");
    assert_eq!(desk.look_up(), "silence");
    assert_eq!(desk.effects, ["charge", "void"]);
}

#[test]
fn an_async_charge_is_decided_when_its_time_has_come() {
    for (token, replayed, lookup, effects) in [
        ("sim_async_ok", "201 succeeded 12.30", "[succeeded 12.30]", &["charge"][..]),
        ("sim_async_fail", "402 failed 12.30", "[failed 12.30]", &[]),
    ] {
        let mut desk = Desk::new();
        desk.charge(token);

        desk = desk.at(1_999);
        assert_eq!(desk.look_up(), "[pending 12.30]", "{token}");
        desk = desk.at(2_000);
        assert_eq!(desk.look_up(), lookup, "{token}");
        assert_eq!(desk.charge(token), replayed, "{token}");
        assert_eq!(desk.effects, effects, "{token}");
    }
}

#[test]
fn a_late_charge_appears_when_its_time_has_come() {
    let mut desk = Desk::new();
    desk.charge("sim_late_arrival");

    desk = desk.at(2_999);
    assert_eq!(desk.look_up(), "[]");
    desk = desk.at(3_000);
    assert_eq!(desk.look_up(), "[succeeded 12.30]");
    assert_eq!(desk.charge("sim_late_arrival"), "201 succeeded 12.30");
    assert_eq!(desk.effects, ["charge"]);
}

#[test]
fn a_second_call_brings_a_late_charge_forward_and_it_does_not_come_again() {
    let mut desk = Desk::new();
    desk.charge("sim_late_arrival");
    desk.charge("sim_late_arrival");

    desk = desk.at(10_000);
    assert_eq!(desk.look_up(), "[succeeded 12.30]");
    assert_eq!(desk.effects, ["charge"]);
}

#[test]
fn what_was_voided_while_undecided_never_takes_effect() {
    for (token, voided, lookup) in [
        ("sim_late_arrival", "201 voided nothing", "[]"),
        ("sim_async_ok", "201 voided ch_1", "[voided 12.30]"),
        ("sim_async_fail", "201 voided ch_1", "[voided 12.30]"),
    ] {
        let mut desk = Desk::new();
        desk.charge(token);

        assert_eq!(desk.void(), voided, "{token}");
        desk = desk.at(10_000);
        assert_eq!(desk.look_up(), lookup, "{token}");
        assert_eq!(desk.charge(token), "409 voided", "{token}");
        assert!(desk.effects.is_empty(), "{token}");
    }
}

#[test]
fn three_lookups_fail_and_the_fourth_tells_the_truth() {
    let mut desk = Desk::new();
    desk.charge("sim_lookup_down");

    let lookups = [(); 4].map(|()| desk.look_up());

    assert_eq!(lookups, ["500 internal", "500 internal", "500 internal", "[succeeded 12.30]"]);
}

#[test]
fn a_lookup_by_id_finds_what_a_lookup_by_key_lists() {
    let mut desk = Desk::new();
    assert_eq!(desk.call(&Request::LookUpCharge("ch_2".to_owned())), "404 not_found");
    desk.charge("sim_ok");
    assert_eq!(desk.call(&Request::LookUpCharge("ch_2".to_owned())), "succeeded 12.30");

    let mut late = Desk::new();
    late.charge("sim_late_arrival");
    assert_eq!(late.call(&Request::LookUpCharge("ch_1".to_owned())), "404 not_found");
}

#[test]
fn a_mishap_before_the_books_leaves_no_trace() {
    let mut desk = Desk::new();
    let unused = desk.state.clone();
    desk.fate.mishap = Some(Mishap::Before(Spoil::Refuse(Refusal::NotExecuted)));

    assert_eq!(desk.charge("sim_503"), "503 not_executed");
    assert_eq!(desk.state, unused);
}

#[test]
fn a_mishap_after_the_books_hides_a_charge_that_is_there() {
    let mut desk = Desk::new();
    desk.fate.mishap = Some(Mishap::After(Spoil::Fail(Failure::HangUp)));
    assert_eq!(desk.charge("sim_ok"), "hang up");

    desk.fate.mishap = None;
    assert_eq!(desk.look_up(), "[succeeded 12.30]");
    assert_eq!(desk.charge("sim_ok"), "201 succeeded 12.30");
    assert_eq!(desk.effects, ["charge"]);
}

#[test]
fn ignoring_keys_charges_every_time_and_a_void_undoes_all_of_it() {
    let mut desk = Desk::new();
    desk.faults.ignore_idempotency_keys = true;
    desk.charge("sim_ok");
    desk.charge_amount("sim_ok", "5");

    assert_eq!(desk.look_up(), "[succeeded 12.30, succeeded 5]");
    assert_eq!(desk.void(), "201 voided ch_1");
    assert_eq!(desk.look_up(), "[voided 12.30, voided 5]");
    assert_eq!(desk.effects, ["charge", "charge", "void", "void"]);
}

#[test]
fn what_is_unsupported_says_so_and_does_nothing() {
    let mut desk = Desk::new();
    desk.charge("sim_ok");
    desk.faults.lookup_unsupported = true;
    desk.faults.void_unsupported = true;

    assert_eq!(desk.look_up(), "501 lookup_unsupported");
    assert_eq!(desk.void(), "501 void_unsupported");
    assert!(!desk.state.closed);
}

#[test]
fn refused_credentials_do_nothing() {
    let mut desk = Desk::new();
    desk.faults.unauthorized = true;

    assert_eq!(desk.charge("sim_ok"), "401 unauthorized");
    assert_eq!(desk.look_up(), "401 unauthorized");
    assert_eq!(desk.void(), "401 unauthorized");
    assert_eq!((desk.state.charges.len(), desk.state.closed), (0, false));
}

#[test]
fn chance_can_spoil_a_lookup_and_an_amount() {
    let mut desk = Desk::new();
    desk.fate = Fate { wrong_amount: true, ..Fate::default() };
    assert_eq!(desk.charge("sim_ok"), "201 succeeded 13.30");
    let mut other = Desk::new();
    other.fate = desk.fate;
    other.charge("sim_declined");
    assert_eq!(other.look_up(), "[failed 12.30]");

    desk.fate = Fate { lookup_error: true, ..Fate::default() };
    assert_eq!(desk.look_up(), "500 internal");
}
