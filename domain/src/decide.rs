//! What to do next about a payment, given where it stands and what the gateway just said. Pure.
//!
//! Invariant: a payment in doubt never fails by running out of tries or time; its ways out are a charge found, a
//! decline that the gateway stored, a confirmed void, or a person.

use std::time::Duration;

use crate::outcome::{Charge, ChargeOutcome, FailureKind, LookupOutcome, VoidOutcome};
use crate::status::{EventType, HeldReason};

mod past;
mod policy;

pub use past::{before_first_look, before_remedy, first_look, look_before_void};
pub use policy::{Policy, Profile};

use policy::{RETRY_AFTER_MAX, VOID_WAIT_MAX};

/// What the gateway may be asked about a claimed payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To charge.
    Charge,
    /// To look up.
    Verify,
    /// To void, and nothing else.
    Void,
}

impl Purpose {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Verify => "verify",
            Self::Void => "void",
        }
    }
}

/// Where a claimed payment stands. Ages are by the database's clock, at the time of the claim.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// A charge may have happened.
    pub in_doubt: bool,
    /// Outcomes that used up a try.
    pub retries_spent: u32,
    /// Outcomes in a row, up to now, that used up none.
    pub delay_count: u32,
    /// Looks since the last attempt.
    pub verify_count: u32,
    /// Of these, the ones that found nothing when a charge must have been visible.
    pub not_found_count: u32,
    /// Since the request was accepted.
    pub age: Duration,
    /// Since the first doubt, without the time in which the gateway was away; zero without doubt.
    pub doubt_age: Duration,
    /// Since the first charge may have left.
    pub first_sent_age: Duration,
    /// Since the last moment at which the last charge may have left; zero before that moment.
    pub send_by_age: Duration,
    /// Since the first void may have left, without the time in which the gateway was away; zero before.
    pub void_age: Duration,
    /// Whether an earlier attempt may have reached the gateway, whatever came of it.
    pub was_sent: bool,
    /// Whether this is a question to a gateway that may still be away: it uses up no try.
    pub is_probe: bool,
    /// Whether a void has started, also where a look comes first.
    pub is_voiding: bool,
    /// How far from the last return of a past it was accepted, where its key could be that of a payment forgotten then.
    pub from_a_return: Option<Duration>,
}

/// Why a payment failed, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// Stable and machine-readable.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether a new payment with the same data may succeed.
    pub retryable: bool,
}

/// What happens to the payment now. Each is one transition of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// T11.
    Succeed(Charge),
    /// T15.
    Fail(Failure),
    /// T10: surely not charged by this attempt; try again after `wait`.
    Retry {
        /// How long to wait.
        wait: Duration,
        /// Why.
        reason: &'static str,
        /// Whether a try is used up.
        spends: bool,
    },
    /// T9: it may have been charged; look again after `wait`.
    Doubt {
        /// How long to wait.
        wait: Duration,
        /// Why.
        reason: &'static str,
        /// Whether a try is used up.
        spends: bool,
        /// Whether a person is told, although the machine goes on.
        tells: bool,
    },
    /// T16a: only a void can end it now.
    StartVoid {
        /// Why.
        reason: &'static str,
        /// Whether a try was used up.
        spends: bool,
    },
    /// T16.
    Reverse {
        /// Why.
        reason: &'static str,
    },
    /// T18.
    Hold(HeldReason),
}

impl Step {
    /// The event that it is written as.
    #[must_use]
    pub const fn event(&self) -> EventType {
        match self {
            Self::Succeed(_) => EventType::Succeeded,
            Self::Fail(_) => EventType::Failed,
            Self::Retry { .. } => EventType::RetryScheduled,
            Self::Doubt { .. } => EventType::OutcomeUnknown,
            Self::StartVoid { .. } => EventType::VoidStarted,
            Self::Reverse { .. } => EventType::Reversed,
            Self::Hold(_) => EventType::Held,
        }
    }
}

/// The reason of a void that is due because nobody can ask what became of a charge.
pub const LOOKUP_UNSUPPORTED: &str = "lookup_unsupported";

/// The reason of whatever ends or is looked up because its time is over.
pub const EXPIRED: &str = "expired";

/// The reason of the looks that count towards "absent": found nothing although a charge must have been visible.
pub const NOT_FOUND: &str = "not_found";

/// The reason of an end by a void that we asked for.
pub const VOID_CONFIRMED: &str = "void_confirmed";

/// The reason of an end by a key that somebody else, or a forgotten past, had closed.
pub const KEY_CLOSED: &str = "key_closed";

/// The reason of going on with a void after the look that comes first where a database was restored.
pub const RESTORED_SEEN: &str = "restored_seen";

/// The reason of what a person decided, which the machine gives for nothing.
pub const BY_HAND: &str = "by_hand";

/// What stands against sending a charge although the payment is due; none in the ordinary course of things. A payment can
/// have waited for long since its retry was decided, or be in the hands of other settings.
#[must_use]
pub fn before_charge(now: &Situation, policy: &Policy) -> Option<Step> {
    if now.in_doubt && !key_is_trusted(now, policy) {
        return Some(end_of_doubt(policy, "key_not_trusted", false));
    }
    end_of_time(now, policy)
}

/// What stands against a lookup: a gateway that has none. A charge sent again would be answered too, where the gateway
/// honours keys, but a charge is never a question: the doubt goes to the void.
#[must_use]
pub fn before_lookup(policy: &Policy) -> Option<Step> {
    (!policy.profile.looks_up).then(|| end_of_doubt(policy, LOOKUP_UNSUPPORTED, false))
}

/// What stands against a void: a gateway that has none.
#[must_use]
pub fn before_void(policy: &Policy) -> Option<Step> {
    (!policy.profile.voids).then_some(Step::Hold(HeldReason::Unverifiable))
}

/// What follows an attempt to charge.
#[must_use]
pub fn after_charge(now: &Situation, policy: &Policy, outcome: ChargeOutcome) -> Step {
    use ChargeOutcome as O;
    match outcome {
        O::Charged(charge) => Step::Succeed(charge),
        // Of a payment that is known here. That of a forgotten one is ours, which whoever can ask says.
        O::ChargedAs(..) | O::KeyReused(_) => Step::Hold(HeldReason::Contradiction),
        O::KeyClosed => Step::Reverse { reason: KEY_CLOSED },
        O::Declined(refusal) => {
            // A gateway's word that is one of ours would say that we gave up, or that a person decided.
            let is_ours =
                matches!(refusal.code.as_str(), "retries_exhausted" | "expired" | "non_retryable" | BY_HAND);
            let code = if is_ours { "declined".to_owned() } else { refusal.code };
            Step::Fail(Failure { code, message: refusal.message, retryable: true })
        }
        O::Invalid(_) if now.in_doubt => doubt(now, policy, "invalid_request", true),
        O::Invalid(refusal) => Step::Fail(Failure {
            code: "non_retryable".to_owned(),
            message: format!("the gateway refused the request: {} {}", refusal.code, refusal.message),
            retryable: false,
        }),
        O::StillWorking => doubt(now, policy, "still_working", true),
        O::KeyBusy => doubt(now, policy, "key_in_use", false),
        O::Unknown(failed) => doubt(now, policy, failed.kind.as_str(), true),
        O::NotTheGateway(_) => doubt(now, policy, FailureKind::NotTheGateway.as_str(), false),
        O::WrongAnswer(_) => doubt(now, policy, "wrong_answer", true),
        O::NotExecuted => retry(now, policy, next_wait(now, policy), "not_executed", true),
        O::RateLimited(asked) => {
            let asked = asked.filter(|asked| !asked.is_zero());
            let asked = asked.map(|asked| asked.max(policy.backoff_initial).min(RETRY_AFTER_MAX));
            let wait = asked.unwrap_or_else(|| next_wait(now, policy));
            retry(now, policy, wait, "rate_limited", false)
        }
        O::Unreachable(_) => retry(now, policy, next_wait(now, policy), "unreachable", false),
        O::Unauthorized => retry(now, policy, next_wait(now, policy), "unauthorized", false),
        O::NotSent(reason) => retry(now, policy, next_wait(now, policy), reason, false),
    }
}

/// The wait before the next attempt: each outcome that used up a try makes it longer, and so does each in a row that used
/// up none.
fn next_wait(now: &Situation, policy: &Policy) -> Duration {
    policy.backoff(now.retries_spent.saturating_add(now.delay_count).saturating_add(1))
}

/// What follows a lookup.
#[must_use]
pub fn after_lookup(now: &Situation, policy: &Policy, outcome: LookupOutcome) -> Step {
    use LookupOutcome as O;
    match outcome {
        O::Charged(charge) => Step::Succeed(charge),
        O::Declined(_) => Step::Fail(declined()),
        // Where keys are not honoured another charge may be on its way, until a void of ours closes it.
        O::KeyClosed if !policy.profile.honours_keys => end_of_doubt(policy, KEY_CLOSED, false),
        O::KeyClosed => Step::Reverse { reason: KEY_CLOSED },
        O::Pending { .. } => doubt(now, policy, "still_working", false),
        O::NoAnswer(_) => doubt(now, policy, "lookup_failed", false),
        O::Unsupported => end_of_doubt(policy, LOOKUP_UNSUPPORTED, false),
        O::WrongAnswer(_) => Step::Hold(HeldReason::WrongAnswer),
        O::ChargedAs(..) | O::Contradiction(_) => Step::Hold(HeldReason::Contradiction),
        O::NotFound if now.send_by_age < policy.gateway_timeout + policy.visibility => {
            doubt(now, policy, "not_visible_yet", false)
        }
        O::NotFound if now.not_found_count == 0 => doubt(now, policy, NOT_FOUND, false),
        O::NotFound => absent(now, policy),
    }
}

/// A decline that a look showed.
fn declined() -> Failure {
    Failure {
        code: "declined".to_owned(),
        message: "the gateway declined the charge".to_owned(),
        retryable: true,
    }
}

/// What follows a request to void. One that is not answered is asked for again and again: nobody can end the doubt
/// better than the void.
#[must_use]
pub fn after_void(now: &Situation, policy: &Policy, outcome: &VoidOutcome) -> Step {
    match Voiding::after(now.void_age, now.verify_count, policy, outcome) {
        Voiding::Done => Step::Reverse { reason: VOID_CONFIRMED },
        Voiding::Impossible | Voiding::OfAnother => Step::Hold(HeldReason::Unverifiable),
        Voiding::Again { wait, is_late } => {
            Step::Doubt { wait, reason: "void_failed", spends: false, tells: is_late }
        }
    }
}

/// How far a void has come, be it of a payment in doubt or of a charge that came to light after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voiding {
    /// Nothing is charged, and nothing will be.
    Done,
    /// Not known; ask again.
    Again {
        /// After so long.
        wait: Duration,
        /// Whether it has gone without an answer for longer than a doubt may last.
        is_late: bool,
    },
    /// The gateway cannot void.
    Impossible,
    /// What stands may be another payment's: no machine voids it.
    OfAnother,
}

impl Voiding {
    /// After `age` since the first request and `count` requests without an answer, this outcome.
    #[must_use]
    pub fn after(age: Duration, count: u32, policy: &Policy, outcome: &VoidOutcome) -> Self {
        match outcome {
            VoidOutcome::Confirmed => Self::Done,
            VoidOutcome::Unsupported => Self::Impossible,
            VoidOutcome::NoAnswer(_) => Self::Again {
                wait: policy.verify_wait(count).min(VOID_WAIT_MAX),
                is_late: age > policy.doubt_deadline,
            },
        }
    }
}

/// The gateway does not know our key, and would by now. Sent again only under the same key, and only while the
/// gateway still keeps it.
fn absent(now: &Situation, policy: &Policy) -> Step {
    if !key_is_trusted(now, policy) {
        return end_of_doubt(policy, "key_not_trusted", false);
    }
    if now.retries_spent > policy.max_retries {
        return end_of_doubt(policy, "retries_exhausted", false);
    }
    if is_expired(now, policy) {
        return end_of_doubt(policy, EXPIRED, false);
    }
    retry(now, policy, policy.backoff(now.retries_spent.max(1)), "absent", false)
}

/// Whether the gateway still charges once for our key, whatever became of the charges that were sent.
fn key_is_trusted(now: &Situation, policy: &Policy) -> bool {
    let Profile { honours_keys, key_retention, .. } = policy.profile;
    honours_keys && now.first_sent_age < key_retention.saturating_sub(policy::KEY_RETENTION_MARGIN)
}

/// This attempt did not charge: again, unless tries or time are used up.
fn retry(now: &Situation, policy: &Policy, wait: Duration, reason: &'static str, spends: bool) -> Step {
    let spends = spends && !now.is_probe;
    if spends && now.retries_spent >= policy.max_retries {
        let message = format!("the gateway did not take the charge in {} tries", now.retries_spent + 1);
        return give_up(now, policy, "retries_exhausted", message, spends);
    }
    end_of_time(now, policy).unwrap_or(Step::Retry { wait, reason, spends })
}

/// What follows when a payment has taken too long; none if it has not. What was ever sent is looked up first, whatever was
/// answered: age alone ends nothing that may have reached the gateway.
fn end_of_time(now: &Situation, policy: &Policy) -> Option<Step> {
    if now.in_doubt {
        let has_lasted = now.doubt_age > policy.doubt_deadline;
        let reason = if has_lasted { "doubt_deadline" } else { EXPIRED };
        return (has_lasted || is_expired(now, policy)).then(|| end_of_doubt(policy, reason, false));
    }
    if !is_expired(now, policy) {
        return None;
    }
    if now.was_sent {
        return Some(Step::Doubt { wait: Duration::ZERO, reason: EXPIRED, spends: false, tells: false });
    }
    let message = "the gateway did not take the charge in time".to_owned();
    Some(give_up(now, policy, EXPIRED, message, false))
}

/// Whether the payment has waited for longer than one may.
fn is_expired(now: &Situation, policy: &Policy) -> bool {
    now.age > policy.max_age
}

/// The end of a payment that was not charged by this attempt: failed, unless an earlier attempt may have charged it.
fn give_up(now: &Situation, policy: &Policy, reason: &'static str, message: String, spends: bool) -> Step {
    if now.in_doubt {
        return end_of_doubt(policy, reason, spends);
    }
    Step::Fail(Failure { code: reason.to_owned(), message, retryable: true })
}

/// The machine can learn no more about a payment in doubt: it is voided, and where the gateway cannot, a person must act.
/// No void is started that cannot be carried out, so that a charge found later is still the payment's.
fn end_of_doubt(policy: &Policy, reason: &'static str, spends: bool) -> Step {
    before_void(policy).unwrap_or(Step::StartVoid { reason, spends })
}

/// It may have been charged: look again, unless the doubt has lasted long enough.
fn doubt(now: &Situation, policy: &Policy, reason: &'static str, spends: bool) -> Step {
    if now.in_doubt && now.doubt_age > policy.doubt_deadline {
        return end_of_doubt(policy, "doubt_deadline", spends);
    }
    let spends = spends && !now.is_probe;
    Step::Doubt { wait: policy.verify_wait(now.verify_count), reason, spends, tells: false }
}

#[cfg(test)]
mod tests;
