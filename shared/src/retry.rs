//! What to do next about a payment, given where it stands and what the gateway just said. Pure.
//!
//! Invariant: a payment in doubt never fails by running out of tries or time; its ways out are a charge found, a
//! decline that the gateway stored, a confirmed void, or a person.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

use crate::outcome::{Charge, ChargeOutcome, LookupOutcome, VoidOutcome};
use crate::payment::status::{EventType, HeldReason};

/// How one gateway is retried, looked up and given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Tries after the first one.
    pub max_retries: u32,
    /// Wait before the first retry; doubled for each one after it.
    pub backoff_initial: Duration,
    /// The longest wait before a retry.
    pub backoff_max: Duration,
    /// Waits before the looks that follow an unknown outcome; the last one repeats.
    pub verify_waits: Vec<Duration>,
    /// How long one exchange with the gateway may take.
    pub gateway_timeout: Duration,
    /// How long after a charge arrived at the gateway a lookup may still not show it.
    pub visibility: Duration,
    /// How long doubt may last, from its first moment, before the payment is voided.
    pub doubt_deadline: Duration,
    /// What the gateway can do.
    pub profile: Profile,
    /// How long a payment that was never in doubt may wait for a gateway that is away.
    pub max_age: Duration,
}

/// What a gateway promises: what it has not promised is never asked of it, and nothing is built upon it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// One key charges once.
    pub honours_keys: bool,
    /// For how long it keeps that promise, from the first request on.
    pub key_retention: Duration,
    /// It tells which charges were made under a key.
    pub looks_up: bool,
    /// It undoes whatever a key charged, and closes the key: a charge that arrives later charges nothing.
    pub voids: bool,
}

/// A key is not trusted for its last hour: clocks differ, and a request can be on its way for a while.
const KEY_RETENTION_MARGIN: Duration = Duration::from_hours(1);

/// Workers with other settings may run beside, and clocks are adjusted.
const TOO_FAR_MARGIN: Duration = Duration::from_mins(15);

/// No gateway makes us wait longer than this by `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            verify_waits: [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000]
                .map(Duration::from_millis)
                .to_vec(),
            gateway_timeout: Duration::from_secs(5),
            visibility: Duration::from_secs(10),
            doubt_deadline: Duration::from_mins(15),
            profile: Profile {
                honours_keys: true,
                key_retention: Duration::from_hours(24),
                looks_up: true,
                voids: true,
            },
            max_age: Duration::from_hours(24),
        }
    }
}

impl Policy {
    /// The wait before the `n`th retry, n from 1: `min(max, initial · 2^(n−1))`, ±10 % at random.
    #[must_use]
    pub fn backoff(&self, n: u32) -> Duration {
        let mut waits = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.backoff_initial)
            .with_max_interval(self.backoff_max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.1)
            .with_max_elapsed_time(None)
            .build();
        std::iter::from_fn(|| waits.next_backoff())
            .nth(n.saturating_sub(1) as usize)
            .unwrap_or(self.backoff_max)
    }

    /// What is due later than this from now got that from no wait of ours: the longest of them, with claims of `lease`, and a
    /// margin for workers with other settings.
    #[must_use]
    pub fn too_far(&self, lease: Duration) -> Duration {
        let backoff = self.backoff_max.mul_f64(1.1).max(self.backoff_initial);
        let look = self.verify_waits.iter().copied().max().unwrap_or_default();
        TOO_FAR_MARGIN + backoff.max(look).max(lease).max(RETRY_AFTER_MAX)
    }

    /// The wait before the next look, after `looks` of them.
    fn verify_wait(&self, looks: u32) -> Duration {
        let looks = usize::try_from(looks).unwrap_or(usize::MAX);
        self.verify_waits.get(looks).or(self.verify_waits.last()).copied().unwrap_or(self.backoff_max)
    }
}

/// Where a claimed payment stands. Ages are by the database's clock, at the time of the claim.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// A charge may have happened.
    pub in_doubt: bool,
    /// Outcomes that used up a try.
    pub retries_spent: u32,
    /// Looks since the last attempt.
    pub verify_count: u32,
    /// Of these, the ones that found nothing when a charge must have been visible.
    pub not_found_count: u32,
    /// Since the request was accepted.
    pub age: Duration,
    /// Since the first doubt; zero without doubt.
    pub doubt_age: Duration,
    /// Since the first charge may have left.
    pub first_sent_age: Duration,
    /// Since the last moment at which the last charge may have left; zero before that moment.
    pub send_by_age: Duration,
    /// Since the first void may have left; zero before.
    pub void_age: Duration,
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
    },
    /// T16a: only a void can end it now.
    StartVoid {
        /// Why.
        reason: &'static str,
        /// Whether a try was used up.
        spends: bool,
    },
    /// T16.
    Reverse,
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
            Self::Reverse => EventType::Reversed,
            Self::Hold(_) => EventType::Held,
        }
    }
}

/// The reason of a void that is due because nobody can ask what became of a charge.
pub const LOOKUP_UNSUPPORTED: &str = "lookup_unsupported";

/// The reason of the looks that count towards "absent": found nothing although a charge must have been visible.
pub const NOT_FOUND: &str = "not_found";

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
    let backoff = || policy.backoff(now.retries_spent + 1);
    match outcome {
        O::Charged(charge) => Step::Succeed(charge),
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
        O::Unknown(_) => doubt(now, policy, "no_answer", true),
        O::WrongAnswer(_) => doubt(now, policy, "wrong_answer", true),
        O::NotExecuted => retry(now, policy, backoff(), "not_executed", true),
        O::Unreachable(_) => retry(now, policy, backoff(), "unreachable", true),
        O::RateLimited(wait) => {
            let wait = wait.unwrap_or_default().clamp(policy.backoff_initial, RETRY_AFTER_MAX);
            retry(now, policy, wait, "rate_limited", false)
        }
        O::Unauthorized => retry(now, policy, policy.backoff_max, "unauthorized", false),
        O::NotSent(reason) => retry(now, policy, policy.backoff_initial, reason, false),
    }
}

/// What follows a lookup.
#[must_use]
pub fn after_lookup(now: &Situation, policy: &Policy, outcome: LookupOutcome) -> Step {
    use LookupOutcome as O;
    match outcome {
        O::Charged(charge) => Step::Succeed(charge),
        O::Declined(_) => Step::Fail(Failure {
            code: "declined".to_owned(),
            message: "the gateway declined the charge".to_owned(),
            retryable: true,
        }),
        O::Pending => doubt(now, policy, "still_working", false),
        O::NoAnswer(_) => doubt(now, policy, "lookup_failed", false),
        O::Unsupported => end_of_doubt(policy, LOOKUP_UNSUPPORTED, false),
        O::WrongAnswer(_) => Step::Hold(HeldReason::WrongAnswer),
        O::Contradiction(_) => Step::Hold(HeldReason::Contradiction),
        O::NotFound if now.send_by_age < policy.gateway_timeout + policy.visibility => {
            doubt(now, policy, "not_visible_yet", false)
        }
        O::NotFound if now.not_found_count == 0 => doubt(now, policy, NOT_FOUND, false),
        O::NotFound => absent(now, policy),
    }
}

/// What follows a request to void.
#[must_use]
pub fn after_void(now: &Situation, policy: &Policy, outcome: &VoidOutcome) -> Step {
    match Voiding::after(now.void_age, now.verify_count, policy, outcome) {
        Voiding::Done => Step::Reverse,
        Voiding::Impossible => Step::Hold(HeldReason::Unverifiable),
        Voiding::Again(wait) => Step::Doubt { wait, reason: "void_failed", spends: false },
    }
}

/// How far a void has come, be it of a payment in doubt or of a charge that came to light after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voiding {
    /// Nothing is charged, and nothing will be.
    Done,
    /// Not known; ask again after so long.
    Again(Duration),
    /// The gateway cannot, or has not answered for as long as a doubt may last.
    Impossible,
}

impl Voiding {
    /// After `age` since the first request and `count` requests without an answer, this outcome.
    #[must_use]
    pub fn after(age: Duration, count: u32, policy: &Policy, outcome: &VoidOutcome) -> Self {
        match outcome {
            VoidOutcome::Confirmed => Self::Done,
            VoidOutcome::Unsupported => Self::Impossible,
            VoidOutcome::NoAnswer(_) if age > policy.doubt_deadline => Self::Impossible,
            VoidOutcome::NoAnswer(_) => Self::Again(policy.verify_wait(count)),
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
    retry(now, policy, policy.backoff(now.retries_spent.max(1)), "absent", false)
}

/// Whether the gateway still charges once for our key, whatever became of the charges that were sent.
fn key_is_trusted(now: &Situation, policy: &Policy) -> bool {
    let Profile { honours_keys, key_retention, .. } = policy.profile;
    honours_keys && now.first_sent_age < key_retention.saturating_sub(KEY_RETENTION_MARGIN)
}

/// This attempt did not charge: again, unless tries or time are used up.
fn retry(now: &Situation, policy: &Policy, wait: Duration, reason: &'static str, spends: bool) -> Step {
    if spends && now.retries_spent >= policy.max_retries {
        let message = format!("the gateway did not take the charge in {} tries", now.retries_spent + 1);
        return give_up(now, policy, "retries_exhausted", message, spends);
    }
    end_of_time(now, policy).unwrap_or(Step::Retry { wait, reason, spends })
}

/// What follows when a payment has taken too long; none if it has not.
fn end_of_time(now: &Situation, policy: &Policy) -> Option<Step> {
    if now.in_doubt {
        let is_over = now.doubt_age > policy.doubt_deadline;
        return is_over.then(|| end_of_doubt(policy, "doubt_deadline", false));
    }
    let is_over = now.age > policy.max_age;
    let message = "the gateway did not take the charge in time".to_owned();
    is_over.then(|| give_up(now, policy, "expired", message, false))
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
    Step::Doubt { wait: policy.verify_wait(now.verify_count), reason, spends }
}

#[cfg(test)]
mod tests;
