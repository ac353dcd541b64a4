//! What to do next about a payment, given where it stands and what the gateway just said. Pure, but for the
//! random part of a wait.
//!
//! Invariant: a payment in doubt never fails by running out of tries or time. Its ways out are a charge
//! found, a stored decline, a confirmed void, a closed key, or a person.

use std::time::Duration;

use crate::outcome::{CARD_DECLINED, PAYMENT_METHOD_UNKNOWN, Refusal};
use crate::outcome::{Charge, ChargeOutcome, LookupOutcome, VoidOutcome};
use crate::status::{EventType, HeldReason};
use crate::words;

mod past;
mod policy;
mod reason;

pub use past::{before_first_look, before_remedy, first_look, look_before_void};
pub use policy::{Policy, Profile};
pub use reason::{Reason, Spends};

use policy::{RETRY_AFTER_MAX, VOID_WAIT_MAX};

words! {
    /// What the gateway may be asked about a claimed payment.
    Purpose {
        /// One charge may be sent.
        Charge = "charge",
        /// One look-up may be sent.
        Verify = "verify",
        /// One void may be sent, and nothing else.
        Void = "void",
    }
}

/// Where a claimed payment stands. Ages are counted by the database's clock, up to the claim.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Whether a charge may have happened.
    pub in_doubt: bool,
    /// How many outcomes used up a try.
    pub retries_spent: u32,
    /// How many outcomes in a row, up to now, used up none.
    pub delay_count: u32,
    /// How many looks there were since the last attempt.
    pub verify_count: u32,
    /// How many of these looks found nothing when a charge must have been visible.
    pub not_found_count: u32,
    /// The time since the request was accepted.
    pub age: Duration,
    /// The time since the first doubt, without the time in which the gateway was away; zero without doubt.
    pub doubt_age: Duration,
    /// The time since the first charge may have left.
    pub first_sent_age: Duration,
    /// The time since the last moment at which the last charge may have left; zero before that moment.
    pub send_by_age: Duration,
    /// The time since the first void may have left, without the time in which the gateway was away; zero
    /// before.
    pub void_age: Duration,
    /// Whether an earlier attempt may have reached the gateway, whatever was answered.
    pub was_sent: bool,
    /// Whether this is a question to a gateway that may still be away. Such a probe uses up no try.
    pub is_probe: bool,
    /// Whether a void has started, also where a look comes before it.
    pub is_voiding: bool,
    /// The distance in time between the acceptance and the last return of a past. None where the payment's
    /// key cannot be that of a payment forgotten then.
    pub from_a_return: Option<Duration>,
}

/// Why a payment failed, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// A stable word for programs, such as `card_declined`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether a new payment with the same data may succeed.
    pub retryable: bool,
}

/// The code of a failure that no repetition can mend.
const NON_RETRYABLE: &str = "non_retryable";

/// What happens to the payment now. Each step is written as one event; see [`Step::event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The event `succeeded`, with the charge that the gateway shows.
    Succeed(Charge),
    /// The event `failed`, with what the client is told.
    Fail(Failure),
    /// The event `retry_scheduled`: this attempt surely did not charge.
    Retry {
        /// The wait before the next attempt.
        wait: Duration,
        /// The event's reason.
        reason: Reason,
        /// Whether a try is used up.
        spends: Spends,
    },
    /// The event `outcome_unknown`: a charge may have happened.
    Doubt {
        /// The wait before the next look.
        wait: Duration,
        /// The event's reason.
        reason: Reason,
        /// Whether a try is used up.
        spends: Spends,
        /// Whether a break tells a person, although the workers go on.
        tells: bool,
    },
    /// The event `void_started`: only a void can end the doubt now.
    StartVoid {
        /// The event's reason.
        reason: Reason,
        /// Whether a try was used up.
        spends: Spends,
    },
    /// The event `reversed`: the doubt is over.
    Reverse {
        /// The event's reason.
        reason: Reason,
    },
    /// The event `held`, with why a person must act.
    Hold(HeldReason),
}

impl Step {
    /// The event that this step is written as.
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

/// What stands against sending a charge although the payment is due; none as a rule. The payment may have
/// waited for long since its retry was decided, or its settings may have changed meanwhile.
#[must_use]
pub fn before_charge(now: &Situation, policy: &Policy) -> Option<Step> {
    if now.in_doubt && !key_is_trusted(now, policy) {
        return Some(end_of_doubt(policy, Reason::KeyNotTrusted, Spends::Nothing));
    }
    end_of_time(now, policy)
}

/// What stands against a look-up: a gateway that has none. Where the gateway honours keys it would answer a
/// repeated charge too. But a charge is never a question, so the doubt goes to the void.
#[must_use]
pub fn before_lookup(policy: &Policy) -> Option<Step> {
    (!policy.profile.looks_up).then(|| end_of_doubt(policy, Reason::LookupUnsupported, Spends::Nothing))
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
        // The other payment is known here. A caller that can ask the database turns a forgotten payment's
        // charge into ours.
        O::ChargedAs(..) | O::KeyReused(_) => Step::Hold(HeldReason::Contradiction),
        O::KeyClosed => Step::Reverse { reason: Reason::KeyClosed },
        O::Declined(refusal) => Step::Fail(declined(Some(refusal))),
        O::Invalid(_) if now.in_doubt => doubt(now, policy, Reason::InvalidRequest, Spends::Try),
        O::Invalid(Refusal { code, message }) if code == PAYMENT_METHOD_UNKNOWN => {
            Step::Fail(Failure { code, message, retryable: false })
        }
        O::Invalid(refusal) => Step::Fail(Failure {
            code: NON_RETRYABLE.to_owned(),
            message: format!("the gateway refused the request: {} {}", refusal.code, refusal.message),
            retryable: false,
        }),
        O::StillWorking => doubt(now, policy, Reason::StillWorking, Spends::Try),
        O::KeyBusy => doubt(now, policy, Reason::KeyInUse, Spends::Nothing),
        O::Unknown(failed) => doubt(now, policy, failed.kind.into(), Spends::Try),
        O::NotTheGateway(_) => doubt(now, policy, Reason::NotTheGateway, Spends::Nothing),
        O::WrongAnswer(_) => doubt(now, policy, Reason::WrongAnswer, Spends::Try),
        O::NotExecuted => retry(now, policy, next_wait(now, policy), Reason::NotExecuted, Spends::Try),
        O::RateLimited(asked) => {
            let asked = asked.filter(|asked| !asked.is_zero());
            let asked = asked.map(|asked| asked.max(policy.backoff_initial).min(RETRY_AFTER_MAX));
            let wait = asked.unwrap_or_else(|| next_wait(now, policy));
            retry(now, policy, wait, Reason::RateLimited, Spends::Nothing)
        }
        O::Unreachable(_) => retry(now, policy, next_wait(now, policy), Reason::Unreachable, Spends::Nothing),
        O::Unauthorized => retry(now, policy, next_wait(now, policy), Reason::Unauthorized, Spends::Nothing),
        O::NotSent(reason) => retry(now, policy, next_wait(now, policy), reason.into(), Spends::Nothing),
    }
}

/// The wait before the next attempt. Each outcome that used up a try makes it longer. So does each outcome in
/// a row that used up none.
fn next_wait(now: &Situation, policy: &Policy) -> Duration {
    policy.backoff(now.retries_spent.saturating_add(now.delay_count).saturating_add(1))
}

/// What follows a look-up.
#[must_use]
pub fn after_lookup(now: &Situation, policy: &Policy, outcome: LookupOutcome) -> Step {
    use LookupOutcome as O;
    match outcome {
        O::Charged(charge) => Step::Succeed(charge),
        O::Declined(charge) => Step::Fail(declined(charge.decline)),
        // Where keys are not honoured, another charge may be on its way until our own void closes the key.
        O::KeyClosed if !policy.profile.honours_keys => {
            end_of_doubt(policy, Reason::KeyClosed, Spends::Nothing)
        }
        O::KeyClosed => Step::Reverse { reason: Reason::KeyClosed },
        O::Pending { .. } => doubt(now, policy, Reason::StillWorking, Spends::Nothing),
        O::NoAnswer(_) => doubt(now, policy, Reason::LookupFailed, Spends::Nothing),
        O::Unsupported => end_of_doubt(policy, Reason::LookupUnsupported, Spends::Nothing),
        O::WrongAnswer(_) => Step::Hold(HeldReason::WrongAnswer),
        O::ChargedAs(..) | O::Contradiction(_) => Step::Hold(HeldReason::Contradiction),
        O::NotFound if now.send_by_age < policy.gateway_timeout + policy.visibility => {
            doubt(now, policy, Reason::NotVisibleYet, Spends::Nothing)
        }
        O::NotFound if now.not_found_count == 0 => doubt(now, policy, Reason::NotFound, Spends::Nothing),
        O::NotFound => absent(now, policy),
    }
}

/// The failure of a payment that the gateway declined. Its answer and a later look-up tell the same one.
fn declined(refusal: Option<Refusal>) -> Failure {
    let Refusal { code, message } = refusal.unwrap_or_else(|| Refusal {
        code: CARD_DECLINED.to_owned(),
        message: "the gateway declined the charge".to_owned(),
    });
    // With one of our own codes the gateway would seem to say that we gave up, or that a person decided.
    let ours = [Reason::RetriesExhausted, Reason::Expired, Reason::ByHand].map(Reason::as_str);
    let is_ours = [NON_RETRYABLE, PAYMENT_METHOD_UNKNOWN].into_iter().chain(ours).any(|it| it == code);
    let code = if is_ours { CARD_DECLINED.to_owned() } else { code };
    Failure { code, message, retryable: true }
}

/// What follows a request to void. A void without an answer is asked for again and again: nothing ends the
/// doubt better.
#[must_use]
pub fn after_void(now: &Situation, policy: &Policy, outcome: &VoidOutcome) -> Step {
    match Voiding::after(now.void_age, now.verify_count, policy, outcome) {
        Voiding::Done => Step::Reverse { reason: Reason::VoidConfirmed },
        Voiding::Impossible | Voiding::OfAnother => Step::Hold(HeldReason::Unverifiable),
        Voiding::Again { wait, is_late } => {
            Step::Doubt { wait, reason: Reason::VoidFailed, spends: Spends::Nothing, tells: is_late }
        }
    }
}

/// How far a void has come: of a payment in doubt, or of a charge that came to light after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voiding {
    /// Nothing is charged, and nothing will be.
    Done,
    /// The answer is not known; ask again.
    Again {
        /// The wait before the next request.
        wait: Duration,
        /// Whether there has been no answer for longer than a doubt may last.
        is_late: bool,
    },
    /// The gateway cannot void.
    Impossible,
    /// The charge that stands may be another payment's: no machine voids it.
    OfAnother,
}

impl Voiding {
    /// How far a void is with this outcome. `age` is the time since the first request, `count` the number of
    /// requests without an answer.
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

/// The gateway does not know our key, and by now it would. The charge is sent again under the same key only,
/// and only while the gateway still keeps it.
fn absent(now: &Situation, policy: &Policy) -> Step {
    if !key_is_trusted(now, policy) {
        return end_of_doubt(policy, Reason::KeyNotTrusted, Spends::Nothing);
    }
    if now.retries_spent > policy.max_retries {
        return end_of_doubt(policy, Reason::RetriesExhausted, Spends::Nothing);
    }
    if is_expired(now, policy) {
        return end_of_doubt(policy, Reason::Expired, Spends::Nothing);
    }
    retry(now, policy, policy.backoff(now.retries_spent.max(1)), Reason::Absent, Spends::Nothing)
}

/// Whether the gateway still charges once for our key, whatever became of the charges that were sent.
fn key_is_trusted(now: &Situation, policy: &Policy) -> bool {
    policy.trusts_keys(now.first_sent_age)
}

/// This attempt did not charge. Another one follows, unless tries or time are used up.
fn retry(now: &Situation, policy: &Policy, wait: Duration, reason: Reason, spends: Spends) -> Step {
    let spends = if now.is_probe { Spends::Nothing } else { spends };
    if spends == Spends::Try && now.retries_spent >= policy.max_retries {
        let message = format!("the gateway did not take the charge in {} tries", now.retries_spent + 1);
        return give_up(now, policy, Reason::RetriesExhausted, message, spends);
    }
    end_of_time(now, policy).unwrap_or(Step::Retry { wait, reason, spends })
}

/// What follows when a payment has taken too long; none if it has not. A payment that was ever sent is looked
/// up first, whatever was answered. Age alone ends nothing that may have reached the gateway.
fn end_of_time(now: &Situation, policy: &Policy) -> Option<Step> {
    if now.in_doubt {
        let has_lasted = now.doubt_age > policy.doubt_deadline;
        let reason = if has_lasted { Reason::DoubtDeadline } else { Reason::Expired };
        return (has_lasted || is_expired(now, policy))
            .then(|| end_of_doubt(policy, reason, Spends::Nothing));
    }
    if !is_expired(now, policy) {
        return None;
    }
    if now.was_sent {
        return Some(Step::Doubt {
            wait: Duration::ZERO,
            reason: Reason::Expired,
            spends: Spends::Nothing,
            tells: false,
        });
    }
    let message = "the gateway did not take the charge in time".to_owned();
    Some(give_up(now, policy, Reason::Expired, message, Spends::Nothing))
}

/// Whether the payment is older than a payment may get.
fn is_expired(now: &Situation, policy: &Policy) -> bool {
    now.age > policy.max_age
}

/// The end of a payment that this attempt did not charge. It fails, unless an earlier attempt may have
/// charged it.
fn give_up(now: &Situation, policy: &Policy, reason: Reason, message: String, spends: Spends) -> Step {
    if now.in_doubt {
        return end_of_doubt(policy, reason, spends);
    }
    Step::Fail(Failure { code: reason.as_str().to_owned(), message, retryable: true })
}

/// The end of a doubt about which the machine can learn no more: a void, or a person where the gateway cannot
/// void. No void starts that cannot be carried out, so that a charge found later is still the payment's.
fn end_of_doubt(policy: &Policy, reason: Reason, spends: Spends) -> Step {
    before_void(policy).unwrap_or(Step::StartVoid { reason, spends })
}

/// A charge may have happened. A look follows, unless the doubt has lasted long enough.
fn doubt(now: &Situation, policy: &Policy, reason: Reason, spends: Spends) -> Step {
    if now.in_doubt && now.doubt_age > policy.doubt_deadline {
        return end_of_doubt(policy, Reason::DoubtDeadline, spends);
    }
    let spends = if now.is_probe { Spends::Nothing } else { spends };
    Step::Doubt { wait: policy.verify_wait(now.verify_count), reason, spends, tells: false }
}

#[cfg(test)]
mod tests;
