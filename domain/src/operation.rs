//! Operations on a payment that was charged: refunds. What may be asked, what an answer of the gateway means,
//! and what follows.
//!
//! Invariant: an operation in doubt ends only by its effect found, or by a refusal that the gateway stored
//! under its key. Else a person decides: no timer ends it, and it is never sent under another key.

use std::time::Duration;

use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};

use crate::decide::{Policy, Reason, Situation, Spends};
use crate::outcome::{FailureKind, Refusal};
use crate::status::HeldReason;
use crate::words;

mod outcome;

pub use outcome::{Effect, EffectStatus, ExpectedEffect, OperationOutcome};

/// The operation under which `POST /v1/payments/{id}/refunds` records its keys. Their scope is the payment.
pub const REFUND_PAYMENT: &str = "refund_payment";

words! {
    /// Where an operation stands.
    OperationStatus {
        /// It may still happen.
        Pending = "pending",
        /// The gateway did exactly what was asked for.
        Succeeded = "succeeded",
        /// It surely did not happen, and is not tried again.
        Failed = "failed",
        /// A dispute has not ended.
        Open = "open",
        /// A dispute ended, and the money came back.
        Won = "won",
        /// A dispute ended, and the money is gone.
        Lost = "lost",
    }
}

words! {
    /// One fact of an operation's history.
    OperationEvent {
        /// Somebody asked for it, or it was found in the gateway's books.
        Created = "created",
        /// A claim that may send.
        AttemptStarted = "attempt_started",
        /// A claim over a lease that ran out. It may only look.
        TakenOver = "taken_over",
        /// A claim for a look that was due.
        Verifying = "verifying",
        /// It may have happened.
        OutcomeUnknown = "outcome_unknown",
        /// It surely did not happen yet, and may be sent again.
        RetryScheduled = "retry_scheduled",
        /// The gateway did it.
        Succeeded = "succeeded",
        /// The gateway surely did not do it.
        Failed = "failed",
        /// A person must act.
        Held = "held",
        /// A person gave it back to the workers.
        Released = "released",
        /// Its past may be forgotten: it is looked at first.
        Restored = "restored",
        /// A result came late of which nothing is known here: it may have happened.
        Doubted = "doubted",
        /// A dispute was opened at the gateway.
        Open = "open",
        /// A dispute was won.
        Won = "won",
        /// A dispute was lost.
        Lost = "lost",
    }
}

words! {
    /// Why a refund is not taken up. Its key remembers it for ever.
    RefundRefusal {
        /// The payment did not succeed.
        PaymentNotRefundable = "payment_not_refundable",
        /// A dispute about the payment is open.
        PaymentDisputed = "payment_disputed",
        /// More is to be given back than is left.
        AmountExceedsRefundable = "amount_exceeds_refundable",
    }
}

/// The SHA-256 of a request for a refund. The amount's trailing zeros do not matter.
#[must_use]
pub fn fingerprint_of_refund(
    amount: Option<Decimal>,
    reason: Option<&str>,
    metadata: &serde_json::Value,
) -> [u8; 32] {
    let amount = amount.map(|amount| amount.normalize().to_string());
    Sha256::digest(serde_json::json!([amount, reason, metadata]).to_string()).into()
}

/// What happens to an operation now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationStep {
    /// It is done, by this effect.
    Succeed(Effect),
    /// It surely was not done.
    Fail(Refusal),
    /// It surely was not done by this attempt, or nothing of it arrived: it is sent again, under the same
    /// key.
    Retry {
        /// The wait before the next attempt.
        wait: Duration,
        /// The event's reason.
        reason: Reason,
        /// Whether a try is used up.
        spends: Spends,
    },
    /// It may have been done: it is looked up.
    Doubt {
        /// The wait before the next look.
        wait: Duration,
        /// The event's reason.
        reason: Reason,
        /// Whether this look showed nothing when an effect must have been visible.
        counts_not_found: bool,
    },
    /// A person must act.
    Hold(HeldReason),
}

impl OperationStep {
    /// The event that this step is written as.
    #[must_use]
    pub const fn event(&self) -> OperationEvent {
        match self {
            Self::Succeed(_) => OperationEvent::Succeeded,
            Self::Fail(_) => OperationEvent::Failed,
            Self::Retry { .. } => OperationEvent::RetryScheduled,
            Self::Doubt { .. } => OperationEvent::OutcomeUnknown,
            Self::Hold(_) => OperationEvent::Held,
        }
    }

    /// The status after it.
    #[must_use]
    pub const fn status(&self) -> OperationStatus {
        match self {
            Self::Succeed(_) => OperationStatus::Succeeded,
            Self::Fail(_) => OperationStatus::Failed,
            Self::Retry { .. } | Self::Doubt { .. } | Self::Hold(_) => OperationStatus::Pending,
        }
    }
}

/// What follows a request to do it.
#[must_use]
pub fn after_send(now: &Situation, policy: &Policy, outcome: OperationOutcome) -> OperationStep {
    use OperationOutcome as O;
    match outcome {
        O::Done(effect) => OperationStep::Succeed(effect),
        O::Refused(refusal) => OperationStep::Fail(ours_apart(refusal)),
        O::Invalid(_) | O::Unsupported if now.in_doubt => doubt(now, policy, Reason::InvalidRequest),
        O::Invalid(refusal) => fail(
            "non_retryable",
            format!("the gateway refused the request: {} {}", refusal.code, refusal.message),
        ),
        O::Unsupported => fail("non_retryable", "the gateway does not do this".to_owned()),
        O::KeyReused(_) | O::Contradiction(_) => OperationStep::Hold(HeldReason::Contradiction),
        O::WrongEffect(_) => OperationStep::Hold(HeldReason::WrongAnswer),
        O::StillWorking => doubt(now, policy, Reason::StillWorking),
        O::NotFound => doubt(now, policy, Reason::NotFound),
        O::RateLimited(asked) => {
            let wait = asked.filter(|asked| !asked.is_zero()).unwrap_or_else(|| next_wait(now, policy));
            let wait = wait.max(policy.backoff_initial).min(Duration::from_mins(1));
            OperationStep::Retry { wait, reason: Reason::RateLimited, spends: Spends::Nothing }
        }
        O::NoAnswer(failed) => match failed.kind {
            FailureKind::NotExecuted => not_executed(now, policy),
            FailureKind::Unreachable | FailureKind::Unauthorized | FailureKind::NotSent => {
                let (wait, reason) = (next_wait(now, policy), failed.kind.into());
                OperationStep::Retry { wait, reason, spends: Spends::Nothing }
            }
            FailureKind::Timeout
            | FailureKind::Reset
            | FailureKind::NotTheGateway
            | FailureKind::ServerError
            | FailureKind::RateLimited
            | FailureKind::Unexpected
            | FailureKind::WorkerLost => doubt(now, policy, failed.kind.into()),
        },
    }
}

/// What follows a look.
#[must_use]
pub fn after_look(now: &Situation, policy: &Policy, outcome: OperationOutcome) -> OperationStep {
    use OperationOutcome as O;
    match outcome {
        O::Done(effect) => OperationStep::Succeed(effect),
        O::Refused(refusal) => OperationStep::Fail(ours_apart(refusal)),
        O::WrongEffect(_) => OperationStep::Hold(HeldReason::WrongAnswer),
        O::KeyReused(_) | O::Contradiction(_) => OperationStep::Hold(HeldReason::Contradiction),
        O::Unsupported => OperationStep::Hold(HeldReason::Unverifiable),
        O::StillWorking => doubt(now, policy, Reason::StillWorking),
        O::Invalid(_) | O::RateLimited(_) | O::NoAnswer(_) => doubt(now, policy, Reason::LookupFailed),
        O::NotFound if now.send_by_age < policy.gateway_timeout + policy.visibility => {
            doubt(now, policy, Reason::NotVisibleYet)
        }
        O::NotFound if now.not_found_count == 0 => match doubt(now, policy, Reason::NotFound) {
            OperationStep::Doubt { wait, reason, .. } => {
                OperationStep::Doubt { wait, reason, counts_not_found: true }
            }
            step @ (OperationStep::Succeed(_)
            | OperationStep::Fail(_)
            | OperationStep::Retry { .. }
            | OperationStep::Hold(_)) => step,
        },
        // Nothing of it arrived. The same key has one effect, whatever is still on its way.
        O::NotFound if policy.trusts_keys(now.first_sent_age) => {
            let wait = policy.backoff(now.retries_spent.max(1));
            OperationStep::Retry { wait, reason: Reason::Absent, spends: Spends::Nothing }
        }
        O::NotFound => OperationStep::Hold(HeldReason::Unverifiable),
    }
}

/// What stands against a request although it is due: a key that the gateway may have forgotten.
#[must_use]
pub fn before_send(now: &Situation, policy: &Policy) -> Option<OperationStep> {
    (now.in_doubt && !policy.trusts_keys(now.first_sent_age))
        .then_some(OperationStep::Hold(HeldReason::Unverifiable))
}

/// What stands against a look: a gateway that has none.
#[must_use]
pub fn before_look(policy: &Policy) -> Option<OperationStep> {
    (!policy.profile.looks_up).then_some(OperationStep::Hold(HeldReason::Unverifiable))
}

/// The gateway says that it did nothing. If tries are used up, the operation fails, unless an earlier request
/// may have done it.
fn not_executed(now: &Situation, policy: &Policy) -> OperationStep {
    if now.is_probe || now.retries_spent < policy.max_retries {
        let spends = if now.is_probe { Spends::Nothing } else { Spends::Try };
        return OperationStep::Retry { wait: next_wait(now, policy), reason: Reason::NotExecuted, spends };
    }
    if now.in_doubt {
        return doubt(now, policy, Reason::NotExecuted);
    }
    fail(
        Reason::RetriesExhausted.as_str(),
        format!("the gateway did not take it in {} tries", now.retries_spent + 1),
    )
}

/// It may have been done. A look follows, unless looks have told nothing for too long.
fn doubt(now: &Situation, policy: &Policy, reason: Reason) -> OperationStep {
    if now.in_doubt && now.doubt_age > policy.doubt_deadline {
        return OperationStep::Hold(HeldReason::Unverifiable);
    }
    OperationStep::Doubt { wait: policy.look_wait(now.verify_count), reason, counts_not_found: false }
}

/// A doubt that nothing can be learnt about while the gateway is away.
#[must_use]
pub fn wait_for(policy: &Policy) -> OperationStep {
    let wait = policy.wait_for_gateway();
    OperationStep::Doubt { wait, reason: Reason::GatewayAway, counts_not_found: false }
}

fn next_wait(now: &Situation, policy: &Policy) -> Duration {
    policy.backoff(now.retries_spent.saturating_add(now.delay_count).saturating_add(1))
}

fn fail(code: &str, message: String) -> OperationStep {
    OperationStep::Fail(Refusal { code: code.to_owned(), message })
}

/// The gateway's refusal. With one of our own codes it would seem to say that we gave up.
fn ours_apart(refusal: Refusal) -> Refusal {
    let is_ours = ["non_retryable", Reason::RetriesExhausted.as_str()].contains(&refusal.code.as_str());
    if is_ours { Refusal { code: "refund_refused".to_owned(), ..refusal } } else { refusal }
}

#[cfg(test)]
mod tests;
