//! The classes of dead letters: why the queue gives up a job or a payment.

use crate::words;

words! {
    /// Why a job or a payment was given up.
    Class {
        /// The job can never be done: its id or body cannot be read, or no payment has its id.
        NonRetryable = "non_retryable",
        /// Each worker that took the job was lost, as often as a job is delivered.
        RetryExhausted = "retry_exhausted",
        /// Each worker that held the payment was lost. The payment is held.
        Poison = "poison",
    }
}

impl Class {
    /// The sentence that operators read about this class.
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
