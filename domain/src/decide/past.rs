//! The look that comes before anything else, for a payment whose past may be forgotten here. Pure.
//!
//! Invariants: the machine neither charges again nor voids what may be a forgotten payment's. No age,
//! deadline or number of tries ends such a payment before the gateway has answered.

use std::time::Duration;

use super::{Policy, Reason, Situation, Spends, Step, VOID_WAIT_MAX, Voiding, declined};
use crate::outcome::{LookupOutcome, Standing};
use crate::status::HeldReason;

/// What stands against the look that comes first: a gateway without look-ups. A person must act.
#[must_use]
pub fn before_first_look(policy: &Policy) -> Option<Step> {
    (!policy.profile.looks_up).then_some(Step::Hold(HeldReason::Restored))
}

/// What follows the look that comes first. It ends the payment, leads to another look, or holds the payment
/// for a person. A void that had started goes on once the gateway has shown that what stands may be voided.
#[must_use]
pub fn first_look(now: &Situation, policy: &Policy, outcome: LookupOutcome) -> Step {
    use LookupOutcome as O;
    let again = |reason| Step::Doubt {
        wait: policy.verify_wait(now.verify_count),
        reason,
        spends: Spends::Nothing,
        tells: false,
    };
    match outcome {
        O::KeyClosed if !policy.profile.honours_keys => Step::Hold(HeldReason::Restored),
        O::KeyClosed => Step::Reverse { reason: Reason::KeyClosed },
        O::NoAnswer(_) => again(Reason::LookupFailed),
        O::Unsupported => Step::Hold(HeldReason::Restored),
        // The charge is a known payment's, or there are several: no void of ours may take them along.
        O::ChargedAs(..) | O::Contradiction(_) => Step::Hold(HeldReason::Contradiction),
        O::Charged(_) | O::Declined(_) | O::Pending { is_ours: true } | O::NotFound if now.is_voiding => {
            Step::Doubt {
                wait: Duration::ZERO,
                reason: Reason::RestoredSeen,
                spends: Spends::Nothing,
                tells: false,
            }
        }
        O::WrongAnswer(_) => Step::Hold(HeldReason::WrongAnswer),
        O::Charged(charge) => Step::Succeed(charge),
        O::Declined(charge) => Step::Fail(declined(charge.decline)),
        O::Pending { .. } => again(Reason::StillWorking),
        O::NotFound if now.send_by_age < policy.gateway_timeout + policy.visibility => {
            again(Reason::NotVisibleYet)
        }
        O::NotFound if now.not_found_count == 0 => again(Reason::NotFound),
        O::NotFound => Step::Hold(HeldReason::Restored),
    }
}

/// The step itself, unless it starts a void under a key that a forgotten payment may have been charged under.
/// Such a void waits until the gateway has shown that nothing else stands there. `seen` is the outcome of the
/// look that led to the step, if there was one.
#[must_use]
pub fn look_before_void(now: &Situation, policy: &Policy, step: Step, seen: Option<&LookupOutcome>) -> Step {
    let may_share = now.from_a_return.is_some_and(|distance| distance <= policy.profile.key_retention);
    let Step::StartVoid { spends, .. } = step else { return step };
    match seen {
        Some(seen) if may_share && !seen.shows_nobody_elses() => Step::Hold(HeldReason::Unverifiable),
        None if may_share && policy.profile.looks_up => {
            Step::Doubt { wait: Duration::ZERO, reason: Reason::LookBeforeVoid, spends, tells: false }
        }
        None if may_share => Step::Hold(HeldReason::Unverifiable),
        Some(_) | None => step,
    }
}

/// What stands against voiding a charge that came to light after its payment's end; none where it may be
/// voided. `count` is the number of earlier requests, `age` the time since the first, and `seen` the result
/// of a look. `is_its_own` says that only this payment can have charged under its key since a past came back.
/// `nothing_returned` says that no past ever came back.
#[must_use]
pub fn before_remedy(
    policy: &Policy,
    (age, count): (Duration, u32),
    (is_its_own, nothing_returned): (bool, bool),
    seen: &Standing,
) -> Option<Voiding> {
    let wait = policy.verify_wait(count).min(VOID_WAIT_MAX);
    match seen {
        Standing::OnlyIts if is_its_own => None,
        Standing::Unsupported if nothing_returned => None,
        // By then every charge is shown. The void also closes the key for a charge that may still be on its
        // way.
        Standing::Nothing if is_its_own && age > policy.gateway_timeout + policy.visibility => None,
        Standing::Nothing if age <= policy.gateway_timeout + policy.visibility => {
            Some(Voiding::Again { wait, is_late: false })
        }
        Standing::NoAnswer(_) => Some(Voiding::Again { wait, is_late: age > policy.doubt_deadline }),
        Standing::OnlyIts | Standing::AnothersToo | Standing::Nothing | Standing::Unsupported => {
            Some(Voiding::OfAnother)
        }
    }
}
