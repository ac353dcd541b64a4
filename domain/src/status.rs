//! The statuses of a payment and the events that move it. Pure; `docs/STATES.md` draws the same table and a test
//! compares the two.
//!
//! Invariant: terminal is terminal, and nothing but an event of this table changes a status.

use crate::words;

words! {
    /// Where a payment stands.
    PaymentStatus {
        /// Waiting for its first or next attempt. A claim moves it on once `due_at` has come.
        Pending = "pending",
        /// Claimed, or waiting for its next look. Its claimant moves it on, or whoever takes it over.
        Processing = "processing",
        /// Charged, evidence in hand, ledger posted. Terminal.
        Succeeded = "succeeded",
        /// Surely not charged. Terminal.
        Failed = "failed",
        /// The doubt ended by a confirmed void. Terminal.
        Reversed = "reversed",
    }
}

words! {
    /// One appended fact of a payment's history.
    EventType {
        /// T1: the request was accepted.
        Created = "created",
        /// T7: a claim that may charge.
        AttemptStarted = "attempt_started",
        /// T8: a claim over a lease that ran out. May look up or void, never charge.
        TakenOver = "taken_over",
        /// T8: a claim for a look that was due. May look up or void, never charge.
        Verifying = "verifying",
        /// T9: a charge may have happened; look again later.
        OutcomeUnknown = "outcome_unknown",
        /// T10: this attempt surely did not charge; try again later.
        RetryScheduled = "retry_scheduled",
        /// T11: the gateway charged exactly what is owed.
        Succeeded = "succeeded",
        /// T15: surely not charged, and not tried again.
        Failed = "failed",
        /// T16a: out of tries while in doubt; from here only a void.
        VoidStarted = "void_started",
        /// T16: the gateway confirmed the void.
        Reversed = "reversed",
        /// T18: out of the machine's hands until a person acts.
        Held = "held",
        /// T19: a person gave it back to the machine.
        Released = "released",
        /// T20: it was due further away than any wait, and is due now; a claim stays as it is.
        Rescheduled = "rescheduled",
        /// It came back with a restored database: what the gateway has of it is looked at before anything else.
        Restored = "restored",
        /// A late result shows that a charge may have happened that its own history does not know of.
        Doubted = "doubted",
    }
}

words! {
    /// Why a payment is out of the machine's hands.
    HeldReason {
        /// The gateway's books say another amount, currency or key.
        WrongAnswer = "wrong_answer",
        /// The gateway's books contradict themselves or ours.
        Contradiction = "contradiction",
        /// Neither lookup nor void can end the doubt.
        Unverifiable = "unverifiable",
        /// Each worker that had it was lost.
        Poison = "poison",
        /// This version cannot read what is owed: another one wrote it.
        Unreadable = "unreadable",
        /// It came back with a restored database, and the gateway shows nothing of it.
        Restored = "restored",
    }
}

/// An event that cannot follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen to a payment that is {}", from.map_or("new", PaymentStatus::as_str))]
pub struct IllegalTransition {
    /// The status before; none for a payment that does not exist yet.
    pub from: Option<PaymentStatus>,
    /// What was to happen.
    pub event: EventType,
}

impl PaymentStatus {
    /// Whether nothing can happen to it any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Processing => false,
            Self::Succeeded | Self::Failed | Self::Reversed => true,
        }
    }

    /// The status after `event`, from `from` (none: the payment does not exist yet).
    ///
    /// # Errors
    /// The pair is not in the table.
    pub fn after(from: Option<Self>, event: EventType) -> Result<Self, IllegalTransition> {
        use EventType as E;
        use PaymentStatus as S;
        match (from, event) {
            (None, E::Created)
            | (Some(S::Processing), E::RetryScheduled)
            | (Some(S::Pending), E::Rescheduled) => Ok(S::Pending),
            (Some(S::Pending), E::AttemptStarted | E::Verifying | E::Held | E::Restored | E::Doubted) => {
                Ok(S::Processing)
            }
            (
                Some(S::Processing),
                E::TakenOver
                | E::Verifying
                | E::OutcomeUnknown
                | E::VoidStarted
                | E::Held
                | E::Released
                | E::Rescheduled
                | E::Restored
                | E::Doubted,
            ) => Ok(S::Processing),
            (Some(S::Processing), E::Succeeded) => Ok(S::Succeeded),
            (Some(S::Processing), E::Failed) => Ok(S::Failed),
            (Some(S::Processing), E::Reversed) => Ok(S::Reversed),
            (from, event) => Err(IllegalTransition { from, event }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_terminal_status() {
        for &from in PaymentStatus::ALL.iter().filter(|status| status.is_terminal()) {
            for &event in EventType::ALL {
                assert!(PaymentStatus::after(Some(from), event).is_err(), "{event} after {from}");
            }
        }
    }

    #[test]
    fn only_a_claimed_payment_can_end() {
        for &from in PaymentStatus::ALL {
            for &event in EventType::ALL {
                let ends = PaymentStatus::after(Some(from), event).is_ok_and(PaymentStatus::is_terminal);
                assert!(!ends || from == PaymentStatus::Processing, "{event} ends a payment that is {from}");
            }
        }
    }

    #[test]
    fn every_event_can_happen_to_exactly_one_status_but_a_few_to_any_payment_under_way() {
        let froms = || std::iter::once(None).chain(PaymentStatus::ALL.iter().copied().map(Some));
        for &event in EventType::ALL {
            let possible = froms().filter(|&from| PaymentStatus::after(from, event).is_ok()).count();
            let to_any = matches!(
                event,
                EventType::Verifying
                    | EventType::Held
                    | EventType::Rescheduled
                    | EventType::Restored
                    | EventType::Doubted
            );
            assert_eq!(possible, if to_any { 2 } else { 1 }, "{event}");
        }
    }

    #[test]
    fn every_word_reads_back() {
        for &status in PaymentStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("paid".parse::<PaymentStatus>().unwrap_err().to_string().contains("pending, processing"));
    }
}
