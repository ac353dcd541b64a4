//! Charges added up as fingerprints, from which a void subtracts its charge's. What is left says in a few
//! bytes whether the one expected charge stands.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use domain::ids::PaymentId;
use uuid::Uuid;

use super::amount::{Amount, Currency};

/// What the gateway did under one reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The sum of the charges' fingerprints less those of what was undone.
    pub(super) print: u64,
    /// The amount charged less the amount undone, whatever the currency.
    pub(super) net: Amount,
    /// Charges less voids and refunds.
    pub(super) standing: i32,
}

/// A hash that is the same within one run of one build.
pub(super) fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A charge in a few bytes: where and by what it was made, and what it took.
pub(super) fn fingerprint(
    gateway: &str,
    (charge_id, key): (&str, &str),
    amount: Option<Amount>,
    currency: Currency,
) -> u64 {
    hash((gateway, charge_id, key, amount, currency))
}

/// A payment's key at the gateway: the one that is stored, or else its id.
pub(super) fn key_of(id: Uuid, stored: Option<&str>) -> Cow<'_, str> {
    stored.map_or_else(|| PaymentId::from(id).to_string().into(), Cow::Borrowed)
}

pub(super) fn key_print(key: &str) -> u16 {
    let [low, high, ..] = hash(key).to_le_bytes();
    u16::from_le_bytes([low, high])
}

impl Tally {
    pub(super) fn add(&mut self, more: Self) {
        self.standing += more.standing;
        self.net = self.net.plus(more.net);
        self.print = self.print.wrapping_add(more.print);
    }

    pub(super) fn book(&mut self, is_charge: bool, amount: Amount, print: u64) {
        if is_charge {
            self.standing += 1;
            self.net = self.net.plus(amount);
            self.print = self.print.wrapping_add(print);
        } else {
            self.standing -= 1;
            self.net = self.net.minus(amount);
            self.print = self.print.wrapping_sub(print);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_undone_twice_does_not_stand_for_another() {
        let (first, second) = (hash("first"), hash("second"));
        let mut tally = Tally::default();
        for (is_charge, print) in [(true, first), (true, second), (false, first), (false, first)] {
            tally.book(is_charge, Amount::default(), print);
        }
        assert_eq!(tally.standing, 0);
        assert_ne!(tally, Tally::default());
    }
}
