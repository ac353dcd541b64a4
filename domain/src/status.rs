//! The statuses of a payment and the events that move it. Pure.
//!
//! Invariants: no event follows a terminal status, and only an event of this table changes a status.
//! `docs/STATES.md` draws the same table, and a test compares the two.

use crate::words;

words! {
    /// Where a payment stands.
    PaymentStatus {
        /// The payment waits for its first or next attempt. A claim moves it on once `due_at` has come.
        Pending = "pending",
        /// The payment is claimed, waits for its next look, or is held. Its claimant moves it on, a worker
        /// that takes over, or a person.
        Processing = "processing",
        /// The gateway charged what is owed, as its evidence or a person says. The ledger is posted.
        /// Terminal.
        Succeeded = "succeeded",
        /// The payment was surely not charged, or a person says so. Terminal.
        Failed = "failed",
        /// The doubt ended by a confirmed void, by a closed key, or by a person. Terminal.
        Reversed = "reversed",
        /// The rules of risk want a person to look at the payment first. Nobody claims it until then.
        InReview = "in_review",
    }
}

words! {
    /// One appended fact of a payment's history.
    EventType {
        /// The request was accepted.
        Created = "created",
        /// A worker claimed the payment and may charge.
        AttemptStarted = "attempt_started",
        /// A worker claimed the payment over a lease that ran out. It may look up or void, and never charges.
        TakenOver = "taken_over",
        /// A worker claimed the payment for a look or a void that was due. It never charges.
        Verifying = "verifying",
        /// A charge may have happened; a worker looks again later.
        OutcomeUnknown = "outcome_unknown",
        /// This attempt surely did not charge; a worker tries again later.
        RetryScheduled = "retry_scheduled",
        /// The gateway charged exactly what is owed, or a person decided so.
        Succeeded = "succeeded",
        /// The payment was surely not charged and is not tried again, or a person decided so.
        Failed = "failed",
        /// Only a void can end the doubt from here on.
        VoidStarted = "void_started",
        /// The gateway confirmed the void or shows that the key is closed, or a person decided so.
        Reversed = "reversed",
        /// The workers leave the payment alone until a person acts.
        Held = "held",
        /// A person gave the payment back to the workers.
        Released = "released",
        /// The payment was due further away than any wait. It is due now, or a lease from now if it is
        /// claimed; a claim stays.
        Rescheduled = "rescheduled",
        /// The payment came back with a restored database. A look at the gateway comes before anything else.
        Restored = "restored",
        /// A late result shows a possible charge of which the payment's own history knows nothing.
        Doubted = "doubted",
        /// The rules of risk want a person to look at the payment before it is charged.
        ReviewStarted = "review_started",
        /// A person let the payment pass, and a worker may charge.
        Approved = "approved",
    }
}

words! {
    /// Why a payment waits for a person.
    HeldReason {
        /// The gateway's books show another amount, currency or key.
        WrongAnswer = "wrong_answer",
        /// The gateway's books contradict themselves or ours, or the payment's events contradict its row.
        Contradiction = "contradiction",
        /// Neither look-up nor void can end the doubt.
        Unverifiable = "unverifiable",
        /// Each worker that held the payment was lost.
        Poison = "poison",
        /// This version cannot read what is owed: another version wrote it.
        Unreadable = "unreadable",
        /// The payment came back with a restored database, and the gateway shows nothing of it.
        Restored = "restored",
    }
}

/// What a worker may do that has a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    /// It may charge.
    ToCharge,
    /// It may look up or void, and never charges.
    ToLook,
}

impl EventType {
    /// What the claim is for that begins with this event; none for an event that is no claim.
    #[must_use]
    pub const fn claims(self) -> Option<Claims> {
        match self {
            Self::AttemptStarted => Some(Claims::ToCharge),
            Self::TakenOver | Self::Verifying => Some(Claims::ToLook),
            Self::Created
            | Self::OutcomeUnknown
            | Self::RetryScheduled
            | Self::Succeeded
            | Self::Failed
            | Self::VoidStarted
            | Self::Reversed
            | Self::Held
            | Self::Released
            | Self::Rescheduled
            | Self::Restored
            | Self::Doubted
            | Self::ReviewStarted
            | Self::Approved => None,
        }
    }
}

/// An event that cannot follow the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen to a payment that is {}", from.map_or("new", PaymentStatus::as_str))]
pub struct IllegalTransition {
    /// The status before; none for a payment that does not exist yet.
    pub from: Option<PaymentStatus>,
    /// The event that was refused.
    pub event: EventType,
}

impl PaymentStatus {
    /// Whether no event can follow.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Processing | Self::InReview => false,
            Self::Succeeded | Self::Failed | Self::Reversed => true,
        }
    }

    /// The status after `event`; `from` is none for a payment that does not exist yet.
    ///
    /// # Errors
    /// The event cannot follow that status.
    pub fn after(from: Option<Self>, event: EventType) -> Result<Self, IllegalTransition> {
        use EventType as E;
        use PaymentStatus as S;
        match (from, event) {
            (None, E::Created)
            | (Some(S::Processing), E::RetryScheduled)
            | (Some(S::Pending), E::Rescheduled)
            | (Some(S::InReview), E::Approved) => Ok(S::Pending),
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
            // What rules or an account decide needs no claim: no gateway is asked.
            (Some(S::Processing | S::Pending | S::InReview), E::Succeeded) => Ok(S::Succeeded),
            (Some(S::Processing | S::Pending | S::InReview), E::Failed) => Ok(S::Failed),
            (Some(S::Processing), E::Reversed) => Ok(S::Reversed),
            (Some(S::Pending), E::ReviewStarted) => Ok(S::InReview),
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
    fn every_status_is_reached_by_some_event() {
        let froms = || std::iter::once(None).chain(PaymentStatus::ALL.iter().copied().map(Some));
        for &status in PaymentStatus::ALL {
            let mut reached = froms().flat_map(|from| EventType::ALL.iter().map(move |&event| (from, event)));
            assert!(
                reached
                    .any(|(from, event)| from != Some(status)
                        && PaymentStatus::after(from, event) == Ok(status)),
                "nothing leads to {status}"
            );
        }
    }

    #[test]
    fn only_a_claimed_payment_can_end_by_what_a_gateway_says() {
        for &from in PaymentStatus::ALL {
            for &event in EventType::ALL {
                let ends = PaymentStatus::after(Some(from), event).is_ok_and(PaymentStatus::is_terminal);
                let is_decided_here = matches!(event, EventType::Succeeded | EventType::Failed);
                assert!(
                    !ends || from == PaymentStatus::Processing || is_decided_here,
                    "{event} ends a payment that is {from}"
                );
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
            let by_itself = matches!(event, EventType::Succeeded | EventType::Failed);
            let expected = if by_itself {
                3
            } else if to_any {
                2
            } else {
                1
            };
            assert_eq!(possible, expected, "{event}");
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
