//! What stands under the key of a payment that ended without a charge, before that is voided.
//!
//! Invariant: a charge that may be another payment's is never said to be this one's alone.

use super::{Charge, ChargeStatus, Failed, FailureKind, Looked, Outcome, Whose};
use crate::ids::{GatewayKey, PaymentId};

/// The result of a look before a void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Something stands, and all of it is called by the payment's id.
    OnlyIts,
    /// Something stands that may be another payment's.
    AnothersToo,
    /// Nothing stands under the key.
    Nothing,
    /// The gateway does not look up.
    Unsupported,
    /// Nothing is known; ask again.
    NoAnswer(Failed),
}

impl Outcome for Standing {
    const WORDS: &'static [&'static str] = &["only_its", "anothers_too", "nothing", "unsupported"];

    fn as_str(&self) -> &'static str {
        match self {
            Self::OnlyIts => "only_its",
            Self::AnothersToo => "anothers_too",
            Self::Nothing => "nothing",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(failed) => failed.kind.as_str(),
        }
    }

    fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::NoAnswer(failed) => Some(failed.kind),
            Self::OnlyIts | Self::AnothersToo | Self::Nothing | Self::Unsupported => None,
        }
    }
}

impl Standing {
    /// Judges what a lookup showed. What is not surely given back or declined stands.
    #[must_use]
    pub fn of(looked: &Looked, key: &GatewayKey, payment: PaymentId) -> Self {
        let listing = match looked {
            Looked::Shown(listing) => listing,
            Looked::Unsupported => return Self::Unsupported,
            Looked::NoAnswer(failed) => return Self::NoAnswer(failed.clone()),
        };
        let stands = |charge: &&Charge| match charge.status {
            ChargeStatus::Pending | ChargeStatus::Succeeded | ChargeStatus::Other => true,
            ChargeStatus::Failed | ChargeStatus::Voided | ChargeStatus::Refunded => false,
        };
        let mut standing = listing.charges.iter().filter(stands).peekable();
        let is_its = |charge: &Charge| {
            charge.key == key.as_str() && Whose::of(charge.reference.as_deref(), payment) == Whose::Ours
        };
        match standing.peek().is_some() {
            false if listing.has_more => Self::AnothersToo,
            false => Self::Nothing,
            true if listing.has_more || !standing.all(is_its) => Self::AnothersToo,
            true => Self::OnlyIts,
        }
    }
}
