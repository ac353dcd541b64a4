//! How an exchange with the gateway failed, in one word, and what that says of the gateway itself.
//!
//! Invariant: an answer counts only with the contract's status, content type and JSON shape. Anything else
//! that answers is not the gateway, and its words are final for nothing.

use crate::words;

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

words! {
    /// How an exchange failed: the word for it in events, metrics and answers to clients.
    FailureKind {
        /// No whole answer within `GATEWAY_TIMEOUT_MS`.
        Timeout = "timeout",
        /// The connection broke after something may have been sent.
        Reset = "reset",
        /// No connection: name, connect or TLS. No byte of the request left us.
        Unreachable = "unreachable",
        /// An answer that no gateway of this contract gives: a proxy's page, a redirect, another service.
        NotTheGateway = "not_the_gateway",
        /// The gateway says that something went wrong there.
        ServerError = "server_error",
        /// The gateway says that it did nothing.
        NotExecuted = "not_executed",
        /// The gateway refuses our credentials.
        Unauthorized = "unauthorized",
        /// Too many requests.
        RateLimited = "rate_limited",
        /// An answer of the contract that does not fit the question.
        Unexpected = "unexpected",
        /// We did not send it, knowingly.
        NotSent = "not_sent",
        /// The worker that had the claim is gone, and what it sent is not known.
        WorkerLost = "worker_lost",
    }
}

impl FailureKind {
    /// What it says of the gateway.
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

words! {
    /// Why we did not send a request.
    NotSent {
        /// The claim's time to send was over.
        TooLateToSend = "too_late_to_send",
        /// Another server takes writes than the one that the claim came from.
        AnotherDatabase = "another_database",
        /// The call is none that HTTP can carry.
        NotBuilt = "request_could_not_be_built",
        /// The claim was for no call.
        NotAsked = "not_asked",
    }
}

/// An exchange that gave no usable answer: of which kind, and in detail for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failed {
    /// Of which kind.
    pub kind: FailureKind,
    /// In more words, for people.
    pub detail: String,
    /// The status of the answer, where one came in JSON that says something else than was hoped for.
    pub status: Option<u16>,
}

impl Failed {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), status: None }
    }
}

/// The code of a decline about which no more is known. Adapters read their gateway's word for it into this.
pub const CARD_DECLINED: &str = "card_declined";

/// The code of a request that is invalid because the gateway does not know the payment method. Adapters read
/// their gateway's word for it into this.
pub const PAYMENT_METHOD_UNKNOWN: &str = "payment_method_unknown";

/// A refusal as the gateway words it, but for what has one code with all gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word for programs, such as `key_in_use`.
    pub code: String,
    /// For people. At most 1,000 characters, none of them a control character.
    pub message: String,
}

impl Refusal {
    /// A refusal whose words can be kept; none where the code cannot. One that says nothing usable is as good
    /// as none.
    #[must_use]
    pub fn new(code: String, message: &str) -> Option<Self> {
        let message = message.chars().filter(|c| !c.is_control()).take(1000).collect();
        super::is_storable(&code).then_some(Self { code, message })
    }
}
