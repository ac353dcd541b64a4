//! What stands under the key of a payment that ended without a charge, before that is voided.
//!
//! Invariant: a charge that may be another payment's is never said to be this one's alone.

use serde::Deserialize;

use super::{Exchange, Failed, FailureKind, Told, Whose};
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

impl Standing {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OnlyIts => "only_its",
            Self::AnothersToo => "anothers_too",
            Self::Nothing => "nothing",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(failed) => failed.kind.as_str(),
        }
    }

    /// How the exchange failed; none where the gateway answered the question.
    #[must_use]
    pub const fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::NoAnswer(failed) => Some(failed.kind),
            Self::OnlyIts | Self::AnothersToo | Self::Nothing | Self::Unsupported => None,
        }
    }

    /// Reads the answer to `GET /charges?key=…`. A charge stands unless it was surely given back or
    /// declined.
    #[must_use]
    pub fn of(exchange: &Exchange, key: &GatewayKey, payment: PaymentId) -> Self {
        #[derive(Deserialize)]
        struct Shown {
            key: String,
            status: String,
            #[serde(default)]
            reference: Option<String>,
        }
        #[derive(Deserialize)]
        struct Listing {
            data: Vec<Shown>,
            #[serde(default)]
            has_more: bool,
        }
        let told = match Told::of(exchange) {
            Ok(told) => told,
            Err(failed) => return Self::NoAnswer(failed),
        };
        if told.is_unsupported() {
            return Self::Unsupported;
        }
        let listing =
            (told.status == 200).then(|| serde_json::from_slice::<Listing>(told.body).ok()).flatten();
        let Some(listing) = listing else { return Self::NoAnswer(told.failed()) };
        let mut standing = listing
            .data
            .iter()
            .filter(|charge| !matches!(charge.status.as_str(), "failed" | "voided" | "refunded"))
            .peekable();
        let is_its = |charge: &Shown| {
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
