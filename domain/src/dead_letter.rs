//! Why the queue gives something up.

use crate::words;

words! {
    /// Why a job or a payment was given up.
    Class {
        /// It can never be done: it cannot be read, or names no payment.
        NonRetryable = "non_retryable",
        /// Its worker was lost more often than the job is delivered.
        RetryExhausted = "retry_exhausted",
        /// A payment by which each worker was lost that had it. It is held.
        Poison = "poison",
    }
}

impl Class {
    /// What it says, to an operator.
    #[must_use]
    pub const fn explained(self) -> &'static str {
        match self {
            Self::NonRetryable => "It can never be done: it cannot be read, or names no payment.",
            Self::RetryExhausted => {
                "Each worker that had it was lost. Its payment is looked at all the same."
            }
            Self::Poison => {
                "Each worker that had the payment was lost, also the one that had nothing else in hand."
            }
        }
    }
}
