//! What happens to a charge without its caller: a late return, or a dispute that is opened, won or lost.
//! Pure.
//!
//! Invariant: a dispute ends once. What was given back, returned or is disputed is never more than was taken.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::book::{Charge, ChargeStatus, KeyState};
use crate::decide::{Case, Decision, Effect, refuse};
use crate::reply::{Answer, Refusal, Reply};

/// One return or dispute of a charge.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Act {
    pub(crate) id: String,
    pub(crate) charge_id: String,
    pub(crate) status: ActStatus,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActStatus {
    /// The money went back, for good.
    Returned,
    /// The money was taken away until the dispute ends.
    Open,
    /// The money came back.
    Won,
    /// The money is gone.
    Lost,
}

/// What somebody does at the gateway, without the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ActRequest {
    /// The bank takes back this much of a charge.
    Return { charge_id: String, amount: Decimal },
    /// The customer disputes this much of a charge.
    Dispute { charge_id: String, amount: Decimal },
    /// That dispute ends.
    End { id: String, is_won: bool },
}

impl ActRequest {
    /// The charge that it names.
    pub(crate) fn charge_id(&self) -> Option<&str> {
        match self {
            ActRequest::Return { charge_id, .. } | ActRequest::Dispute { charge_id, .. } => Some(charge_id),
            ActRequest::End { .. } => None,
        }
    }
}

impl ActStatus {
    const ALL: [ActStatus; 4] = [ActStatus::Returned, ActStatus::Open, ActStatus::Won, ActStatus::Lost];

    /// The word for it, in the database and in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ActStatus::Returned => "returned",
            ActStatus::Open => "open",
            ActStatus::Won => "won",
            ActStatus::Lost => "lost",
        }
    }

    /// The status that `word` names. None for an unknown word.
    pub(crate) fn parse(word: &str) -> Option<ActStatus> {
        ActStatus::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl KeyState {
    /// What is gone of a charge by returns and disputes.
    pub(crate) fn gone(&self, charge_id: &str) -> Decimal {
        let is_gone = |act: &&Act| act.charge_id == charge_id && act.status != ActStatus::Won;
        self.acts.iter().filter(is_gone).map(|act| act.amount).sum()
    }
}

/// Decides what somebody does without the caller.
pub(crate) fn act(state: &mut KeyState, request: &ActRequest, case: &Case<'_>) -> Decision {
    match request {
        ActRequest::Return { charge_id, amount } => {
            begin(state, (charge_id, *amount), ActStatus::Returned, case)
        }
        ActRequest::Dispute { charge_id, amount } => {
            begin(state, (charge_id, *amount), ActStatus::Open, case)
        }
        ActRequest::End { id, is_won } => end(state, id, *is_won),
    }
}

fn begin(
    state: &mut KeyState,
    (charge_id, amount): (&str, Decimal),
    status: ActStatus,
    case: &Case<'_>,
) -> Decision {
    let Some(charge) = state.charges.iter().find(|charge| charge.id == charge_id).cloned() else {
        return refuse(Refusal::ChargeUnknown);
    };
    let left = charge.amount - state.given_back(charge_id) - state.gone(charge_id);
    if charge.status != ChargeStatus::Succeeded || amount > left {
        return refuse(Refusal::NothingLeft);
    }
    let prefix = if status == ActStatus::Returned { "rt_" } else { "dp_" };
    let act = Act {
        id: case.charge_id.replacen("ch_", prefix, 1),
        charge_id: charge_id.to_owned(),
        status,
        amount,
        currency: charge.currency.clone(),
        created_at: case.now,
    };
    state.acts.push(act.clone());
    told(charge, act)
}

fn end(state: &mut KeyState, id: &str, is_won: bool) -> Decision {
    let Some(act) = state.acts.iter_mut().find(|act| act.id == id && act.status == ActStatus::Open) else {
        return refuse(Refusal::NothingLeft);
    };
    act.status = if is_won { ActStatus::Won } else { ActStatus::Lost };
    let act = act.clone();
    match state.charges.iter().find(|charge| charge.id == act.charge_id).cloned() {
        Some(charge) => told(charge, act),
        None => refuse(Refusal::ChargeUnknown),
    }
}

fn told(charge: Charge, act: Act) -> Decision {
    let effects = vec![Effect::Acted(charge, act.clone())];
    Decision { reply: Reply::Answer(Answer::Act(act)), effects }
}
