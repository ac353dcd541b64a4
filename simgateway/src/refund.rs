//! Refunds: what each key of a refund has been through, and what a call for one does and gets. Pure.
//!
//! Invariant: no charge gives back more than it took, and one key gives back at most once. A refusal is
//! stored under its key like a refund.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::book::{ChargeStatus, KeyState};
use crate::decide::{Case, Decision, Effect, refuse, spoilt};
use crate::faults::Mishap;
use crate::reply::{Answer, Failure, Refusal, Reply};
use crate::request::RefundRequest;
use crate::token::Spoil;

/// One refund of a charge, or the calls for it that came to nothing yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) charge_id: String,
    pub(crate) status: RefundStatus,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) reference: String,
    /// Why it failed. None for one that did not.
    pub(crate) refusal: Option<RefundRefusal>,
    /// How many calls the payment method's script has seen.
    pub(crate) calls: i32,
    pub(crate) created_at: DateTime<Utc>,
}

/// Where a refund stands. Both ends are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundStatus {
    /// No call has come to anything yet, and lookups do not show it.
    Asked,
    /// The money was given back.
    Succeeded,
    /// It was refused.
    Failed,
}

/// Why nothing was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundRefusal {
    /// The charge did not succeed, or was voided.
    ChargeNotRefundable,
    /// The charge has less left.
    AmountExceedsCharge,
    /// The payment method takes nothing back.
    RefundDeclined,
}

impl RefundStatus {
    const ALL: [RefundStatus; 3] = [RefundStatus::Asked, RefundStatus::Succeeded, RefundStatus::Failed];

    /// The word for it, in the database and in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RefundStatus::Asked => "asked",
            RefundStatus::Succeeded => "succeeded",
            RefundStatus::Failed => "failed",
        }
    }

    /// The status that `word` names. None for an unknown word.
    pub(crate) fn parse(word: &str) -> Option<RefundStatus> {
        RefundStatus::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl RefundRefusal {
    const ALL: [RefundRefusal; 3] = [
        RefundRefusal::ChargeNotRefundable,
        RefundRefusal::AmountExceedsCharge,
        RefundRefusal::RefundDeclined,
    ];

    /// The code for it, in the database and in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RefundRefusal::ChargeNotRefundable => "charge_not_refundable",
            RefundRefusal::AmountExceedsCharge => "amount_exceeds_charge",
            RefundRefusal::RefundDeclined => "refund_declined",
        }
    }

    /// The sentence for it in answers.
    pub(crate) fn message(self) -> &'static str {
        match self {
            RefundRefusal::ChargeNotRefundable => "the charge is none that can be given back",
            RefundRefusal::AmountExceedsCharge => "the charge has less left than is to be given back",
            RefundRefusal::RefundDeclined => "the card takes nothing back",
        }
    }

    /// The reason that `word` names. None for an unknown word.
    pub(crate) fn parse(word: &str) -> Option<RefundRefusal> {
        RefundRefusal::ALL.into_iter().find(|refusal| refusal.as_str() == word)
    }
}

/// What a payment method does to the calls for its refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Each call gives back, and is told the truth.
    Truth,
    /// The first call gets no answer. Whether it gives back is said here.
    SilentOnce { gives_back: bool },
    /// The first two calls are not executed, and told so.
    NotExecutedTwice,
    /// It is refused.
    Declined,
    /// It is given back, and neither a call nor a lookup is ever answered.
    SilentForEver,
}

impl Script {
    fn of(payment_method: Option<&str>) -> Script {
        match payment_method {
            Some("sim_refund_timeout_done") => Script::SilentOnce { gives_back: true },
            Some("sim_refund_timeout_not_done") => Script::SilentOnce { gives_back: false },
            Some("sim_refund_503") => Script::NotExecutedTwice,
            Some("sim_refund_declined") => Script::Declined,
            Some("sim_refund_doubt") => Script::SilentForEver,
            Some(_) | None => Script::Truth,
        }
    }
}

impl KeyState {
    fn script(&self) -> Script {
        Script::of(self.asked.as_ref().map(|asked| asked.payment_method.as_str()))
    }

    /// What was given back of a charge.
    pub(crate) fn given_back(&self, charge_id: &str) -> Decimal {
        let done = |it: &&Refund| it.charge_id == charge_id && it.status == RefundStatus::Succeeded;
        self.refunds.iter().filter(done).map(|refund| refund.amount).sum()
    }
}

/// Decides a call for a refund.
pub(crate) fn refund(state: &mut KeyState, request: &RefundRequest, case: &Case<'_>) -> Decision {
    match case.fate.mishap {
        None => refund_unharmed(state, request, case),
        Some(Mishap::Before(spoil)) => Decision { reply: spoilt(spoil), effects: Vec::new() },
        Some(Mishap::After(spoil)) => {
            Decision { reply: spoilt(spoil), ..refund_unharmed(state, request, case) }
        }
    }
}

fn refund_unharmed(state: &mut KeyState, request: &RefundRequest, case: &Case<'_>) -> Decision {
    let script = state.script();
    let place = match state.refunds.iter().position(|refund| refund.key == request.key) {
        Some(place) if !request.is_repeated_by(&state.refunds[place]) => return refuse(Refusal::KeyReused),
        Some(place) if !case.faults.ignore_idempotency_keys => place,
        Some(_) | None => {
            state.refunds.push(asked(request, case));
            state.refunds.len() - 1
        }
    };
    let calls = state.refunds[place].calls;
    state.refunds[place].calls = calls.saturating_add(1).min(2);
    let silence = || spoilt(Spoil::Fail(Failure::Silence));
    let (gives_back, spoil) = match script {
        Script::Truth | Script::Declined => (true, None),
        Script::SilentOnce { gives_back } if calls == 0 => (gives_back, Some(silence())),
        Script::NotExecutedTwice if calls < 2 => (false, Some(Reply::refuse(Refusal::NotExecuted))),
        Script::SilentOnce { .. } | Script::NotExecutedTwice => (true, None),
        Script::SilentForEver => (true, Some(silence())),
    };
    let effects = if gives_back { Vec::from_iter(give_back(state, place, script)) } else { Vec::new() };
    let truth = || Reply::Answer(Answer::Refund(state.refunds[place].clone()));
    Decision { reply: spoil.unwrap_or_else(truth), effects }
}

fn asked(request: &RefundRequest, case: &Case<'_>) -> Refund {
    Refund {
        id: case.charge_id.replacen("ch_", "rf_", 1),
        key: request.key.clone(),
        charge_id: request.charge_id.clone(),
        status: RefundStatus::Asked,
        amount: request.amount,
        currency: request.currency.clone(),
        reference: request.reference.clone(),
        refusal: None,
        calls: 0,
        created_at: case.now,
    }
}

/// Gives back what was asked for, or refuses it, if neither was done before. Answers the effect.
fn give_back(state: &mut KeyState, place: usize, script: Script) -> Option<Effect> {
    let asked = &state.refunds[place];
    if asked.status != RefundStatus::Asked {
        return None;
    }
    let charge = state.charges.iter().find(|charge| charge.id == asked.charge_id)?.clone();
    let rest = charge.amount - state.given_back(&charge.id) - state.gone(&charge.id);
    let refusal = if charge.status != ChargeStatus::Succeeded || charge.currency != asked.currency {
        Some(RefundRefusal::ChargeNotRefundable)
    } else if asked.amount > rest {
        Some(RefundRefusal::AmountExceedsCharge)
    } else if script == Script::Declined {
        Some(RefundRefusal::RefundDeclined)
    } else {
        None
    };
    let refund = &mut state.refunds[place];
    refund.refusal = refusal;
    refund.status = if refusal.is_some() { RefundStatus::Failed } else { RefundStatus::Succeeded };
    refusal.is_none().then(|| Effect::Refunded(charge, refund.clone()))
}

/// Answers a lookup of the refunds under a key.
pub(crate) fn look_up(state: &KeyState, key: &str, case: &Case<'_>) -> Decision {
    if case.faults.lookup_unsupported {
        return refuse(Refusal::LookupUnsupported);
    }
    if case.fate.lookup_error {
        return refuse(Refusal::Internal);
    }
    if state.script() == Script::SilentForEver {
        return Decision { reply: spoilt(Spoil::Fail(Failure::Silence)), effects: Vec::new() };
    }
    let is_shown = |it: &&Refund| it.key == key && it.status != RefundStatus::Asked;
    let refunds = state.refunds.iter().filter(is_shown).cloned().collect();
    Decision { reply: Reply::Answer(Answer::Refunds(refunds)), effects: Vec::new() }
}

impl RefundRequest {
    fn is_repeated_by(&self, refund: &Refund) -> bool {
        (&self.charge_id, self.amount, &self.currency) == (&refund.charge_id, refund.amount, &refund.currency)
    }
}

#[cfg(test)]
mod tests;
