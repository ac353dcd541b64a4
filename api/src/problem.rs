//! The answers to requests that fail: RFC 9457 problem details with a stable `code`.
//!
//! Invariant: the code of every error is decided here, and its status and meaning in the table of codes, and
//! nowhere else. What the database said goes to the log, never to a client.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ids::AccountId;
use domain::public_event::EventId;
use serde_json::{Value, json};
use shared::database::batch::Refused;
use shared::database::failure::Failure;
use shared::merchant::scope::Scope;

use crate::contract::codes::{Code, Retry};
use crate::fault::{FAULTS_MAX, Fault, Kind};
use crate::refusal::{NotMoved, NotRefunded};

/// Everything that can be wrong with a request, or with us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// With every fault that was found, and at least one.
    #[error("{}", .0.first().map_or("", |fault| &fault.detail))]
    InvalidRequest(Vec<Fault>),
    #[error(
        "send an Idempotency-Key header: a value of your own, the same for every try of this one payment"
    )]
    KeyMissing,
    #[error("this Idempotency-Key made another payment, which differs in {}; use a new key for a new payment", .fields.join(", "))]
    KeyReused { fields: Vec<&'static str>, payment_id: String },
    #[error("another request with this Idempotency-Key has not ended yet; repeat this one later")]
    KeyInProgress,
    #[error(
        "nothing is recorded under this key, customer_id and operation; a request that is still under way may yet be"
    )]
    KeyNotFound,
    #[error("this Idempotency-Key came with another request before; use a new key for a new request")]
    KeyOfAnother,
    /// Nothing moved, for a reason of the accounts.
    #[error("{0}")]
    Refused(NotMoved),
    /// Nothing is given back, for a reason of the payment.
    #[error("{0}")]
    NotRefunded(NotRefunded),
    #[error(
        "another session of the database keeps account {0} locked; repeat this request with the same Idempotency-Key"
    )]
    AccountBusy(AccountId),
    #[error(
        "another account of this merchant has this external_id; list accounts with ?external_id= to find it"
    )]
    ExternalIdTaken,
    #[error("send a valid key, as X-API-Key or as a bearer token")]
    Unauthorized,
    #[error("this key does not have the scope {0}, which is needed here; come with one that has it")]
    InsufficientScope(Scope),
    #[error("too many wrong keys came from this address; come back after {retry_after_s} s")]
    TooManyTries { retry_after_s: u64 },
    #[error("{by} resolved this break already, because: {reason}")]
    BreakResolved { by: String, reason: String },
    #[error(
        "the payment of this break is held: send a decision (release, look, succeed with charge_id, fail, reverse, void)"
    )]
    DecisionNeeded,
    #[error(
        "the payment of this break is not held, so there is nothing to decide about it; send the reason alone"
    )]
    NothingToDecide,
    #[error("nothing was decided: {0}")]
    DecisionRefused(String),
    #[error(
        "somebody else's decision about the payment is being checked at the gateway; repeat this one later"
    )]
    DecisionOpen,
    #[error(
        "a correction takes two people: come with a key of your own, which ADMIN_KEYS gives you, and not with ADMIN_KEY"
    )]
    NamelessKey,
    #[error("you proposed this correction; somebody else has to approve it, with a key of their own")]
    SamePerson,
    #[error("correction {0} of this payment has not ended; approve it or take it back first")]
    CorrectionOpen(i64),
    #[error("this correction is {0} already")]
    CorrectionClosed(String),
    #[error("the payment is not over: only what is over is corrected")]
    NotOver,
    #[error("this review is {status} already, by {by}")]
    ReviewDecided { status: String, by: String },
    #[error("this transfer is for a payment in review; approve or deny that")]
    TransferOfPayment,
    #[error("{by} {how} this dead letter already, because: {reason}")]
    LetterClosed { how: String, by: String, reason: String },
    #[error("the payment of this dead letter is held: replay it, or decide about the payment by its break")]
    LetterHeld,
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("this path does not take that method")]
    MethodNotAllowed,
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    #[error("{0}; send it whole, and repeat the request")]
    TooSlow(String),
    #[error("send the body as application/json")]
    UnsupportedMediaType,
    #[error("send the body as it is, neither compressed nor coded otherwise, and leave Content-Encoding out")]
    UnsupportedEncoding,
    #[error("too many requests with this API key; repeat this one after {retry_after_s} s")]
    TooManyRequests { retry_after_s: u64 },
    #[error(
        "{0} requests with this API key are under way at this process; repeat this one once some have ended"
    )]
    TooManyUnderWay(usize),
    #[error("{0} requests with this API key wait for payments; ask without `wait`, or once some have ended")]
    TooManyWaits(usize),
    #[error("{0} streams of yours are open at this process; close one first")]
    TooManyStreams(usize),
    #[error(
        "the events after this one are gone: the system came back without them; go on after `resume_after`, or from the \
         beginning if it is null, and tell events apart by their ids"
    )]
    CursorLost(Option<EventId>),
    #[error("you have {0} endpoints that are enabled; disable one first")]
    TooManyEndpoints(i64),
    #[error(
        "no events are sent to endpoints here: the operator has not set WEBHOOK_SECRET_KEY, or lost the one before"
    )]
    WebhooksOff,
    #[error(
        "it is not known at the moment how much of this API key's limit is left; nothing is lost by repeating the request \
         with the same Idempotency-Key"
    )]
    ReducedCapacity,
    #[error("the path and the query together are longer than {0} bytes")]
    UriTooLong(usize),
    #[error("not possible right now; nothing is lost by repeating the request with the same Idempotency-Key")]
    Unavailable,
    #[error(
        "another session of the database keeps a table or a row locked that this request needs; nothing is lost by \
         repeating it with the same Idempotency-Key"
    )]
    DatabaseBusy,
    #[error(
        "the database is away, or takes no writes at the moment; nothing is lost by repeating the request with the same \
         Idempotency-Key"
    )]
    DatabaseUnavailable,
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("a fault of ours; repeating the request with the same Idempotency-Key is safe")]
    Internal,
}

impl Problem {
    /// A field of the body whose value is refused.
    pub(crate) fn invalid(field: &str, detail: impl ToString) -> Self {
        Fault::field(&[field], Kind::Invalid, detail).into()
    }

    /// A problem, unless there is no fault.
    pub(crate) fn unless(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::InvalidRequest(faults)) }
    }

    /// The problem with these faults of the same request. Another problem than faults stays as it is.
    pub(crate) fn and(mut self, more: Vec<Fault>) -> Self {
        if let Self::InvalidRequest(faults) = &mut self {
            faults.extend(more);
        }
        self
    }

    /// What is wrong with the request, place by place.
    fn faults(&self) -> Vec<Fault> {
        if let Self::InvalidRequest(faults) = self {
            return faults.iter().take(FAULTS_MAX).cloned().collect();
        }
        let headers = [
            (Self::KeyMissing, "Idempotency-Key", Kind::Missing),
            (Self::UnsupportedMediaType, "Content-Type", Kind::Unsupported),
            (Self::UnsupportedEncoding, "Content-Encoding", Kind::Unsupported),
        ];
        let of_header = headers.into_iter().filter(|(problem, ..)| problem == self);
        of_header.map(|(_, name, kind)| Fault::header(name, kind, self)).collect()
    }

    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::InvalidRequest(_) => Code::InvalidRequest,
            Self::KeyMissing => Code::IdempotencyKeyMissing,
            Self::KeyReused { .. } | Self::KeyOfAnother => Code::IdempotencyKeyReused,
            Self::Refused(refused) => refused.code(),
            Self::NotRefunded(refused) => refused.code(),
            Self::AccountBusy(_) => Code::AccountBusy,
            Self::ExternalIdTaken => Code::ExternalIdTaken,
            Self::KeyInProgress => Code::IdempotencyKeyInProgress,
            Self::KeyNotFound => Code::IdempotencyKeyNotFound,
            Self::Unauthorized => Code::Unauthorized,
            Self::InsufficientScope(_) => Code::InsufficientScope,
            Self::TooManyTries { .. } => Code::TooManyTries,
            Self::BreakResolved { .. } => Code::BreakResolved,
            Self::ReviewDecided { .. } => Code::ReviewDecided,
            Self::TransferOfPayment => Code::TransferOfPayment,
            Self::LetterClosed { .. } => Code::DeadLetterClosed,
            Self::LetterHeld => Code::DeadLetterHeld,
            Self::DecisionNeeded => Code::DecisionNeeded,
            Self::NothingToDecide => Code::NothingToDecide,
            Self::DecisionRefused(_) => Code::DecisionRefused,
            Self::DecisionOpen => Code::DecisionOpen,
            Self::NamelessKey => Code::NamedKeyNeeded,
            Self::SamePerson => Code::SamePerson,
            Self::CorrectionOpen(_) => Code::CorrectionOpen,
            Self::CorrectionClosed(_) => Code::CorrectionClosed,
            Self::NotOver => Code::PaymentNotOver,
            Self::NotFound(_) => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::TooLarge(_) => Code::PayloadTooLarge,
            Self::TooSlow(_) => Code::RequestTimeout,
            Self::UnsupportedMediaType => Code::UnsupportedMediaType,
            Self::UnsupportedEncoding => Code::UnsupportedContentEncoding,
            Self::TooManyRequests { .. } => Code::TooManyRequests,
            Self::TooManyUnderWay(_) => Code::TooManyConcurrentRequests,
            Self::TooManyWaits(_) => Code::TooManyWaits,
            Self::TooManyStreams(_) => Code::TooManyStreams,
            Self::CursorLost(_) => Code::CursorLost,
            Self::TooManyEndpoints(_) => Code::TooManyEndpoints,
            Self::WebhooksOff => Code::WebhooksOff,
            Self::ReducedCapacity => Code::ReducedCapacity,
            Self::UriTooLong(_) => Code::UriTooLong,
            Self::Unavailable => Code::Unavailable,
            Self::DatabaseBusy => Code::DatabaseBusy,
            Self::DatabaseUnavailable => Code::DatabaseUnavailable,
            Self::NotReady(_) => Code::NotReady,
            Self::Internal => Code::Internal,
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.code().status()
    }

    /// The seconds after which the same request may well succeed. None where nobody knows, or never.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        if let Self::TooManyRequests { retry_after_s } | Self::TooManyTries { retry_after_s } = self {
            return Some(*retry_after_s);
        }
        (self.code().retry() == Retry::After).then_some(1)
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("/problems/{}", self.code().as_str()),
            "title": self.status().canonical_reason(),
            "status": self.status().as_u16(),
            "code": self.code().as_str(),
            "detail": self.to_string(),
            "retryable": self.code().retry() != Retry::Never,
        });
        if let Self::InvalidRequest(faults) = self
            && let Some(param) = faults.first().and_then(Fault::param)
        {
            body["param"] = json!(param);
        }
        if let Self::KeyReused { fields, payment_id } = self {
            body["differing_fields"] = json!(fields);
            body["payment_id"] = json!(payment_id);
        }
        if let Self::Refused(refused) = self {
            refused.tell(&mut body);
        }
        if let Self::NotRefunded(refused) = self {
            refused.tell(&mut body);
        }
        if let Self::ReviewDecided { status, by } = self {
            body["review"] = json!({ "status": status, "decided_by": by });
        }
        if let Self::CursorLost(resume_after) = self {
            body["resume_after"] = json!(resume_after);
        }
        if let Self::AccountBusy(account) = self {
            body["account"] = json!(account);
        }
        let faults = self.faults();
        if !faults.is_empty() {
            body["errors"] = faults.iter().map(Fault::shown).collect();
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self == Self::Unauthorized {
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        if self == Self::UnsupportedEncoding {
            // What a body may be coded in, by RFC 9110, section 12.5.3.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Has an answer that is a problem say which request it was, so that the document alone can be followed.
pub(crate) fn with_request_id(response: Response, request_id: &str) -> Response {
    let (mut head, body) = response.into_parts();
    let Some(problem) = head.extensions.remove::<Arc<Problem>>() else {
        return Response::from_parts(head, body);
    };
    let mut told = problem.body();
    told["request_id"] = json!(request_id);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(told.to_string()))
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::InvalidRequest(vec![fault])
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::from(&error)
    }
}

impl From<Refused<sqlx::Error>> for Problem {
    fn from(refused: Refused<sqlx::Error>) -> Self {
        match refused {
            Refused::Failed(error) => Self::from(&*error),
            Refused::Full => Self::Unavailable,
            Refused::Lost => Self::Internal,
        }
    }
}

impl From<&sqlx::Error> for Problem {
    fn from(error: &sqlx::Error) -> Self {
        let failure = Failure::of(error);
        let problem = if failure == Failure::LockedOut {
            Self::DatabaseBusy
        } else if failure.is_away() {
            Self::DatabaseUnavailable
        } else if failure.is_passing() {
            Self::Unavailable
        } else {
            Self::Internal
        };
        tracing::error!(%error, ?failure, code = problem.code().as_str(), "database");
        problem
    }
}
