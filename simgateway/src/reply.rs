//! The reply to a call: an answer, or one of the ways in which a network gives none.
//!
//! Here is the only table of refusals: status, code and sentence of each.

use crate::act::Act;
use crate::book::Charge;
use crate::refund::{Refund, RefundStatus};

/// What happens on the wire after a call was decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// The answer leaves at once.
    Answer(Answer),
    /// The answer leaves after `slow_token_ms`.
    LateAnswer(Answer),
    /// No answer leaves, and the connection ends like this.
    None(Failure),
}

/// How a call ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection is held for `timeout_delay_ms` and then closed.
    Silence,
    /// The connection is closed at once.
    HangUp,
    /// The connection is reset (a TCP RST) at once.
    Reset,
}

/// An answer that leaves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// The answer to a charge call. Its HTTP status follows from the charge's own.
    Charge(Charge),
    /// The answer to a lookup by key.
    Charges(Vec<Charge>),
    /// The answer to a lookup by charge id.
    Found(Charge),
    /// The answer to a void: the key that is closed, and the charge that was undone, if there is one.
    Voided { key: String, charge_id: Option<String> },
    /// The answer to a call for a refund. Its HTTP status follows from the refund's own.
    Refund(Refund),
    /// The answer to a lookup of refunds by key.
    Refunds(Vec<Refund>),
    /// The answer to what somebody does without the caller.
    Act(Act),
    /// The refusal of any call.
    Refused(Refusal),
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is malformed, incomplete or out of bounds.
    InvalidRequest,
    /// The caller's credentials are not accepted.
    Unauthorized,
    /// The header `Idempotency-Key` is missing.
    KeyMissing,
    /// `Idempotency-Key` of a void is not the one that the body asks for.
    KeyMismatch,
    /// The payment method is unknown or not accepted.
    InvalidPaymentMethod,
    /// The key belongs to a request for another amount or currency, or by another payment method.
    KeyReused,
    /// The key was voided.
    Voided,
    /// The charge to be given back is not known here.
    ChargeUnknown,
    /// The charge has less left, or the dispute has ended.
    NothingLeft,
    /// There is no such charge, or no such path.
    NotFound,
    /// The path takes another method.
    MethodNotAllowed,
    /// The body is over the limit.
    TooLarge,
    /// There are too many requests; the caller may come back after a second.
    RateLimited,
    /// Nothing was executed, which is a promise.
    NotExecuted,
    /// Something went wrong; the call may or may not have taken effect.
    Internal,
    /// Lookups are switched off.
    LookupUnsupported,
    /// Voids are switched off.
    VoidUnsupported,
    /// A crash is refused, because it would end more than the gateway.
    CrashUnsupported,
}

impl Refusal {
    /// The HTTP status, the stable code, and the sentence.
    pub(crate) fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Refusal::InvalidRequest => (400, "invalid_request", "the request is not valid"),
            Refusal::Unauthorized => (401, "unauthorized", "the credentials are not accepted"),
            Refusal::KeyMissing => (
                400,
                "idempotency_key_missing",
                "the header Idempotency-Key is required: 1 to 255 visible ASCII characters",
            ),
            Refusal::KeyMismatch => {
                (400, "idempotency_key_mismatch", "Idempotency-Key must be <key>:void for a void")
            }
            Refusal::InvalidPaymentMethod => {
                (400, "invalid_payment_method", "the payment method is not known or not accepted")
            }
            Refusal::KeyReused => (
                422,
                "key_reused",
                "the key belongs to a request for another amount, currency or payment method",
            ),
            Refusal::Voided => (409, "voided", "the key was voided; nothing is charged under it"),
            Refusal::ChargeUnknown => (400, "charge_unknown", "there is no such charge to give back"),
            Refusal::NothingLeft => {
                (409, "nothing_left", "the charge has less left, or the dispute has ended")
            }
            Refusal::NotFound => (404, "not_found", "there is no such thing"),
            Refusal::MethodNotAllowed => (405, "method_not_allowed", "the path takes another method"),
            Refusal::TooLarge => (413, "too_large", "the body is too large"),
            Refusal::RateLimited => {
                (429, "rate_limited", "too many requests; try again after the time in Retry-After")
            }
            Refusal::NotExecuted => (503, "not_executed", "the request was not executed; it may be repeated"),
            Refusal::Internal => (500, "internal", "something went wrong; the request may have taken effect"),
            Refusal::LookupUnsupported => {
                (501, "lookup_unsupported", "this gateway does not look up charges")
            }
            Refusal::VoidUnsupported => (501, "void_unsupported", "this gateway does not void"),
            Refusal::CrashUnsupported => (
                501,
                "crash_unsupported",
                "this gateway shares its process with others, which a crash would end too: \
                 start the program simgateway by itself, and set crash or crash_rate there",
            ),
        }
    }
}

impl Reply {
    /// The reply that refuses.
    pub(crate) fn refuse(refusal: Refusal) -> Reply {
        Reply::Answer(Answer::Refused(refusal))
    }

    /// The answer, if one leaves.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Reply::Answer(answer) | Reply::LateAnswer(answer) => Some(answer),
            Reply::None(_) => None,
        }
    }
}

impl Answer {
    /// The HTTP status that carries this answer.
    pub(crate) fn http_status(&self) -> u16 {
        match self {
            Answer::Charge(charge) => charge.answer_status(),
            Answer::Charges(_) | Answer::Found(_) | Answer::Refunds(_) => 200,
            Answer::Refund(refund) => match refund.status {
                RefundStatus::Succeeded => 201,
                RefundStatus::Asked => 202,
                RefundStatus::Failed => 402,
            },
            Answer::Voided { .. } | Answer::Act(_) => 201,
            Answer::Refused(refusal) => refusal.facts().0,
        }
    }

    /// The charge that the answer is about, if it is about one.
    pub(crate) fn charge_id(&self) -> Option<&str> {
        match self {
            Answer::Charge(charge) | Answer::Found(charge) => Some(&charge.id),
            Answer::Voided { charge_id, .. } => charge_id.as_deref(),
            Answer::Refund(refund) => Some(&refund.charge_id),
            Answer::Act(act) => Some(&act.charge_id),
            Answer::Charges(_) | Answer::Refunds(_) | Answer::Refused(_) => None,
        }
    }
}
