//! What a correction may put right about a payment that is over, given the gateway's journal and a look. Pure.
//!
//! Invariant: after a correction the ledger has of the payment what stands at the gateway, and nothing is corrected on
//! anybody's word alone: what two people say must be what the journal says, and the look must not contradict it.

use rust_decimal::Decimal;

use crate::decision::Seen;
use crate::money::{Currency, Money};

/// Every kind there is, with what it says.
pub const KINDS: &[(&str, &str)] = &[
    ("charge_missing", "It is posted, and nothing was ever charged: the posting is taken back."),
    (
        "charge_refunded",
        "It is posted, and what was charged was given back at the gateway: the posting is taken back.",
    ),
    ("amount_differs", "Another amount stands at the gateway than is posted: the difference is posted."),
    ("charge_found", "It ended without a charge, unproven, and one stands at the gateway: that is posted."),
    ("other_charge", "The amount is right, and stands by another charge than the payment names."),
];

/// What the journal's copy says of a payment's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Charges of which something stands, each with how much.
    pub standing: Vec<(String, Decimal)>,
    /// Whether anything was ever charged.
    pub was_charged: bool,
    /// Whether anything is of another currency or reference.
    pub is_other: bool,
}

/// What our books have of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// What is posted, corrections included.
    pub amount: Decimal,
    /// Of what.
    pub currency: Currency,
    /// By which charge.
    pub charge_id: Option<String>,
    /// Whether a charge could be the payment's: it succeeded, or a person ended it without proof.
    pub may_be_charged: bool,
}

/// What was proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed<'a> {
    /// One of [`KINDS`].
    pub kind: &'a str,
    /// What stands at the gateway.
    pub amount: Decimal,
    /// By which charge.
    pub charge_id: Option<&'a str>,
}

/// What is to be added to the ledger (less than nothing: taken back), or why nothing is corrected.
///
/// # Errors
/// Why not, for whoever asked.
pub fn judge(
    proposed: Proposed<'_>,
    booked: &Booked,
    seen: &Seen,
    journal: Option<&Journal>,
) -> Result<Decimal, String> {
    let stands = stands(booked, seen, journal)?;
    let (charge_id, amount) = match &stands {
        Some((charge_id, amount)) => (Some(charge_id.as_str()), *amount),
        None => (None, Decimal::ZERO),
    };
    if (proposed.charge_id, proposed.amount) != (charge_id, amount) {
        let by = charge_id.map(|id| format!(" by {id}")).unwrap_or_default();
        return Err(format!("at the gateway stand {amount}{by}, and not what was proposed"));
    }
    if amount > Decimal::ZERO && Money::new(amount, booked.currency).is_err() {
        return Err(format!("{amount} is no amount of {}", booked.currency.code()));
    }
    let was_given_back = journal.map_or(*seen == Seen::GivenBack, |journal| journal.was_charged);
    let kind = match (booked.amount.is_zero(), charge_id) {
        (true, Some(_)) if !booked.may_be_charged => {
            return Err("it ended with proof and without a charge: workers void what stands".to_owned());
        }
        (true, Some(_)) => "charge_found",
        (true, None) => return Err("our books have nothing of it either".to_owned()),
        (false, None) if was_given_back => "charge_refunded",
        (false, None) => "charge_missing",
        (false, Some(_)) if amount != booked.amount => "amount_differs",
        (false, Some(id)) if booked.charge_id.as_deref() != Some(id) => "other_charge",
        (false, Some(_)) => return Err("our books say just that already".to_owned()),
    };
    if proposed.kind != kind {
        return Err(format!("that is {kind}, and not {}", proposed.kind));
    }
    Ok(amount - booked.amount)
}

/// The one charge that stands, with how much of it; none where nothing does.
fn stands(
    booked: &Booked,
    seen: &Seen,
    journal: Option<&Journal>,
) -> Result<Option<(String, Decimal)>, String> {
    if let Seen::Several(_) | Seen::Undecided | Seen::Silent(_) | Seen::Refused(_) | Seen::NotLooked = seen {
        return Err(format!("{seen}: it must be clear there first"));
    }
    let shown = match seen {
        Seen::One(charge) if charge.currency != booked.currency.code() => {
            return Err(format!("{seen}, which is another currency: have it given back there"));
        }
        Seen::One(charge) => Some((charge.id.clone(), charge.amount)),
        _ => None,
    };
    let Some(journal) = journal else {
        return match seen {
            // A gateway may forget a key, and be asked at the wrong address.
            Seen::Nothing | Seen::Unable => Err(format!("{seen} and keeps no journal: that proves nothing")),
            _ => Ok(shown),
        };
    };
    if journal.is_other {
        return Err("the journal has another currency or reference: have that given back there".to_owned());
    }
    let booked_there = match journal.standing.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => {
            return Err(format!("{} charges stand in the journal: have all but one given back", many.len()));
        }
    };
    let disagree = match (&shown, &booked_there) {
        _ if *seen == Seen::Unable => false,
        (None, None) => false,
        // Of what is listed, a part may have been given back.
        (Some((id, listed)), Some((booked_id, net))) => id != booked_id || net > listed,
        (Some(_), None) | (None, Some(_)) => true,
    };
    if disagree {
        return Err(format!("{seen}, and its journal says otherwise: ask the gateway"));
    }
    Ok(booked_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Shown;

    fn booked(amount: i64) -> Booked {
        let charge_id = (amount > 0).then(|| "ch_1".to_owned());
        Booked { amount: amount.into(), currency: "EUR".parse().unwrap(), charge_id, may_be_charged: true }
    }

    fn one(id: &str, amount: i64) -> Seen {
        let charge = Shown {
            id: id.to_owned(),
            key: "pay_1".to_owned(),
            status: "succeeded".to_owned(),
            amount: amount.into(),
            currency: "EUR".to_owned(),
            reference: "pay_1".to_owned(),
        };
        Seen::One(charge)
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

    #[test]
    fn nothing_is_corrected_that_journal_and_look_do_not_both_say() {
        let proven = Booked { may_be_charged: false, ..booked(0) };
        let foreign = Journal { is_other: true, ..journal(&[("ch_1", 49)]) };
        for (what, booked, seen, journal, why) in [
            (
                proposed("amount_differs", 50, Some("ch_1")),
                booked(48),
                one("ch_1", 49),
                Some(journal(&[("ch_1", 49)])),
                "stand 49 by ch_1",
            ),
            (
                proposed("charge_missing", 0, None),
                booked(48),
                one("ch_1", 48),
                Some(journal(&[])),
                "says otherwise",
            ),
            (
                proposed("charge_missing", 0, None),
                booked(48),
                Seen::Nothing,
                Some(journal(&[("ch_1", 48)])),
                "says otherwise",
            ),
            (proposed("charge_missing", 0, None), booked(48), Seen::Nothing, None, "proves nothing"),
            (
                proposed("charge_missing", 0, None),
                booked(48),
                Seen::Silent("x".to_owned()),
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
                Some(journal(&[("ch_1", 48)])),
                "say just that",
            ),
            (
                proposed("charge_found", 48, Some("ch_1")),
                proven,
                one("ch_1", 48),
                Some(journal(&[("ch_1", 48)])),
                "workers void",
            ),
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
        ] {
            let refused = judge(what, &booked, &seen, journal.as_ref()).unwrap_err();
            assert!(refused.contains(why), "{what:?}: {refused}");
        }
    }
}
