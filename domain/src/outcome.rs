//! What a gateway's answer means: classes, whatever the gateway's own words are. Its adapter reads its words
//! into these.
//!
//! Invariant: whatever is no definite answer is unknown, and unknown is never read as "no". Amount, currency
//! and key are compared here, so that no adapter can forget it.

use std::time::Duration;

use crate::ids::PaymentId;

mod charge;
mod failure;
mod looked;
mod remedy;
mod void;

pub use charge::{Charge, ChargeStatus, Expected, Whose};
pub use failure::{CARD_DECLINED, Failed, FailureKind, Health, NotSent, PAYMENT_METHOD_UNKNOWN, Refusal};
pub use looked::{Listing, Looked};
pub use remedy::Standing;
pub use void::VoidOutcome;

/// In the evidence of an event: whether anything of a request can have left us. It is written only where
/// nothing did. The fold of a payment's history reads it.
pub const LEFT: &str = "left";

/// What an exchange came to, of whichever kind.
pub trait Outcome {
    /// The words of all outcomes, but for those that have the word of their failure.
    const WORDS: &'static [&'static str];

    /// The word for it in logs and metrics.
    fn as_str(&self) -> &'static str;

    /// How the exchange failed; none where the gateway answered the question.
    fn failure(&self) -> Option<FailureKind>;
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
    NotSent(NotSent),
    /// Unknown: no gateway answered, so nothing is known of the request.
    NotTheGateway(String),
    /// Unknown: timeout, reset, server error, or an answer that is not listed.
    Unknown(Failed),
    /// Unknown: an answer about another amount, currency or key, or without a usable id or reference.
    WrongAnswer(Charge),
}

impl Outcome for ChargeOutcome {
    const WORDS: &'static [&'static str] = &[
        "charged",
        "charged_as_another",
        "still_working",
        "declined",
        "invalid",
        "key_reused",
        "key_closed",
        "key_busy",
        "wrong_answer",
    ];

    fn as_str(&self) -> &'static str {
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

    fn failure(&self) -> Option<FailureKind> {
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
}

impl ChargeOutcome {
    /// The gateway says that it made this charge, which is compared with what was asked for.
    #[must_use]
    pub fn made(charge: Charge, expected: &Expected) -> Self {
        if charge.status == ChargeStatus::Other {
            let why = "a charge in an unknown state".to_owned();
            return Self::NotTheGateway(why);
        }
        if charge.status != ChargeStatus::Succeeded {
            return Self::Unknown(Failed::new(FailureKind::Unexpected, "a charge that did not succeed"));
        }
        if !charge.is_as_owed(expected) {
            return Self::WrongAnswer(charge);
        }
        match charge.whose(expected) {
            Whose::Ours => Self::Charged(charge),
            Whose::Another(named) => Self::ChargedAs(charge, named),
            Whose::Nobodys => Self::WrongAnswer(charge),
        }
    }

    /// The outcome of a charge that got no answer about it.
    #[must_use]
    pub fn failed(failed: Failed) -> Self {
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

impl Outcome for LookupOutcome {
    const WORDS: &'static [&'static str] = &[
        "charged",
        "charged_as_another",
        "declined",
        "pending",
        "key_closed",
        "not_found",
        "wrong_answer",
        "contradiction",
        "unsupported",
    ];

    fn as_str(&self) -> &'static str {
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

    fn failure(&self) -> Option<FailureKind> {
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
}

impl LookupOutcome {
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

    /// Judges what a lookup showed, against what is owed.
    #[must_use]
    pub fn of(looked: &Looked, expected: &Expected) -> Self {
        let listing = match looked {
            Looked::Shown(listing) => listing,
            Looked::Unsupported => return Self::Unsupported,
            Looked::NoAnswer(failed) => return Self::NoAnswer(failed.clone()),
        };
        match listing.charges.as_slice() {
            [] if listing.has_more => Self::Contradiction("a list that shows nothing and goes on"),
            [] => Self::NotFound,
            [charge] if !listing.has_more => Self::of_one(charge, expected),
            [_, ..] => Self::Contradiction("more than one charge under one key"),
        }
    }

    /// Judges the one charge under our key.
    fn of_one(charge: &Charge, expected: &Expected) -> Self {
        let wrong = || Self::WrongAnswer(charge.clone());
        let no_answer = |kind, why| Self::NoAnswer(Failed::new(kind, why));
        match (charge.status, charge.whose(expected)) {
            // A gateway whose words changed may be saying anything: until somebody has looked, it is none of
            // ours.
            (ChargeStatus::Other, _) => no_answer(FailureKind::NotTheGateway, "a charge in an unknown state"),
            (ChargeStatus::Refunded, _) => no_answer(FailureKind::Unexpected, "a charge that was refunded"),
            (ChargeStatus::Voided, _) if charge.is_under(expected) => Self::KeyClosed,
            _ if !charge.is_as_owed(expected) => wrong(),
            (ChargeStatus::Failed, _) => Self::Declined(charge.clone()),
            (ChargeStatus::Succeeded, Whose::Ours) => Self::Charged(charge.clone()),
            (ChargeStatus::Succeeded, Whose::Another(named)) => Self::ChargedAs(charge.clone(), named),
            (ChargeStatus::Pending, Whose::Ours) => Self::Pending { is_ours: true },
            (ChargeStatus::Pending, Whose::Another(_)) => Self::Pending { is_ours: false },
            (ChargeStatus::Pending | ChargeStatus::Succeeded, Whose::Nobodys) | (ChargeStatus::Voided, _) => {
                wrong()
            }
        }
    }
}

/// What a failure says of the gateway itself; without one, it answers.
#[must_use]
pub const fn health(failure: Option<FailureKind>) -> Health {
    match failure {
        None => Health::Answers,
        Some(kind) => kind.health(),
    }
}

/// Whether a gateway's word can be stored and shown: 1 to 255 characters, none of them a control character.
#[must_use]
pub fn is_storable(word: &str) -> bool {
    (1..=255).contains(&word.chars().count()) && !word.chars().any(char::is_control)
}
