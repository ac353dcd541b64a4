//! What the gateway says of an operation.
//!
//! Invariant: only an effect that is exactly what was asked for counts as done, and whatever is no definite
//! answer is unknown.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::ids::OperationId;
use crate::money::Money;
use crate::outcome::{Failed, FailureKind, Outcome, Refusal, is_storable};

/// What an operation must have come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedEffect {
    /// The key of all its requests.
    pub key: String,
    /// Its id, which is what it is called at the gateway.
    pub id: OperationId,
    /// The charge that it is about, by the gateway's id.
    pub charge_id: String,
    /// How much of what.
    pub money: Money,
}

/// An effect as the gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The gateway's own id of it.
    pub id: String,
    /// The key that it was done under.
    pub key: String,
    /// The charge that it is about.
    pub charge_id: String,
    /// How much.
    pub amount: Decimal,
    /// The currency code as the gateway writes it.
    pub currency: String,
    /// Where it stands.
    pub status: EffectStatus,
    /// Why it was refused, where the gateway says so.
    pub refusal: Option<Refusal>,
}

/// Where an effect stands at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectStatus {
    /// The gateway has not decided.
    Pending,
    /// It is done.
    Succeeded,
    /// It was refused, for good.
    Failed,
    /// A status that this version does not know. It is read as none of the others.
    Other,
}

/// What the gateway says of an operation, asked to do it or asked whether it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationOutcome {
    /// It is done, exactly as asked.
    Done(Effect),
    /// It is not done, and the gateway stored that under its key.
    Refused(Refusal),
    /// The gateway finds this request invalid, which says nothing of an earlier one.
    Invalid(Refusal),
    /// The key belongs to another request there.
    KeyReused(Refusal),
    /// The gateway has not decided.
    StillWorking,
    /// Nothing is visible under the key.
    NotFound,
    /// Something was done that is not what was asked for.
    WrongEffect(Effect),
    /// More than one effect stands under one key.
    Contradiction(&'static str),
    /// The gateway does not do this at all.
    Unsupported,
    /// This request was not done, as there were too many. The wait is what the gateway asks for.
    RateLimited(Option<Duration>),
    /// No usable answer.
    NoAnswer(Failed),
}

impl Outcome for OperationOutcome {
    const WORDS: &'static [&'static str] = &[
        "done",
        "refused",
        "invalid",
        "key_reused",
        "still_working",
        "not_found",
        "wrong_effect",
        "contradiction",
        "unsupported",
    ];

    fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
            Self::KeyReused(_) => "key_reused",
            Self::StillWorking => "still_working",
            Self::NotFound => "not_found",
            Self::WrongEffect(_) => "wrong_effect",
            Self::Contradiction(_) => "contradiction",
            Self::Unsupported => "unsupported",
            Self::RateLimited(_) => FailureKind::RateLimited.as_str(),
            Self::NoAnswer(failed) => failed.kind.as_str(),
        }
    }

    fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::RateLimited(_) => Some(FailureKind::RateLimited),
            Self::NoAnswer(failed) => Some(failed.kind),
            Self::Done(_)
            | Self::Refused(_)
            | Self::Invalid(_)
            | Self::KeyReused(_)
            | Self::StillWorking
            | Self::NotFound
            | Self::WrongEffect(_)
            | Self::Contradiction(_)
            | Self::Unsupported => None,
        }
    }
}

impl OperationOutcome {
    /// Judges one effect, whether it was answered to a request or shown by a look.
    #[must_use]
    pub fn of_one(effect: Effect, expected: &ExpectedEffect) -> Self {
        let is_as_asked = effect.key == expected.key
            && effect.charge_id == expected.charge_id
            && effect.amount == expected.money.amount()
            && effect.currency == expected.money.currency().code()
            && is_storable(&effect.id);
        match effect.status {
            EffectStatus::Other => {
                Self::NoAnswer(Failed::new(FailureKind::NotTheGateway, "an effect in an unknown state"))
            }
            _ if !is_as_asked => Self::WrongEffect(effect),
            EffectStatus::Succeeded => Self::Done(effect),
            EffectStatus::Pending => Self::StillWorking,
            EffectStatus::Failed => Self::Refused(effect.refusal.unwrap_or_else(|| Refusal {
                code: "refund_refused".to_owned(),
                message: "the gateway refused the refund".to_owned(),
            })),
        }
    }

    /// Judges what a look shows under the key.
    #[must_use]
    pub fn of_all(effects: Vec<Effect>, has_more: bool, expected: &ExpectedEffect) -> Self {
        let mut effects = effects.into_iter();
        match (effects.next(), effects.next()) {
            _ if has_more => Self::Contradiction("a list that goes on"),
            (None, _) => Self::NotFound,
            (Some(only), None) => Self::of_one(only, expected),
            (Some(_), Some(_)) => Self::Contradiction("more than one effect under one key"),
        }
    }
}
