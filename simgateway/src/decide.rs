//! The decision: what a call does to the state of its key, and what it gets. Pure.
//!
//! Invariant: at most one charge takes effect under a key, and none once the key is closed. Only
//! `ignore_idempotency_keys` and `keys_optional` break the first half. Every charge that takes effect, and
//! every one that is undone, is told as one `Effect`.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::act;
use crate::book::{Asked, Charge, ChargeStatus, Decline, KeyState};
use crate::faults::{Fate, Faults, Mishap};
use crate::refund::{self, Refund};
use crate::reply::{Answer, Failure, Refusal, Reply};
use crate::request::{ChargeRequest, Request};
use crate::token::{self, Act, Lookups, Spoil, Step, Tell};

#[cfg(test)]
mod tests;

/// The circumstances of a call: the time, a fresh id should a charge be made, and what is to go wrong.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) now: DateTime<Utc>,
    pub(crate) charge_id: String,
    pub(crate) faults: &'a Faults,
    pub(crate) fate: Fate,
}

/// The reply that a call gets, and what it did that counts as money.
#[derive(Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) reply: Reply,
    pub(crate) effects: Vec<Effect>,
}

/// An effect on the books: money that moved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// This charge took effect.
    Charged(Charge),
    /// This much of a charge, which had taken effect, was undone.
    Voided(Charge),
    /// This refund of this charge took effect.
    Refunded(Charge, Refund),
    /// This return or dispute of this charge took effect, or ended.
    Acted(Charge, act::Act),
}

/// Decides a call against the state of its key. The caller has run `settle_due` on it first.
pub(crate) fn decide(state: &mut KeyState, request: &Request, case: &Case<'_>) -> Decision {
    if case.faults.unauthorized {
        return refuse(Refusal::Unauthorized);
    }
    match request {
        Request::Charge(request) => charge(state, request, case),
        Request::LookUpKey(_) => look_up(state, case, Answer::Charges),
        Request::LookUpCharge(id) => look_up(state, case, |charges| {
            let found = charges.into_iter().find(|charge| charge.id == *id);
            found.map_or(Answer::Refused(Refusal::NotFound), Answer::Found)
        }),
        Request::Void(_) => void(state, case),
        Request::Refund(request) => refund::refund(state, request, case),
        Request::LookUpRefunds(key) => refund::look_up(state, key, case),
        Request::Act(request) => act::act(state, request, case),
    }
}

/// Decides the charges whose time has come, and answers the effects.
pub(crate) fn settle_due(state: &mut KeyState, now: DateTime<Utc>) -> Vec<Effect> {
    let due = state.charges.iter_mut().filter(|charge| charge.decide_at.is_some_and(|at| at <= now));
    due.filter_map(settle).collect()
}

/// Ends the waiting of an undecided charge. Answers the effect if it succeeds.
fn settle(charge: &mut Charge) -> Option<Effect> {
    charge.decide_at = None;
    charge.status = if charge.decline.is_some() { ChargeStatus::Failed } else { ChargeStatus::Succeeded };
    charge_effect(charge)
}

fn charge_effect(charge: &Charge) -> Option<Effect> {
    (charge.status == ChargeStatus::Succeeded).then(|| Effect::Charged(charge.clone()))
}

fn charge(state: &mut KeyState, request: &ChargeRequest, case: &Case<'_>) -> Decision {
    match case.fate.mishap {
        None => charge_unharmed(state, request, case),
        Some(Mishap::Before(spoil)) => Decision { reply: spoilt(spoil), effects: Vec::new() },
        Some(Mishap::After(spoil)) => {
            Decision { reply: spoilt(spoil), ..charge_unharmed(state, request, case) }
        }
    }
}

fn charge_unharmed(state: &mut KeyState, request: &ChargeRequest, case: &Case<'_>) -> Decision {
    if state.closed {
        return refuse(Refusal::Voided);
    }
    let is_reused = state.asked.as_ref().is_some_and(|asked| !asked.is_repeated_by(request));
    if is_reused && !case.faults.ignore_idempotency_keys {
        return refuse(Refusal::KeyReused);
    }
    // The key belongs to the first call, so the script is that call's.
    let payment_method = state.asked.as_ref().map_or(&request.payment_method, |asked| &asked.payment_method);
    let Some(token) = token::find(payment_method) else {
        return refuse(Refusal::InvalidPaymentMethod);
    };
    let step = token.step(state.charge_calls);
    state.charge_calls = token.count_call(state.charge_calls);
    state.asked.get_or_insert_with(|| Asked {
        amount: request.amount,
        currency: request.currency.clone(),
        payment_method: request.payment_method.clone(),
    });

    match step {
        Step::Spoil(spoil) => Decision { reply: spoilt(spoil), effects: Vec::new() },
        Step::Take(act, tell) => {
            let (charge, effect) = charge_once(state, act, request, case);
            let truth = Answer::Charge(charge);
            let reply = match tell {
                Tell::Truth => Reply::Answer(truth),
                Tell::TruthLate => Reply::LateAnswer(truth),
                Tell::Spoil(spoil) => spoilt(spoil),
            };
            Decision { reply, effects: Vec::from_iter(effect) }
        }
    }
}

/// The key check: answers the charge that the key has already, or else a new one.
fn charge_once(
    state: &mut KeyState,
    act: Act,
    request: &ChargeRequest,
    case: &Case<'_>,
) -> (Charge, Option<Effect>) {
    if !case.faults.ignore_idempotency_keys
        && !request.is_keyless
        && let Some(stored) = state.charges.first_mut()
    {
        // This call asks for the charge that is on its way. It takes effect now, and does not come again.
        let effect = if stored.status == ChargeStatus::Arriving { settle(stored) } else { None };
        return (stored.clone(), effect);
    }
    let charge = new_charge(act, request, case);
    state.charges.push(charge.clone());
    let effect = charge_effect(&charge);
    (charge, effect)
}

fn new_charge(act: Act, request: &ChargeRequest, case: &Case<'_>) -> Charge {
    let after = |delay_ms: u32| Some(case.now + TimeDelta::milliseconds(i64::from(delay_ms)));
    let (status, decline, decide_at): (ChargeStatus, Option<Decline>, _) = match act {
        Act::Charge | Act::ChargeWrongAmount => (ChargeStatus::Succeeded, None, None),
        Act::Decline(decline) => (ChargeStatus::Failed, Some(decline), None),
        Act::Wait(decline) => (ChargeStatus::Pending, decline, after(case.faults.async_delay_ms)),
        Act::ArriveLate => (ChargeStatus::Arriving, None, after(case.faults.late_arrival_ms)),
    };
    // A decline charges nothing, so it cannot charge too much.
    let is_wrong = act == Act::ChargeWrongAmount || case.fate.wrong_amount && decline.is_none();
    Charge {
        id: case.charge_id.clone(),
        key: request.key.clone(),
        status,
        amount: if is_wrong { request.amount + Decimal::ONE } else { request.amount },
        currency: request.currency.clone(),
        reference: request.reference.clone(),
        decline,
        decide_at,
        created_at: case.now,
    }
}

fn look_up(state: &mut KeyState, case: &Case<'_>, answer: impl FnOnce(Vec<Charge>) -> Answer) -> Decision {
    if case.faults.lookup_unsupported {
        return refuse(Refusal::LookupUnsupported);
    }
    if case.fate.lookup_error {
        return refuse(Refusal::Internal);
    }
    let token = state.asked.as_ref().and_then(|asked| token::find(&asked.payment_method));
    let mut charges: Vec<Charge> =
        state.charges.iter().filter(|charge| charge.is_listed()).cloned().collect();
    match token.map_or(Lookups::Truth, |token| token.lookups) {
        Lookups::Truth => {}
        Lookups::FailFirst(count) if state.lookup_calls < count => {
            state.lookup_calls += 1;
            return refuse(Refusal::Internal);
        }
        Lookups::FailFirst(_) => {}
        Lookups::Silence => {
            let reply = spoilt(Spoil::Fail(Failure::Silence));
            return Decision { reply, effects: Vec::new() };
        }
        Lookups::SayFailed => {
            for charge in charges.iter_mut().filter(|charge| charge.status == ChargeStatus::Succeeded) {
                charge.status = ChargeStatus::Failed;
            }
        }
    }
    Decision { reply: Reply::Answer(answer(charges)), effects: Vec::new() }
}

/// Closes the key and undoes what was charged under it. Repeated, it changes nothing and answers the same.
fn void(state: &mut KeyState, case: &Case<'_>) -> Decision {
    if case.faults.void_unsupported {
        return refuse(Refusal::VoidUnsupported);
    }
    state.closed = true;
    let given_back: Vec<_> = state.charges.iter().map(|charge| state.given_back(&charge.id)).collect();
    let undone = state.charges.iter_mut().zip(given_back);
    let effects = undone.filter_map(|(charge, given_back)| undo(charge, given_back)).collect();
    let undone = state.charges.iter().find(|charge| charge.status == ChargeStatus::Voided);
    let charge_id = undone.map(|charge| charge.id.clone());
    Decision { reply: Reply::Answer(Answer::Voided { key: state.key.clone(), charge_id }), effects }
}

/// Undoes what is left of one charge. Answers the effect if the charge had been in effect.
fn undo(charge: &mut Charge, given_back: Decimal) -> Option<Effect> {
    charge.decide_at = None;
    match charge.status {
        ChargeStatus::Succeeded => {
            charge.status = ChargeStatus::Voided;
            let left = Charge { amount: charge.amount - given_back, ..charge.clone() };
            (left.amount > Decimal::ZERO).then_some(Effect::Voided(left))
        }
        ChargeStatus::Pending => {
            charge.status = ChargeStatus::Voided;
            None
        }
        ChargeStatus::Arriving => {
            charge.status = ChargeStatus::Refused;
            None
        }
        ChargeStatus::Failed | ChargeStatus::Voided | ChargeStatus::Refused => None,
    }
}

pub(crate) fn refuse(refusal: Refusal) -> Decision {
    Decision { reply: Reply::refuse(refusal), effects: Vec::new() }
}

pub(crate) fn spoilt(spoil: Spoil) -> Reply {
    match spoil {
        Spoil::Refuse(refusal) => Reply::refuse(refusal),
        Spoil::Fail(failure) => Reply::None(failure),
    }
}
