//! What an answer to a request to void means.
//!
//! Invariant: only a void of our own key confirms anything.

use serde::Deserialize;

use super::{Exchange, Failed, FailureKind, Told};
use crate::ids::GatewayKey;

/// The outcome of a request to void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoidOutcome {
    /// Whatever the key charged is undone, and the key is closed.
    Confirmed,
    /// The gateway cannot void.
    Unsupported,
    /// Nothing is known; ask again.
    NoAnswer(Failed),
}

impl VoidOutcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(failed) => failed.kind.as_str(),
        }
    }

    /// How the exchange failed; none where the gateway answered the question.
    #[must_use]
    pub const fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::NoAnswer(failed) => Some(failed.kind),
            Self::Confirmed | Self::Unsupported => None,
        }
    }

    /// Reads the answer to `POST /voids`.
    #[must_use]
    pub fn of(exchange: &Exchange, key: &GatewayKey) -> Self {
        #[derive(Deserialize)]
        struct Void {
            key: String,
            voided: bool,
        }
        let told = match Told::of(exchange) {
            Ok(told) => told,
            Err(failed) => return Self::NoAnswer(failed),
        };
        if told.is_unsupported() {
            return Self::Unsupported;
        }
        let void = (told.status == 201).then(|| serde_json::from_slice::<Void>(told.body).ok()).flatten();
        match void {
            Some(void) if void.voided && void.key == key.as_str() => Self::Confirmed,
            Some(_) => Self::NoAnswer(told.unexpected("not a void of our key")),
            None => Self::NoAnswer(told.failed()),
        }
    }
}
