//! How an exchange with the gateway failed, in one word, and what that says of the gateway itself.
//!
//! Invariant: an answer counts only with the contract's status, content type and JSON shape. Anything else
//! that answers is not the gateway, and its words are final for nothing.

use std::fmt;

use serde::Deserialize;

use super::{Exchange, Silence};

/// What an exchange says of the gateway, whatever it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers: yes, no, or later.
    Answers,
    /// It refuses our credentials, so it may refuse every request.
    LockedOut,
    /// It answers that it cannot: 503 `not_executed`, or another 5xx of its own.
    Failing,
    /// Something may have been sent, and nothing came back.
    Silent,
    /// The way to it is closed: no connection, or something else answers in its place.
    Shut,
    /// Nothing is known, since nothing was sent or the worker is lost.
    Unknown,
}

/// How an exchange failed: the word for it in events, metrics and answers to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No whole answer came within `GATEWAY_TIMEOUT_MS`.
    Timeout,
    /// The connection broke after something may have been sent.
    Reset,
    /// No connection was made (name, connect or TLS): no byte of the request left us.
    Unreachable,
    /// No gateway of this contract answers so: a proxy's page, a redirect, another service.
    NotTheGateway,
    /// The gateway says that something went wrong there (5xx).
    ServerError,
    /// The gateway says that it did nothing (503 `not_executed`).
    NotExecuted,
    /// The gateway refuses our credentials (401, 403).
    Unauthorized,
    /// The gateway got too many requests (429).
    RateLimited,
    /// An answer of the contract does not fit the question.
    Unexpected,
    /// We did not send it, knowingly.
    NotSent,
    /// The worker that had the claim is gone, and what it sent is not known.
    WorkerLost,
}

impl FailureKind {
    /// Every kind there is.
    pub const ALL: &[Self] = &[
        Self::Timeout,
        Self::Reset,
        Self::Unreachable,
        Self::NotTheGateway,
        Self::ServerError,
        Self::NotExecuted,
        Self::Unauthorized,
        Self::RateLimited,
        Self::Unexpected,
        Self::NotSent,
        Self::WorkerLost,
    ];

    /// The word for it in events, metrics and answers to clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::NotTheGateway => "not_the_gateway",
            Self::ServerError => "server_error",
            Self::NotExecuted => "not_executed",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Unexpected => "unexpected",
            Self::NotSent => "not_sent",
            Self::WorkerLost => "worker_lost",
        }
    }

    /// What this kind says of the gateway.
    #[must_use]
    pub const fn health(self) -> Health {
        match self {
            Self::Timeout | Self::Reset => Health::Silent,
            Self::Unreachable | Self::NotTheGateway => Health::Shut,
            Self::ServerError | Self::NotExecuted => Health::Failing,
            Self::Unauthorized => Health::LockedOut,
            Self::RateLimited | Self::Unexpected => Health::Answers,
            Self::NotSent | Self::WorkerLost => Health::Unknown,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An exchange without a usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failed {
    /// The kind of the failure, which decides what follows.
    pub kind: FailureKind,
    /// The failure in more words, for people.
    pub detail: String,
}

impl Failed {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// A refusal as the gateway words it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// A stable word for programs, such as `key_in_use`.
    pub code: String,
    /// A sentence for people; empty where the gateway sent none.
    #[serde(default)]
    pub message: String,
}

impl Refusal {
    /// Reads a refusal, if its words can be kept. A refusal that says nothing usable is as good as none.
    fn read(body: &[u8]) -> Option<Self> {
        let refusal: Self = serde_json::from_slice(body).ok()?;
        let message = refusal.message.chars().filter(|c| !c.is_control()).take(1000).collect();
        super::is_storable(&refusal.code).then_some(Self { code: refusal.code, message })
    }
}

/// A whole answer in JSON, apart from its meaning.
pub(super) struct Told<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// The refusal that it is, where the status says so and its words can be kept.
    pub(super) refusal: Option<Refusal>,
    pub(super) retry_after: Option<std::time::Duration>,
}

impl<'a> Told<'a> {
    /// The answer, or how the exchange failed without one of the gateway's.
    pub(super) fn of(exchange: &'a Exchange) -> Result<Self, Failed> {
        match exchange {
            Exchange::Answered { status, body, is_json: true, retry_after } => {
                let refusal = if *status >= 400 { Refusal::read(body) } else { None };
                Ok(Self { status: *status, body, refusal, retry_after: *retry_after })
            }
            Exchange::Answered { status, is_json: false, .. } => {
                Err(Failed::new(FailureKind::NotTheGateway, format!("answered {status}, and not in JSON")))
            }
            Exchange::Unreachable(why) => Err(Failed::new(FailureKind::Unreachable, why)),
            Exchange::Unanswered(Silence::Timeout, why) => Err(Failed::new(FailureKind::Timeout, why)),
            Exchange::Unanswered(Silence::Reset, why) => Err(Failed::new(FailureKind::Reset, why)),
            Exchange::NotSent(why) => Err(Failed::new(FailureKind::NotSent, *why)),
        }
    }

    /// The failure that this answer is, where it is none of the expected ones.
    pub(super) fn failed(&self) -> Failed {
        let kind = match (self.status, &self.refusal) {
            (401 | 403, Some(_)) => FailureKind::Unauthorized,
            (429, Some(_)) => FailureKind::RateLimited,
            (503, Some(refusal)) if refusal.code == "not_executed" => FailureKind::NotExecuted,
            (500..=599, Some(_)) => FailureKind::ServerError,
            (400 | 402 | 404 | 409 | 422, Some(_)) => FailureKind::Unexpected,
            (_, Some(_) | None) => FailureKind::NotTheGateway,
        };
        Failed::new(kind, format!("unexpected answer {}", self.status))
    }

    /// The failure of an answer of the contract that does not fit the question.
    pub(super) fn unexpected(&self, why: &str) -> Failed {
        Failed::new(FailureKind::Unexpected, format!("answered {}: {why}", self.status))
    }

    /// Whether the gateway says, in its own words, that it does not do this at all.
    pub(super) const fn is_unsupported(&self) -> bool {
        matches!((self.status, &self.refusal), (405 | 501, Some(_)))
    }
}
