//! What a gateway's answer means: one exhaustive classification of every exchange. Pure.
//!
//! Invariant: an answer that is not listed here as a definite one is unknown, and unknown is never read as
//! "no".

use std::time::Duration;

use serde::Deserialize;

use crate::ids::PaymentId;

mod charge;
mod failure;
mod remedy;
mod void;

pub use charge::{Charge, ChargeStatus, Expected, Whose};
pub use failure::{Failed, FailureKind, Health, Refusal};
pub use remedy::Standing;
pub use void::VoidOutcome;

use failure::Told;

/// The name in an event's evidence that says whether anything of a request can have left us. It is written
/// only where nothing did. The fold of a payment's history reads it.
pub const LEFT: &str = "left";

/// The result of one HTTP request on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A whole HTTP answer came.
    Answered {
        /// The HTTP status code.
        status: u16,
        /// Whether the content type is JSON. Without that, no gateway has answered.
        is_json: bool,
        /// The bytes of the body.
        body: Vec<u8>,
        /// The wait that the `Retry-After` header asks for, where it can be understood.
        retry_after: Option<Duration>,
    },
    /// The connection could not be made (name, connect or TLS): no byte of the request left us.
    Unreachable(String),
    /// Something may have been sent, and no whole answer came.
    Unanswered(Silence, String),
    /// We did not send it, knowingly; the text is the reason.
    NotSent(&'static str),
}

/// How an answer failed to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// No answer came within the time that we wait.
    Timeout,
    /// The connection broke before a whole answer came.
    Reset,
}

impl Exchange {
    /// Whether nothing of the request can have reached anybody.
    #[must_use]
    pub const fn left_nothing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotSent(_) => true,
            Self::Answered { .. } | Self::Unanswered(..) => false,
        }
    }
}

/// What an attempt to charge means. Each comment says first whether *this* attempt charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// Yes: exactly what is owed. A replay of an earlier success under our key counts too.
    Charged(Charge),
    /// Not by this attempt. Our key was charged exactly what is owed, under the name of that other payment.
    ChargedAs(Charge, PaymentId),
    /// Unknown: accepted, decided later.
    StillWorking,
    /// No, and the gateway stored that answer under our key.
    Declined(Refusal),
    /// No: the gateway finds our request invalid.
    Invalid(Refusal),
    /// Unknown: our key belongs to another request there.
    KeyReused(Refusal),
    /// No, and nothing will ever be charged under our key: it was closed.
    KeyClosed,
    /// No: our credentials were refused.
    Unauthorized,
    /// Unknown: a request with our key is still running.
    KeyBusy,
    /// No: too many requests; the wait is what the gateway asks for.
    RateLimited(Option<Duration>),
    /// No: the gateway says so itself.
    NotExecuted,
    /// No: no byte left us.
    Unreachable(String),
    /// No: we did not send it.
    NotSent(&'static str),
    /// Unknown: no gateway answered, so nothing is known of the request.
    NotTheGateway(String),
    /// Unknown: timeout, reset, server error, or an answer that is not listed.
    Unknown(Failed),
    /// Unknown: an answer about another amount, currency or key, or without a usable id or reference.
    WrongAnswer(Charge),
}

impl ChargeOutcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Charged(_) => "charged",
            Self::ChargedAs(..) => "charged_as_another",
            Self::StillWorking => "still_working",
            Self::Declined(_) => "declined",
            Self::Invalid(_) => "invalid",
            Self::KeyReused(_) => "key_reused",
            Self::KeyClosed => "key_closed",
            Self::KeyBusy => "key_busy",
            Self::WrongAnswer(_) => "wrong_answer",
            Self::Unauthorized
            | Self::RateLimited(_)
            | Self::NotExecuted
            | Self::Unreachable(_)
            | Self::NotSent(_)
            | Self::NotTheGateway(_)
            | Self::Unknown(_) => match self.failure() {
                Some(kind) => kind.as_str(),
                None => "unknown",
            },
        }
    }

    /// How the exchange failed; none where the gateway gave an answer about the charge.
    #[must_use]
    pub const fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::Charged(_)
            | Self::ChargedAs(..)
            | Self::StillWorking
            | Self::Declined(_)
            | Self::Invalid(_)
            | Self::KeyReused(_)
            | Self::KeyClosed
            | Self::KeyBusy
            | Self::WrongAnswer(_) => None,
            Self::Unauthorized => Some(FailureKind::Unauthorized),
            Self::RateLimited(_) => Some(FailureKind::RateLimited),
            Self::NotExecuted => Some(FailureKind::NotExecuted),
            Self::Unreachable(_) => Some(FailureKind::Unreachable),
            Self::NotSent(_) => Some(FailureKind::NotSent),
            Self::NotTheGateway(_) => Some(FailureKind::NotTheGateway),
            Self::Unknown(failed) => Some(failed.kind),
        }
    }

    /// Reads the answer to `POST /charges`.
    #[must_use]
    pub fn of(exchange: &Exchange, expected: &Expected) -> Self {
        let told = match (Told::of(exchange), exchange) {
            (Ok(told), _) => told,
            (Err(_), Exchange::NotSent(why)) => return Self::NotSent(why),
            (Err(failed), _) => return Self::failed(failed),
        };
        match (told.status, &told.refusal) {
            (201, _) => match serde_json::from_slice::<Charge>(told.body) {
                Ok(charge) if charge.status != ChargeStatus::Succeeded => {
                    Self::Unknown(told.unexpected("a charge that did not succeed"))
                }
                Ok(charge) if !charge.is_as_owed(expected) => Self::WrongAnswer(charge),
                Ok(charge) => match charge.whose(expected) {
                    Whose::Ours => Self::Charged(charge),
                    Whose::Another(named) => Self::ChargedAs(charge, named),
                    Whose::Nobodys => Self::WrongAnswer(charge),
                },
                Err(_) => Self::failed(told.failed()),
            },
            (202, _) => match serde_json::from_slice::<Charge>(told.body) {
                Ok(_) => Self::StillWorking,
                Err(_) => Self::failed(told.failed()),
            },
            (402, Some(refusal)) => Self::Declined(refusal.clone()),
            // `idempotency_error` is what some gateways call it.
            (400 | 409 | 422, Some(refusal))
                if matches!(refusal.code.as_str(), "key_reused" | "idempotency_error") =>
            {
                Self::KeyReused(refusal.clone())
            }
            (409, Some(refusal)) if refusal.code == "voided" => Self::KeyClosed,
            (400 | 422, Some(refusal)) => Self::Invalid(refusal.clone()),
            (409, Some(refusal)) if refusal.code == "key_in_use" => Self::KeyBusy,
            (429, Some(_)) => Self::RateLimited(told.retry_after),
            _ => Self::failed(told.failed()),
        }
    }

    /// The outcome of a charge without an answer about it.
    fn failed(failed: Failed) -> Self {
        match failed.kind {
            FailureKind::Unauthorized => Self::Unauthorized,
            FailureKind::NotExecuted => Self::NotExecuted,
            FailureKind::Unreachable => Self::Unreachable(failed.detail),
            FailureKind::NotTheGateway => Self::NotTheGateway(failed.detail),
            FailureKind::Timeout
            | FailureKind::Reset
            | FailureKind::ServerError
            | FailureKind::RateLimited
            | FailureKind::Unexpected
            | FailureKind::NotSent
            | FailureKind::WorkerLost => Self::Unknown(failed),
        }
    }
}

/// What a look-up by key says about all attempts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupOutcome {
    /// One succeeded charge, of exactly what is owed.
    Charged(Charge),
    /// One succeeded charge, of exactly what is owed, under the name of that other payment.
    ChargedAs(Charge, PaymentId),
    /// One declined charge, under any name.
    Declined(Charge),
    /// One charge that is not decided.
    Pending {
        /// Whether it is called by our payment's id.
        is_ours: bool,
    },
    /// No charge is visible.
    NotFound,
    /// One charge that was undone: nothing is ever charged under our key.
    KeyClosed,
    /// One charge of another amount, currency or key, or without a usable id or reference.
    WrongAnswer(Charge),
    /// More than one charge.
    Contradiction(&'static str),
    /// The gateway does not look up.
    Unsupported,
    /// The look-up itself failed, which says nothing about the charge.
    NoAnswer(Failed),
}

impl LookupOutcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Charged(_) => "charged",
            Self::ChargedAs(..) => "charged_as_another",
            Self::Declined(_) => "declined",
            Self::Pending { .. } => "pending",
            Self::KeyClosed => "key_closed",
            Self::NotFound => "not_found",
            Self::WrongAnswer(_) => "wrong_answer",
            Self::Contradiction(_) => "contradiction",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(failed) => failed.kind.as_str(),
        }
    }

    /// How the exchange failed; none where the gateway answered the question.
    #[must_use]
    pub const fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::NoAnswer(failed) => Some(failed.kind),
            Self::Charged(_)
            | Self::ChargedAs(..)
            | Self::Declined(_)
            | Self::Pending { .. }
            | Self::NotFound
            | Self::KeyClosed
            | Self::WrongAnswer(_)
            | Self::Contradiction(_)
            | Self::Unsupported => None,
        }
    }

    /// Whether the gateway answered, and showed nothing under our key but what is surely ours.
    #[must_use]
    pub const fn shows_nobody_elses(&self) -> bool {
        match self {
            Self::NotFound | Self::Charged(_) | Self::Pending { is_ours: true } => true,
            Self::ChargedAs(..)
            | Self::Declined(_)
            | Self::Pending { is_ours: false }
            | Self::KeyClosed
            | Self::WrongAnswer(_)
            | Self::Contradiction(_)
            | Self::Unsupported
            | Self::NoAnswer(_) => false,
        }
    }

    /// Reads the answer to `GET /charges?key=…`.
    #[must_use]
    pub fn of(exchange: &Exchange, expected: &Expected) -> Self {
        #[derive(Deserialize)]
        struct Listing {
            data: Vec<Charge>,
        }
        let told = match Told::of(exchange) {
            Ok(told) => told,
            Err(failed) => return Self::NoAnswer(failed),
        };
        // 404 does not count here: some gateways answer so for a key that they do not know.
        if told.is_unsupported() {
            return Self::Unsupported;
        }
        let listing =
            (told.status == 200).then(|| serde_json::from_slice::<Listing>(told.body).ok()).flatten();
        let Some(listing) = listing else { return Self::NoAnswer(told.failed()) };
        match listing.data.as_slice() {
            [] => Self::NotFound,
            [charge] if charge.is_under(expected) && charge.status == ChargeStatus::Voided => Self::KeyClosed,
            [charge] if !charge.is_as_owed(expected) => Self::WrongAnswer(charge.clone()),
            [charge] => match (charge.status, charge.whose(expected)) {
                (ChargeStatus::Failed, _) => Self::Declined(charge.clone()),
                (ChargeStatus::Succeeded, Whose::Ours) => Self::Charged(charge.clone()),
                (ChargeStatus::Succeeded, Whose::Another(named)) => Self::ChargedAs(charge.clone(), named),
                (ChargeStatus::Pending, Whose::Ours) => Self::Pending { is_ours: true },
                (ChargeStatus::Pending, Whose::Another(_)) => Self::Pending { is_ours: false },
                (ChargeStatus::Pending | ChargeStatus::Succeeded, Whose::Nobodys)
                | (ChargeStatus::Voided, _) => Self::WrongAnswer(charge.clone()),
            },
            [_, _, ..] => Self::Contradiction("more than one charge under one key"),
        }
    }
}

/// Reads an answer that is about no payment. None where the gateway says, in the words of the contract, that
/// it has no such thing.
///
/// # Errors
/// The answer is not one of the contract's.
pub fn read_json<T: serde::de::DeserializeOwned>(exchange: &Exchange) -> Result<Option<T>, Failed> {
    let told = Told::of(exchange)?;
    if told.is_unsupported() || (told.status == 404 && told.refusal.is_some()) {
        return Ok(None);
    }
    let answer = (told.status == 200).then(|| serde_json::from_slice(told.body).ok()).flatten();
    answer.map(Some).ok_or_else(|| match told.status {
        200 => Failed::new(FailureKind::NotTheGateway, "answered 200, but not as the contract says"),
        _ => told.failed(),
    })
}

/// What a failure says of the gateway itself; without one, it answers.
#[must_use]
pub const fn health(failure: Option<FailureKind>) -> Health {
    match failure {
        None => Health::Answers,
        Some(kind) => kind.health(),
    }
}

/// Whether a gateway's word can be stored and shown: 1 to 255 characters, without control characters.
pub fn is_storable(word: &str) -> bool {
    (1..=255).contains(&word.chars().count()) && !word.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
