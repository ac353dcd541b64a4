//! Why a payment goes the way it goes: the word that stands in its event.

use crate::outcome::{FailureKind, NotSent};
use crate::words;

words! {
    /// Why a payment is tried again, looked at again, voided or ended.
    Reason {
        /// No whole answer came in time.
        Timeout = "timeout",
        /// The connection broke after something may have been sent.
        Reset = "reset",
        /// No connection was made.
        Unreachable = "unreachable",
        /// Something else answered in the gateway's place.
        NotTheGateway = "not_the_gateway",
        /// The gateway says that something went wrong there.
        ServerError = "server_error",
        /// The gateway says that it did nothing.
        NotExecuted = "not_executed",
        /// The gateway refuses our credentials.
        Unauthorized = "unauthorized",
        /// The gateway got too many requests.
        RateLimited = "rate_limited",
        /// The answer does not fit the question.
        Unexpected = "unexpected",
        /// Nothing was sent.
        NotSent = "not_sent",
        /// The worker that had the claim was lost.
        WorkerLost = "worker_lost",
        /// The claim's time to send was over.
        TooLateToSend = "too_late_to_send",
        /// Another server takes writes than the one that the claim came from.
        AnotherDatabase = "another_database",
        /// The call is none that HTTP can carry.
        NotBuilt = "request_could_not_be_built",
        /// The claim was for no call.
        NotAsked = "not_asked",
        /// The gateway has not decided yet.
        StillWorking = "still_working",
        /// A request with our key is still running there.
        KeyInUse = "key_in_use",
        /// The gateway finds the request invalid, of a payment that may have been charged before.
        InvalidRequest = "invalid_request",
        /// The answer is about other money, or another key.
        WrongAnswer = "wrong_answer",
        /// The lookup itself failed.
        LookupFailed = "lookup_failed",
        /// A charge that was sent may not be shown yet.
        NotVisibleYet = "not_visible_yet",
        /// A lookup showed nothing, although a charge must have been visible. Such looks count towards
        /// "absent".
        NotFound = "not_found",
        /// Two such lookups showed nothing: the charge never arrived.
        Absent = "absent",
        /// The gateway may have forgotten our key, so that the same charge sent again could be a second one.
        KeyNotTrusted = "key_not_trusted",
        /// The gateway does not look up, so that nobody can ask what became of a charge.
        LookupUnsupported = "lookup_unsupported",
        /// All tries are used up.
        RetriesExhausted = "retries_exhausted",
        /// The payment is older than `PAYMENT_MAX_AGE_MS`.
        Expired = "expired",
        /// The doubt has lasted longer than `DOUBT_DEADLINE_MS`.
        DoubtDeadline = "doubt_deadline",
        /// The void was not answered.
        VoidFailed = "void_failed",
        /// The gateway confirmed the void that we asked for.
        VoidConfirmed = "void_confirmed",
        /// The key had been closed by somebody else, or in a past that is forgotten here.
        KeyClosed = "key_closed",
        /// The look that comes first after a restore is done, and the void goes on.
        RestoredSeen = "restored_seen",
        /// A key that a forgotten payment may have used is looked up before it is voided.
        LookBeforeVoid = "look_before_void",
        /// The gateway is away, which no payment pays for.
        GatewayAway = "gateway_away",
        /// The database could not say whose a charge is.
        AdoptionUnclear = "adoption_unclear",
        /// A person decided so. The machine gives this reason for nothing.
        ByHand = "by_hand",
    }
}

impl From<FailureKind> for Reason {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Timeout => Self::Timeout,
            FailureKind::Reset => Self::Reset,
            FailureKind::Unreachable => Self::Unreachable,
            FailureKind::NotTheGateway => Self::NotTheGateway,
            FailureKind::ServerError => Self::ServerError,
            FailureKind::NotExecuted => Self::NotExecuted,
            FailureKind::Unauthorized => Self::Unauthorized,
            FailureKind::RateLimited => Self::RateLimited,
            FailureKind::Unexpected => Self::Unexpected,
            FailureKind::NotSent => Self::NotSent,
            FailureKind::WorkerLost => Self::WorkerLost,
        }
    }
}

impl From<NotSent> for Reason {
    fn from(why: NotSent) -> Self {
        match why {
            NotSent::TooLateToSend => Self::TooLateToSend,
            NotSent::AnotherDatabase => Self::AnotherDatabase,
            NotSent::NotBuilt => Self::NotBuilt,
            NotSent::NotAsked => Self::NotAsked,
        }
    }
}

/// What an outcome costs its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spends {
    /// One of its tries.
    Try,
    /// Nothing: it was not the payment's doing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_comes_from_a_failure_has_its_word() {
        for &kind in FailureKind::ALL {
            assert_eq!(Reason::from(kind).as_str(), kind.as_str());
        }
        for &why in NotSent::ALL {
            assert_eq!(Reason::from(why).as_str(), why.as_str());
        }
    }
}
