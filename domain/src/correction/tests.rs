//! Which corrections are made and which are refused, case by case.

use super::*;
use crate::outcome::{Charge, ChargeStatus, Failed, FailureKind};

fn booked(amount: i64) -> Booked {
    let charge_id = (amount > 0).then(|| "ch_1".to_owned());
    Booked { amount: amount.into(), currency: "EUR".parse().unwrap(), charge_id, may_be_charged: true }
}

fn one(id: &str, amount: i64) -> Seen {
    let charge = Charge {
        id: id.to_owned(),
        key: "pay_1".to_owned(),
        status: ChargeStatus::Succeeded,
        amount: amount.into(),
        currency: "EUR".to_owned(),
        reference: Some("pay_1".to_owned()),
        decline: None,
    };
    Seen::One(Shown { charge, is_forgotten: false })
}

fn journal(standing: &[(&str, i64)]) -> Journal {
    let standing = standing.iter().map(|&(id, amount)| (id.to_owned(), amount.into())).collect();
    Journal { standing, was_charged: true, is_other: false }
}

fn proposed<'a>(kind: &'a str, amount: i64, charge_id: Option<&'a str>) -> Proposed<'a> {
    Proposed { kind, amount: amount.into(), charge_id }
}

#[test]
fn what_stands_at_the_gateway_is_what_the_ledger_has_in_the_end() {
    let never = Journal { was_charged: false, ..journal(&[]) };
    for (what, booked, seen, journal, delta) in [
        (proposed("charge_missing", 0, None), booked(48), Seen::Nothing, never, -48),
        (proposed("charge_refunded", 0, None), booked(48), Seen::GivenBack, journal(&[]), -48),
        (
            proposed("amount_differs", 49, Some("ch_1")),
            booked(48),
            one("ch_1", 49),
            journal(&[("ch_1", 49)]),
            1,
        ),
        // One of the 49 was given back, which the list does not show.
        (
            proposed("amount_differs", 48, Some("ch_1")),
            booked(49),
            one("ch_1", 49),
            journal(&[("ch_1", 48)]),
            -1,
        ),
        (
            proposed("charge_found", 48, Some("ch_1")),
            booked(0),
            one("ch_1", 48),
            journal(&[("ch_1", 48)]),
            48,
        ),
        (
            proposed("other_charge", 48, Some("ch_2")),
            booked(48),
            one("ch_2", 48),
            journal(&[("ch_2", 48)]),
            0,
        ),
    ] {
        assert_eq!(judge(what, &booked, &seen, Some(&journal)), Ok(delta.into()), "{what:?}");
    }
}

/// A proposal, what is booked, what is seen, what the journal has, and why the proposal is refused.
type Case = (Proposed<'static>, Booked, Seen, Option<Journal>, &'static str);

fn refused_cases() -> Vec<Case> {
    let proven = Booked { may_be_charged: false, ..booked(0) };
    let foreign = Journal { is_other: true, ..journal(&[("ch_1", 49)]) };
    let held = |amount| Some(journal(&[("ch_1", amount)]));
    vec![
        (
            proposed("amount_differs", 50, Some("ch_1")),
            booked(48),
            one("ch_1", 49),
            held(49),
            "stand 49 by ch_1",
        ),
        (
            proposed("charge_missing", 0, None),
            booked(48),
            one("ch_1", 48),
            Some(journal(&[])),
            "says otherwise",
        ),
        (proposed("charge_missing", 0, None), booked(48), Seen::Nothing, held(48), "says otherwise"),
        (proposed("charge_missing", 0, None), booked(48), Seen::Nothing, None, "proves nothing"),
        (
            proposed("charge_missing", 0, None),
            booked(48),
            Seen::Silent(Failed::new(FailureKind::Timeout, "x")),
            Some(journal(&[])),
            "clear there first",
        ),
        (
            proposed("charge_missing", 0, None),
            booked(48),
            Seen::GivenBack,
            Some(journal(&[])),
            "that is charge_refunded",
        ),
        (
            proposed("charge_missing", 0, None),
            booked(0),
            Seen::Nothing,
            Some(journal(&[])),
            "nothing of it either",
        ),
        (
            proposed("amount_differs", 48, Some("ch_1")),
            booked(48),
            one("ch_1", 48),
            held(48),
            "say just that",
        ),
        (proposed("charge_found", 48, Some("ch_1")), proven, one("ch_1", 48), held(48), "workers void"),
        (
            proposed("amount_differs", 49, Some("ch_1")),
            booked(48),
            one("ch_1", 49),
            Some(foreign),
            "another currency or reference",
        ),
        (
            proposed("amount_differs", 49, Some("ch_1")),
            booked(48),
            one("ch_1", 49),
            Some(journal(&[("ch_1", 49), ("ch_2", 49)])),
            "all but one",
        ),
    ]
}

#[test]
fn nothing_is_corrected_that_journal_and_look_do_not_both_say() {
    for (what, booked, seen, journal, why) in refused_cases() {
        let refused = judge(what, &booked, &seen, journal.as_ref()).unwrap_err();
        assert!(refused.contains(why), "{what:?}: {refused}");
    }
}
