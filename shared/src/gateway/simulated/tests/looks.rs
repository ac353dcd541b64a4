//! What a look means in each of its three questions, where the gateway answers oddly.

use domain::held::Seen;

use super::*;

#[test]
fn a_state_that_is_not_known_is_read_as_none_that_is() {
    for word in ["paid", "Succeeded", "", "refund_pending"] {
        let odd = charge_json(word);
        for status in [201, 202] {
            let failure = failure_of(&answered(status, &odd));
            assert_eq!(failure, Some(FailureKind::NotTheGateway), "{status} {word}");
        }
        let listed = looked_up(&answered(200, &json!({ "data": [odd] })));
        let outcome = LookupOutcome::of(&listed, &expected());
        assert_eq!(outcome.failure(), Some(FailureKind::NotTheGateway), "{word}: {outcome:?}");
        let Expected { key, payment_id, .. } = expected();
        assert_eq!(Standing::of(&listed, &key, payment_id), Standing::OnlyIts, "it may stand");
        assert_eq!(Seen::of(&listed, &expected()), Seen::Undecided, "{word}");
    }
    let refunded = looked_up(&answered(200, &json!({ "data": [charge_json("refunded")] })));
    let outcome = LookupOutcome::of(&refunded, &expected());
    assert_eq!(outcome.failure(), Some(FailureKind::Unexpected), "the gateway is well");
    assert_eq!(Seen::of(&refunded, &expected()), Seen::GivenBack);
}

#[test]
fn a_list_that_goes_on_shows_nothing_for_sure() {
    for data in [json!([]), json!([charge_json("succeeded")]), json!([charge_json("failed")])] {
        let listed = looked_up(&answered(200, &json!({ "data": data, "has_more": true })));
        let outcome = LookupOutcome::of(&listed, &expected());
        assert!(matches!(outcome, LookupOutcome::Contradiction(_)), "{data}: {outcome:?}");
        assert_eq!(Seen::of(&listed, &expected()), Seen::Undecided, "{data}");
    }
    let no_more = looked_up(&answered(200, &json!({ "data": [], "has_more": null })));
    assert_eq!(LookupOutcome::of(&no_more, &expected()), LookupOutcome::NotFound);
}

#[test]
fn a_person_hears_whether_the_gateway_was_silent_or_did_not_let_us_look() {
    let seen = |exchange: &Exchange| Seen::of(&looked_up(exchange), &expected());
    let is_silent = |seen: Seen| matches!(seen, Seen::Silent(_));
    let is_refused = |seen: Seen| matches!(seen, Seen::Refused(_));
    for status in [405, 500, 501, 503, 599] {
        assert!(is_silent(seen(&answered(status, &json!({ "code": "busy" })))), "{status}");
        assert!(is_silent(seen(&answered(status, &json!({ "error": "no code" })))), "{status}");
        assert!(is_refused(seen(&not_as_json(answered(status, &json!(null))))), "{status}");
    }
    assert!(is_silent(seen(&silence(Silence::Timeout))) && is_silent(seen(&silence(Silence::Reset))));
    for status in [200, 302, 400, 401, 403, 404, 429] {
        assert!(is_refused(seen(&answered(status, &json!({})))), "{status}");
    }
    assert_eq!(seen(&Exchange::NotSent(NotSent::TooLateToSend)), Seen::NotLooked);
}

#[test]
fn a_look_tells_the_decline_that_the_answer_told() {
    let declined = |word: &str| json!({"code": word, "message": "m"});
    let listed = |decline: Value| {
        let charge = with(charge_json("failed"), "decline", decline);
        let outcome =
            LookupOutcome::of(&looked_up(&answered(200, &json!({ "data": [charge] }))), &expected());
        let LookupOutcome::Declined(charge) = outcome else { panic!("{outcome:?}") };
        charge.decline
    };
    for (word, told) in [
        ("card_declined", "card_declined"),
        ("declined", "card_declined"),
        ("insufficient_funds", "insufficient_funds"),
    ] {
        check_charge(402, &declined(word), &ChargeOutcome::Declined(refused(told)));
        assert_eq!(listed(declined(word)), Some(refused(told)), "{word}");
    }
    for unusable in [json!(null), json!("no"), json!({}), json!({"code": ""}), json!({"code": 7})] {
        assert_eq!(listed(unusable.clone()), None, "{unusable}");
    }
}
