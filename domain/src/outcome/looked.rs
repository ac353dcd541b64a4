//! What a lookup by key shows: of the charges under a key, each as the gateway has it. Three questions are
//! put to it, each with an answer of its own: [`LookupOutcome`](super::LookupOutcome),
//! [`Standing`](super::Standing) and [`Seen`](crate::held::Seen).

use super::{Charge, Failed};

/// The charges under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those that are shown.
    pub charges: Vec<Charge>,
    /// Whether there are more, which are not shown.
    pub has_more: bool,
}

/// What a lookup by key showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// These charges.
    Shown(Listing),
    /// The gateway does not look up.
    Unsupported,
    /// Nothing: the lookup itself failed.
    NoAnswer(Failed),
}
