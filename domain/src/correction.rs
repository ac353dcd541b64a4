//! What a correction may put right about a payment that is over, given the gateway's journal and a look. Pure.
//!
//! Invariant: after a correction the ledger has of the payment what stands at the gateway, and nothing is corrected on
//! anybody's word alone: what two people say must be what the journal says, and the look must not contradict it.

use rust_decimal::Decimal;

use crate::held::Seen;
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
    let shown = match seen {
        Seen::Several(_) | Seen::Undecided | Seen::Silent(_) | Seen::Refused(_) | Seen::NotLooked => {
            return Err(format!("{seen}: it must be clear there first"));
        }
        Seen::One(charge) if charge.currency != booked.currency.code() => {
            return Err(format!("{seen}, which is another currency: have it given back there"));
        }
        Seen::One(charge) => Some((charge.id.clone(), charge.amount)),
        Seen::GivenBack | Seen::Declined | Seen::Nothing | Seen::Unable => None,
    };
    let Some(journal) = journal else {
        // A gateway may forget a key, and be asked at the wrong address.
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
mod tests;
