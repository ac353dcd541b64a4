//! Which correction of a payment that is over may be made, given the gateway's journal and a look. Pure.
//!
//! Invariant: after a correction the ledger says of the payment what stands at the gateway. Nothing is
//! corrected on anybody's word alone: the proposal must be what the journal says, and the look must not
//! contradict it. Without a journal the look alone must say it.

use rust_decimal::Decimal;

use crate::held::{Seen, Shown};
use crate::money::{Currency, Money};

/// Every kind of correction, with the sentence that explains it.
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

/// What our copy of the gateway's journal says of a payment's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The charges of which something stands, each with the amount that stands.
    pub standing: Vec<(String, Decimal)>,
    /// Whether anything was ever charged.
    pub was_charged: bool,
    /// Whether any row is of another currency or reference.
    pub is_other: bool,
}

/// What our books say of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The amount that is posted, corrections included.
    pub amount: Decimal,
    /// The currency of the payment.
    pub currency: Currency,
    /// The charge that the payment names; none where it names none.
    pub charge_id: Option<String>,
    /// Whether a charge could be the payment's: it succeeded, or a person ended it without proof.
    pub may_be_charged: bool,
}

/// A correction as it was proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed<'a> {
    /// One of the words in [`KINDS`].
    pub kind: &'a str,
    /// The amount that stands at the gateway, by the proposal.
    pub amount: Decimal,
    /// The charge by which it stands; none where nothing does.
    pub charge_id: Option<&'a str>,
}

/// The amount to add to the ledger. It is below zero where something is taken back.
///
/// # Errors
/// The sentence that tells the people who asked why nothing is corrected.
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

/// The one charge that stands, with the amount that stands; none where nothing does.
fn stands(
    booked: &Booked,
    seen: &Seen,
    journal: Option<&Journal>,
) -> Result<Option<(String, Decimal)>, String> {
    let shown = match seen {
        Seen::Several(_) | Seen::Undecided | Seen::Silent(_) | Seen::Refused(_) | Seen::NotLooked => {
            return Err(format!("{seen}: it must be clear there first"));
        }
        Seen::One(Shown { charge, .. }) if charge.currency != booked.currency.code() => {
            return Err(format!("{seen}, which is another currency: have it given back there"));
        }
        Seen::One(Shown { charge, .. }) => Some((charge.id.clone(), charge.amount)),
        Seen::GivenBack | Seen::Declined | Seen::Nothing | Seen::Unable => None,
    };
    let Some(journal) = journal else {
        // A gateway may forget a key, or be asked at the wrong address.
        if matches!(seen, Seen::Nothing | Seen::Unable) {
            return Err(format!("{seen} and keeps no journal: that proves nothing"));
        }
        return Ok(shown);
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
        // A part of the listed amount may have been given back.
        (Some((id, listed)), Some((booked_id, net))) => id != booked_id || net > listed,
        (Some(_), None) | (None, Some(_)) => true,
    };
    if disagree {
        return Err(format!("{seen}, and its journal says otherwise: ask the gateway"));
    }
    Ok(booked_there)
}

#[cfg(test)]
mod tests;
