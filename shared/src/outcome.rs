//! What a gateway's answer means: one exhaustive classification of every exchange, pure.
//!
//! Invariant: whatever is not listed here as a definite answer is unknown, and unknown is never read as "no".

use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::ids::PaymentId;
use crate::money::Money;

/// What came back over the wire from one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A whole HTTP answer.
    Answered {
        /// The HTTP status code.
        status: u16,
        /// The body's bytes.
        body: Vec<u8>,
        /// The `Retry-After` header, where it was a number of seconds.
        retry_after: Option<Duration>,
    },
    /// The connection could not be made (name, connect or TLS): no byte of the request left us.
    Unreachable(String),
    /// Something may have been sent and no whole answer came: timeout, reset, broken off.
    Unanswered(String),
    /// We did not send it, knowingly.
    NotSent(&'static str),
}

/// What an exchange says of the gateway itself, whatever it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers: yes, no, or later.
    Up,
    /// It cannot be reached, does not answer, or says that it is broken (5xx but for 501, which is an answer).
    Down,
    /// It refuses our credentials (401, 403), so it will refuse every request.
    LockedOut,
    /// Nothing: we sent nothing.
    Unknown,
}

impl Exchange {
    /// What it says of the gateway itself.
    #[must_use]
    pub const fn health(&self) -> Health {
        match self {
            Self::Answered { status: 401 | 403, .. } => Health::LockedOut,
            Self::Answered { status: 501, .. } => Health::Up,
            Self::Answered { status, .. } if *status >= 500 => Health::Down,
            Self::Answered { .. } => Health::Up,
            Self::Unreachable(_) | Self::Unanswered(_) => Health::Down,
            Self::NotSent(_) => Health::Unknown,
        }
    }
}

/// What a charge must look like to be ours.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Key and reference of the charge.
    pub payment_id: PaymentId,
    /// What is owed.
    pub money: Money,
}

/// A charge as the gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Charge {
    /// The gateway's own id.
    pub id: String,
    /// The idempotency key it was made under.
    pub key: String,
    /// Where it stands at the gateway.
    pub status: ChargeStatus,
    /// How much.
    #[serde(deserialize_with = "crate::money::exact")]
    pub amount: Decimal,
    /// Of what.
    pub currency: String,
    /// What we called it.
    pub reference: String,
}

/// Where a charge stands at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// Not decided.
    Pending,
    /// Money moved.
    Succeeded,
    /// Declined.
    Failed,
    /// Undone.
    Voided,
}

impl Charge {
    /// Whether it is for exactly this payment: key, reference, amount and currency.
    fn is_for(&self, expected: &Expected) -> bool {
        let key = expected.payment_id.to_string();
        self.key == key
            && self.reference == key
            && self.amount == expected.money.amount()
            && self.currency == expected.money.currency().code()
            && is_storable(&self.id)
    }
}

/// A refusal as the gateway words it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Stable and machine-readable.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

/// What an attempt to charge came to. The comment says whether *this* attempt charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// Yes: exactly what is owed. Also a replay of an earlier success under our key.
    Charged(Charge),
    /// Unknown: accepted, decided later.
    StillWorking,
    /// No, and the gateway stored that answer under our key.
    Declined(Refusal),
    /// No: the gateway finds our request invalid.
    Invalid(Refusal),
    /// No: our credentials were refused.
    Unauthorized,
    /// Unknown: a request with our key is still running.
    KeyBusy,
    /// No: too many requests.
    RateLimited(Option<Duration>),
    /// No: the gateway says so itself.
    NotExecuted,
    /// No: no byte left us.
    Unreachable(String),
    /// No: we did not send it.
    NotSent(&'static str),
    /// Unknown: timeout, reset, server error, or an answer that is not listed.
    Unknown(String),
    /// Unknown: an answer about another amount, currency or key.
    WrongAnswer(Charge),
}

impl ChargeOutcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Charged(_) => "charged",
            Self::StillWorking => "still_working",
            Self::Declined(_) => "declined",
            Self::Invalid(_) => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::KeyBusy => "key_busy",
            Self::RateLimited(_) => "rate_limited",
            Self::NotExecuted => "not_executed",
            Self::Unreachable(_) => "unreachable",
            Self::NotSent(_) => "not_sent",
            Self::Unknown(_) => "unknown",
            Self::WrongAnswer(_) => "wrong_answer",
        }
    }

    /// Reads the answer to `POST /charges`.
    #[must_use]
    pub fn of(exchange: &Exchange, expected: &Expected) -> Self {
        let (status, body, retry_after) = match exchange {
            Exchange::Answered { status, body, retry_after } => (*status, body, *retry_after),
            Exchange::Unreachable(why) => return Self::Unreachable(why.clone()),
            Exchange::Unanswered(why) => return Self::Unknown(why.clone()),
            Exchange::NotSent(why) => return Self::NotSent(why),
        };
        let unknown = || Self::Unknown(format!("unexpected answer {status}"));
        match status {
            201 => match serde_json::from_slice::<Charge>(body) {
                Ok(charge) if charge.status != ChargeStatus::Succeeded => unknown(),
                Ok(charge) if charge.is_for(expected) => Self::Charged(charge),
                Ok(charge) => Self::WrongAnswer(charge),
                Err(_) => unknown(),
            },
            202 => Self::StillWorking,
            402 => refusal(body).map_or_else(unknown, Self::Declined),
            400 | 422 => refusal(body).map_or_else(unknown, Self::Invalid),
            401 | 403 => Self::Unauthorized,
            409 => match refusal(body) {
                Some(refusal) if refusal.code == "key_in_use" => Self::KeyBusy,
                Some(_) | None => unknown(),
            },
            429 => Self::RateLimited(retry_after),
            503 => match refusal(body) {
                Some(refusal) if refusal.code == "not_executed" => Self::NotExecuted,
                Some(_) | None => unknown(),
            },
            _ => unknown(),
        }
    }
}

/// What a lookup by key says about all attempts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupOutcome {
    /// One succeeded charge, exactly what is owed.
    Charged(Charge),
    /// One declined charge.
    Declined(Charge),
    /// One charge, not decided.
    Pending,
    /// No charge visible.
    NotFound,
    /// A charge for another amount or currency.
    WrongAnswer(Charge),
    /// More than one charge, or one that somebody else voided.
    Contradiction(&'static str),
    /// The gateway does not look up.
    Unsupported,
    /// The lookup itself failed. Means nothing.
    NoAnswer(String),
}

impl LookupOutcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Charged(_) => "charged",
            Self::Declined(_) => "declined",
            Self::Pending => "pending",
            Self::NotFound => "not_found",
            Self::WrongAnswer(_) => "wrong_answer",
            Self::Contradiction(_) => "contradiction",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(_) => "no_answer",
        }
    }

    /// Reads the answer to `GET /charges?key=…`.
    #[must_use]
    pub fn of(exchange: &Exchange, expected: &Expected) -> Self {
        #[derive(Deserialize)]
        struct Listing {
            data: Vec<Charge>,
        }
        let listing = match exchange {
            Exchange::Answered { status: 200, body, .. } => serde_json::from_slice::<Listing>(body),
            // 404 is not among them: some gateways say so of a key that they do not know.
            Exchange::Answered { status: 405 | 501, .. } => return Self::Unsupported,
            Exchange::Answered { status, .. } => {
                return Self::NoAnswer(format!("unexpected answer {status}"));
            }
            Exchange::Unreachable(why) | Exchange::Unanswered(why) => return Self::NoAnswer(why.clone()),
            Exchange::NotSent(why) => return Self::NoAnswer((*why).to_owned()),
        };
        match listing.as_ref().map(|listing| listing.data.as_slice()) {
            Err(_) => Self::NoAnswer("garbled answer".to_owned()),
            Ok([]) => Self::NotFound,
            Ok([charge]) if !charge.is_for(expected) => Self::WrongAnswer(charge.clone()),
            Ok([charge]) => match charge.status {
                ChargeStatus::Pending => Self::Pending,
                ChargeStatus::Succeeded => Self::Charged(charge.clone()),
                ChargeStatus::Failed => Self::Declined(charge.clone()),
                ChargeStatus::Voided => Self::Contradiction("the charge was voided by somebody else"),
            },
            Ok([_, _, ..]) => Self::Contradiction("more than one charge under one key"),
        }
    }
}

/// What a request to void came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoidOutcome {
    /// Whatever the key charged is undone, and the key is closed.
    Confirmed,
    /// The gateway cannot void.
    Unsupported,
    /// Nothing is known; ask again.
    NoAnswer(String),
}

impl VoidOutcome {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unsupported => "unsupported",
            Self::NoAnswer(_) => "no_answer",
        }
    }

    /// Reads the answer to `POST /voids`.
    #[must_use]
    pub fn of(exchange: &Exchange, expected: &Expected) -> Self {
        #[derive(Deserialize)]
        struct Void {
            key: String,
            voided: bool,
        }
        match exchange {
            Exchange::Answered { status: 201, body, .. } => match serde_json::from_slice::<Void>(body) {
                Ok(void) if void.voided && void.key == expected.payment_id.to_string() => Self::Confirmed,
                Ok(_) | Err(_) => Self::NoAnswer("garbled answer".to_owned()),
            },
            Exchange::Answered { status: 404 | 405 | 501, .. } => Self::Unsupported,
            Exchange::Answered { status, .. } => Self::NoAnswer(format!("unexpected answer {status}")),
            Exchange::Unreachable(why) | Exchange::Unanswered(why) => Self::NoAnswer(why.clone()),
            Exchange::NotSent(why) => Self::NoAnswer((*why).to_owned()),
        }
    }
}

/// A refusal whose words can be kept. One that says nothing usable is as good as none.
fn refusal(body: &[u8]) -> Option<Refusal> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let message = refusal.message.chars().filter(|c| !c.is_control()).take(1000).collect();
    is_storable(&refusal.code).then_some(Refusal { code: refusal.code, message })
}

/// Whether a gateway's word can be stored and shown: 1 to 255 characters, none of them a control character.
pub(crate) fn is_storable(word: &str) -> bool {
    (1..=255).contains(&word.chars().count()) && !word.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
