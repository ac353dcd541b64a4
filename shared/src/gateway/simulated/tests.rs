//! One row for each answer that a gateway can give, and a guard against reading anything else as "no".

use domain::money::Money;
use domain::outcome::{Health, LookupOutcome, NotSent, Outcome as _, Standing, health};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::gateway::wire::Silence;

mod looks;

const OTHER: &str = "pay_0190f0000000700080000000000000bb";

fn expected() -> Expected {
    let payment_id = "pay_0190f0000000700080000000000000aa".parse().unwrap();
    Expected {
        key: GatewayKey::of(Some("pk1_1".to_owned()), payment_id),
        payment_id,
        money: Money::parse("12.30", "EUR".parse().unwrap()).unwrap(),
    }
}

fn charge_json(status: &str) -> Value {
    let Expected { key, payment_id, .. } = expected();
    json!({"id": "ch_1", "key": key.as_str(), "reference": payment_id, "status": status, "amount": "12.30", "currency": "EUR"})
}

fn charge_of(json: &Value) -> Charge {
    serde_json::from_value::<WireCharge>(json.clone()).unwrap().into()
}

fn with(mut charge: Value, field: &str, value: Value) -> Value {
    charge[field] = value;
    charge
}

fn answered(status: u16, body: &Value) -> Exchange {
    Exchange::answered(status, body)
}

/// The same words from a sender who does not declare them as JSON.
fn not_as_json(exchange: Exchange) -> Exchange {
    match exchange {
        Exchange::Answered(answer) => Exchange::Answered(Answer { is_json: false, ..answer }),
        Exchange::Unreachable(_) | Exchange::Unanswered(..) | Exchange::NotSent(_) => exchange,
    }
}

fn silence(how: Silence) -> Exchange {
    Exchange::Unanswered(how, "nothing".to_owned())
}

fn refused(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: "m".to_owned() }
}

fn charge() -> Charge {
    charge_of(&charge_json("succeeded"))
}

#[track_caller]
fn check_charge(status: u16, body: &Value, outcome: &ChargeOutcome) {
    assert_eq!(&charged(&answered(status, body), &expected()), outcome, "{status} {body}");
}

#[track_caller]
fn check_charge_unknown(status: u16, body: &Value) {
    let outcome = charged(&answered(status, body), &expected());
    assert!(
        matches!(outcome, ChargeOutcome::Unknown(_) | ChargeOutcome::NotTheGateway(_)),
        "{status} {body} gave {outcome:?}"
    );
}

/// How a charge fails that gets this answer.
fn failure_of(exchange: &Exchange) -> Option<FailureKind> {
    charged(exchange, &expected()).failure()
}

#[test]
fn a_charge_equal_in_key_amount_and_currency_is_charged() {
    check_charge(201, &charge_json("succeeded"), &ChargeOutcome::Charged(charge()));
    let spelled_otherwise = with(charge_json("succeeded"), "amount", json!("12.3"));
    assert!(matches!(charged(&answered(201, &spelled_otherwise), &expected()), ChargeOutcome::Charged(_)));
}

#[test]
fn a_charge_for_anything_else_is_a_wrong_answer() {
    for (field, value) in [
        ("amount", json!("12.31")),
        ("currency", json!("USD")),
        ("key", json!("pay_0190f0000000700080000000000000bb")),
        ("reference", json!("other")),
        ("id", json!("")),
    ] {
        let body = with(charge_json("succeeded"), field, value);
        let outcome = charged(&answered(201, &body), &expected());
        assert!(matches!(outcome, ChargeOutcome::WrongAnswer(_)), "{field}: {outcome:?}");
    }
}

#[test]
fn each_listed_answer_has_its_meaning() {
    let refusal = |code: &str| json!({"code": code, "message": "m"});
    check_charge(202, &charge_json("pending"), &ChargeOutcome::StillWorking);
    check_charge(402, &refusal("card_declined"), &ChargeOutcome::Declined(refused("card_declined")));
    check_charge(402, &refusal("declined"), &ChargeOutcome::Declined(refused("card_declined")));
    check_charge(402, &refusal("expired_card"), &ChargeOutcome::Declined(refused("expired_card")));
    let unknown = ChargeOutcome::Invalid(refused("payment_method_unknown"));
    check_charge(400, &refusal("invalid_payment_method"), &unknown);
    check_charge(400, &refusal("bad"), &ChargeOutcome::Invalid(refused("bad")));
    check_charge(422, &refusal("bad"), &ChargeOutcome::Invalid(refused("bad")));
    check_charge(422, &refusal("key_reused"), &ChargeOutcome::KeyReused(refused("key_reused")));
    check_charge(401, &refusal("unauthorized"), &ChargeOutcome::Unauthorized);
    check_charge(403, &refusal("forbidden"), &ChargeOutcome::Unauthorized);
    check_charge(409, &refusal("key_in_use"), &ChargeOutcome::KeyBusy);
    check_charge(429, &refusal("rate_limited"), &ChargeOutcome::RateLimited(None));
    check_charge(503, &refusal("not_executed"), &ChargeOutcome::NotExecuted);
    let unreachable = Exchange::Unreachable("refused".to_owned());
    assert_eq!(charged(&unreachable, &expected()), ChargeOutcome::Unreachable("refused".to_owned()));
    let reset = charged(&silence(Silence::Reset), &expected());
    assert_eq!(reset, ChargeOutcome::Unknown(Failed::new(FailureKind::Reset, "nothing")));
}

#[test]
fn words_that_cannot_be_stored_are_no_answer() {
    for code in ["", "a\0b", "line\nbreak"] {
        check_charge_unknown(402, &json!({ "code": code }));
    }
    let body = with(charge_json("succeeded"), "id", json!("ch\0"));
    assert!(matches!(charged(&answered(201, &body), &expected()), ChargeOutcome::WrongAnswer(_)));
    let long = charged(&answered(402, &json!({ "code": "c", "message": "m\0".repeat(2000) })), &expected());
    assert!(
        matches!(&long, ChargeOutcome::Declined(refusal) if refusal.message == "m".repeat(1000)),
        "{long:?}"
    );
}

#[test]
fn an_amount_with_more_digits_than_can_be_held_is_not_rounded_to_ours() {
    let body = with(charge_json("succeeded"), "amount", json!("12.30000000000000000000000000000000000001"));
    check_charge_unknown(201, &body);
}

#[test]
fn what_is_not_listed_is_unknown() {
    let empty =
        Exchange::Answered(Answer { status: 201, is_json: true, body: Vec::new(), retry_after: None });
    assert_eq!(failure_of(&empty), Some(FailureKind::NotTheGateway));
    check_charge_unknown(201, &charge_json("failed"));
    check_charge_unknown(201, &json!({"id": "ch_1"}));
    check_charge_unknown(200, &charge_json("succeeded"));
    check_charge_unknown(204, &json!(null));
    check_charge_unknown(302, &json!(null));
    check_charge_unknown(400, &json!("no code"));
    check_charge_unknown(402, &json!("no code"));
    check_charge_unknown(404, &json!(null));
    check_charge_unknown(500, &json!({"code": "not_executed"}));
    check_charge_unknown(502, &json!(null));
    check_charge_unknown(503, &json!(null));
    check_charge_unknown(503, &json!({"code": "busy"}));
}

#[track_caller]
fn check_lookup(charges: &Value, outcome: &LookupOutcome) {
    assert_eq!(
        &LookupOutcome::of(&looked_up(&answered(200, &json!({ "data": charges }))), &expected()),
        outcome,
        "{charges}"
    );
}

#[test]
fn each_listing_has_its_meaning() {
    let other_amount = with(charge_json("succeeded"), "amount", json!("1.00"));
    let of = charge_of;
    check_lookup(&json!([]), &LookupOutcome::NotFound);
    check_lookup(&json!([charge_json("succeeded")]), &LookupOutcome::Charged(charge()));
    check_lookup(&json!([charge_json("failed")]), &LookupOutcome::Declined(of(&charge_json("failed"))));
    check_lookup(&json!([charge_json("pending")]), &LookupOutcome::Pending { is_ours: true });
    check_lookup(&json!([other_amount]), &LookupOutcome::WrongAnswer(of(&other_amount)));
    check_lookup(&json!([charge_json("voided")]), &LookupOutcome::KeyClosed);
    let two = json!({"data": [charge_json("failed"), charge_json("succeeded")]});
    assert!(matches!(
        LookupOutcome::of(&looked_up(&answered(200, &two)), &expected()),
        LookupOutcome::Contradiction(_)
    ));
}

#[test]
fn a_charge_is_ours_by_key_and_name_and_of_another_by_its_name_alone() {
    let other = OTHER.parse().unwrap();
    let named = |status, name: Value| with(charge_json(status), "reference", name);
    let of = charge_of;
    for name in [json!(null), json!("order 7"), json!("pk1_1")] {
        let nobodys = named("succeeded", name);
        check_charge(201, &nobodys, &ChargeOutcome::WrongAnswer(of(&nobodys)));
        check_lookup(&json!([nobodys]), &LookupOutcome::WrongAnswer(of(&nobodys)));
    }
    let anothers = named("succeeded", json!(OTHER));
    check_charge(201, &anothers, &ChargeOutcome::ChargedAs(of(&anothers), other));
    check_lookup(&json!([anothers]), &LookupOutcome::ChargedAs(of(&anothers), other));
    // A charge of other money is nobody's to adopt. One under another key was not asked for.
    for (field, value) in [("amount", "1.00"), ("currency", "USD"), ("key", "pk1_2")] {
        let wrong = with(anothers.clone(), field, json!(value));
        check_lookup(&json!([wrong]), &LookupOutcome::WrongAnswer(of(&wrong)));
    }
    check_lookup(&json!([named("pending", json!(OTHER))]), &LookupOutcome::Pending { is_ours: false });
    let declined = named("failed", json!(OTHER));
    check_lookup(&json!([declined]), &LookupOutcome::Declined(of(&declined)));
    check_lookup(&json!([named("voided", json!(OTHER))]), &LookupOutcome::KeyClosed);
}

#[test]
fn a_key_that_was_closed_or_used_for_something_else_says_so() {
    let code = |code: &str| json!({ "code": code, "message": "m" });
    check_charge(409, &code("voided"), &ChargeOutcome::KeyClosed);
    for (status, word) in [(422, "key_reused"), (400, "idempotency_error"), (409, "idempotency_error")] {
        check_charge(status, &code(word), &ChargeOutcome::KeyReused(refused(word)));
    }
}

#[test]
fn what_stands_is_only_a_payments_where_all_of_it_is_called_so() {
    let Expected { key, payment_id, .. } = expected();
    let of = |charges: Value| {
        Standing::of(&looked_up(&answered(200, &json!({ "data": charges }))), &key, payment_id)
    };
    let named = |status, name: Value| with(charge_json(status), "reference", name);
    let own = || charge_json("succeeded");
    assert_eq!(of(json!([])), Standing::Nothing);
    assert_eq!(of(json!([charge_json("voided"), named("failed", json!(OTHER))])), Standing::Nothing);
    assert_eq!(of(json!([own(), own()])), Standing::OnlyIts);
    for name in [json!(OTHER), json!(null), json!("order 7")] {
        assert_eq!(of(json!([own(), named("succeeded", name)])), Standing::AnothersToo);
    }
    assert_eq!(of(json!([with(own(), "key", json!("pk1_2"))])), Standing::AnothersToo);
    assert_eq!(of(json!([named("of_another_kind", json!(OTHER))])), Standing::AnothersToo);
    let more = answered(200, &json!({ "data": [own()], "has_more": true }));
    assert_eq!(Standing::of(&looked_up(&more), &key, payment_id), Standing::AnothersToo);
    let unable = answered(501, &json!({ "code": "lookup_unsupported" }));
    assert_eq!(Standing::of(&looked_up(&unable), &key, payment_id), Standing::Unsupported);
    let silent = Standing::of(&looked_up(&silence(Silence::Timeout)), &key, payment_id);
    assert!(matches!(silent, Standing::NoAnswer(_)), "{silent:?}");
}

#[test]
fn a_lookup_that_failed_means_nothing() {
    for (status, body) in
        [(200, json!({})), (200, json!(null)), (404, json!({"data": []})), (500, json!({"data": []}))]
    {
        let outcome = LookupOutcome::of(&looked_up(&answered(status, &body)), &expected());
        assert!(matches!(outcome, LookupOutcome::NoAnswer(_)), "{status} {body} gave {outcome:?}");
    }
}

#[test]
fn a_gateway_that_does_not_look_up_says_so_in_its_own_words() {
    let of = |exchange: &Exchange| LookupOutcome::of(&looked_up(exchange), &expected());
    for status in [405, 501] {
        let words = answered(status, &json!({"code": "lookup_unsupported"}));
        assert_eq!(of(&words), LookupOutcome::Unsupported, "{status}");
        for proxy in [not_as_json(words), answered(status, &json!({"data": []}))] {
            let outcome = of(&proxy);
            assert_eq!(outcome.failure(), Some(FailureKind::NotTheGateway), "{status}");
            assert!(matches!(outcome, LookupOutcome::NoAnswer(_)), "{outcome:?}");
        }
    }
}

#[test]
fn what_no_gateway_of_this_contract_says_is_not_the_gateway() {
    let page = |status| not_as_json(answered(status, &json!("<html>")));
    for status in
        [200, 201, 202, 204, 301, 302, 307, 400, 401, 402, 403, 404, 405, 409, 422, 429, 500, 502, 503, 504]
    {
        assert_eq!(failure_of(&page(status)), Some(FailureKind::NotTheGateway), "{status}");
        let lookup = LookupOutcome::of(&looked_up(&page(status)), &expected());
        assert_eq!(lookup.failure(), Some(FailureKind::NotTheGateway), "{status}");
        let void = voided(&page(status), &expected().key);
        assert_eq!(void.failure(), Some(FailureKind::NotTheGateway), "{status}");
    }
    for (status, body) in [
        (200, json!({"status": "ok"})),
        (404, json!({"message": "no route"})),
        (429, json!({"error": "slow"})),
    ] {
        assert_eq!(failure_of(&answered(status, &body)), Some(FailureKind::NotTheGateway), "{status} {body}");
    }
    // The gateway's own words count only with its status and content type.
    assert_eq!(failure_of(&answered(201, &charge_json("succeeded"))), None);
    let undressed = not_as_json(answered(201, &charge_json("succeeded")));
    assert_eq!(failure_of(&undressed), Some(FailureKind::NotTheGateway));
}

#[test]
fn every_failure_has_its_kind_and_says_how_the_gateway_is() {
    let code = |status, code: &str| failure_of(&answered(status, &json!({ "code": code })));
    let kinds = [
        (failure_of(&silence(Silence::Timeout)), "timeout", Health::Silent),
        (failure_of(&silence(Silence::Reset)), "reset", Health::Silent),
        (failure_of(&Exchange::Unreachable(String::new())), "unreachable", Health::Shut),
        (failure_of(&not_as_json(answered(404, &json!(null)))), "not_the_gateway", Health::Shut),
        (code(500, "internal"), "server_error", Health::Failing),
        (code(503, "busy"), "server_error", Health::Failing),
        (code(503, "not_executed"), "not_executed", Health::Failing),
        (code(401, "unauthorized"), "unauthorized", Health::LockedOut),
        (code(429, "rate_limited"), "rate_limited", Health::Answers),
        (code(409, "what"), "unexpected", Health::Answers),
        (failure_of(&Exchange::NotSent(NotSent::TooLateToSend)), "not_sent", Health::Unknown),
    ];
    for (kind, word, how) in kinds {
        assert_eq!(kind.map(FailureKind::as_str), Some(word));
        assert_eq!(health(kind), how, "{word}");
    }
    assert_eq!(health(None), Health::Answers);
    assert!(
        FailureKind::ALL
            .iter()
            .all(|kind| kinds.iter().any(|(of, ..)| *of == Some(*kind)) || *kind == FailureKind::WorkerLost)
    );
}

#[test]
fn only_what_never_left_left_nothing() {
    assert!(Exchange::Unreachable(String::new()).left_nothing());
    assert!(Exchange::NotSent(NotSent::TooLateToSend).left_nothing());
    assert!(!silence(Silence::Timeout).left_nothing() && !answered(503, &json!(null)).left_nothing());
}

#[test]
fn only_a_void_of_our_key_confirms() {
    let key = expected().key.to_string();
    let of = |status, body: Value| voided(&answered(status, &body), &expected().key);
    assert_eq!(of(201, json!({"key": key, "voided": true, "charge_id": null})), VoidOutcome::Confirmed);
    assert!(matches!(of(201, json!({"key": "other", "voided": true})), VoidOutcome::NoAnswer(_)));
    assert!(matches!(of(201, json!({"key": key, "voided": false})), VoidOutcome::NoAnswer(_)));
    assert!(matches!(of(200, json!({"key": key, "voided": true})), VoidOutcome::NoAnswer(_)));
    assert!(matches!(of(500, json!(null)), VoidOutcome::NoAnswer(_)));
    assert_eq!(of(501, json!({"code": "void_unsupported"})), VoidOutcome::Unsupported);
    for proxy in [501, 405, 404] {
        assert!(matches!(of(proxy, json!(null)), VoidOutcome::NoAnswer(_)), "{proxy}");
    }
}

/// Whether the outcome says that this attempt charged nothing.
fn says_no(outcome: &ChargeOutcome) -> bool {
    match outcome {
        ChargeOutcome::Declined(_)
        | ChargeOutcome::Invalid(_)
        | ChargeOutcome::Unauthorized
        | ChargeOutcome::RateLimited(_)
        | ChargeOutcome::NotExecuted
        | ChargeOutcome::Unreachable(_)
        | ChargeOutcome::NotSent(_)
        | ChargeOutcome::KeyClosed => true,
        ChargeOutcome::Charged(_)
        | ChargeOutcome::ChargedAs(..)
        | ChargeOutcome::StillWorking
        | ChargeOutcome::KeyBusy
        | ChargeOutcome::KeyReused(_)
        | ChargeOutcome::NotTheGateway(_)
        | ChargeOutcome::Unknown(_)
        | ChargeOutcome::WrongAnswer(_) => false,
    }
}

proptest! {
    #[test]
    fn garbage_is_never_read_as_charged_or_as_not_charged(
        status in 100_u16..600,
        body in prop::collection::vec(any::<u8>(), 0..200),
        is_json in any::<bool>(),
    ) {
        let exchange = Exchange::Answered(Answer { status, is_json, body, retry_after: None });
        let outcome = charged(&exchange, &expected());
        prop_assert!(!matches!(outcome, ChargeOutcome::Charged(_)));
        prop_assert!(!says_no(&outcome), "{:?}", outcome);
        let lookup = LookupOutcome::of(&looked_up(&exchange), &expected());
        prop_assert!(matches!(lookup, LookupOutcome::NoAnswer(_)), "{:?}", lookup);
    }
}
