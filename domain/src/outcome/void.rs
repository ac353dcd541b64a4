//! What an answer to a request to void means.
//!
//! Invariant: only a void of our own key confirms anything.

use super::{Failed, FailureKind, Outcome};

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

impl Outcome for VoidOutcome {
    const WORDS: &'static [&'static str] = &["confirmed", "unsupported"];

    fn as_str(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(failed) => failed.kind.as_str(),
        }
    }

    fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::NoAnswer(failed) => Some(failed.kind),
            Self::Confirmed | Self::Unsupported => None,
        }
    }
}
