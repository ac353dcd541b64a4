//! From answers to HTTP. This is the only place that knows their JSON.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::act::Act;
use crate::book::{Charge, Decline};
use crate::journal::JournalRow;
use crate::refund::Refund;
use crate::reply::{Answer, Refusal};

/// A refusal, with the sentence that fits the case.
#[derive(Debug)]
pub(super) struct Problem {
    refusal: Refusal,
    /// A sentence that says more than the refusal's own. None where that suffices.
    detail: Option<String>,
}

/// A page of the journal.
#[derive(Debug, Serialize)]
pub(super) struct JournalPage {
    pub(super) data: Vec<JournalRow>,
    pub(super) has_more: bool,
}

/// A page of all charges.
#[derive(Serialize)]
pub(super) struct ChargesPage<'a> {
    data: Vec<ChargeBody<'a>>,
    has_more: bool,
}

#[derive(Serialize)]
struct ChargeBody<'a> {
    id: &'a str,
    key: &'a str,
    status: &'static str,
    #[serde(with = "rust_decimal::serde::str")]
    amount: Decimal,
    currency: &'a str,
    reference: &'a str,
    /// Why it failed; left out of a charge that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    decline: Option<ProblemBody<'a>>,
    created_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct ListBody<'a> {
    data: Vec<ChargeBody<'a>>,
}

#[derive(Serialize)]
struct RefundBody<'a> {
    id: &'a str,
    key: &'a str,
    charge: &'a str,
    status: &'static str,
    #[serde(with = "rust_decimal::serde::str")]
    amount: Decimal,
    currency: &'a str,
    reference: &'a str,
    /// Why it was refused; left out of a refund that was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<ProblemBody<'a>>,
    created_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct ActBody<'a> {
    id: &'a str,
    charge: &'a str,
    status: &'static str,
    #[serde(with = "rust_decimal::serde::str")]
    amount: Decimal,
    currency: &'a str,
    created_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct RefundsBody<'a> {
    data: Vec<RefundBody<'a>>,
}

#[derive(Serialize)]
struct RefundRefusedBody<'a> {
    code: &'static str,
    message: &'static str,
    refund: RefundBody<'a>,
}

#[derive(Serialize)]
struct DeclineBody<'a> {
    code: &'static str,
    message: &'static str,
    charge: ChargeBody<'a>,
}

#[derive(Serialize)]
struct VoidBody<'a> {
    key: &'a str,
    voided: bool,
    charge_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    code: &'static str,
    message: &'a str,
}

impl<'a> ChargesPage<'a> {
    pub(super) fn of(charges: &'a [Charge], has_more: bool) -> ChargesPage<'a> {
        ChargesPage { data: charges.iter().map(ChargeBody::from).collect(), has_more }
    }
}

impl IntoResponse for ChargesPage<'_> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl Problem {
    /// A malformed request; `detail` says what is wrong with it.
    pub(super) fn invalid(detail: impl Into<String>) -> Problem {
        Problem { refusal: Refusal::InvalidRequest, detail: Some(detail.into()) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem { refusal, detail: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, sentence) = self.refusal.facts();
        let message = self.detail.as_deref().unwrap_or(sentence);
        let mut response = respond(status, &ProblemBody { code, message });
        if self.refusal == Refusal::RateLimited {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = self.http_status();
        match &self {
            Answer::Charge(charge) => match charge.answered_decline() {
                Some(decline) => respond(status, &DeclineBody::new(charge, decline)),
                None => respond(status, &ChargeBody::from(charge)),
            },
            Answer::Found(charge) => respond(status, &ChargeBody::from(charge)),
            Answer::Charges(charges) => {
                respond(status, &ListBody { data: charges.iter().map(ChargeBody::from).collect() })
            }
            Answer::Voided { key, charge_id } => {
                respond(status, &VoidBody { key, voided: true, charge_id: charge_id.as_deref() })
            }
            Answer::Refund(refund) => match refund.refusal {
                Some(refusal) => {
                    let (code, message) = (refusal.as_str(), refusal.message());
                    respond(status, &RefundRefusedBody { code, message, refund: refund.into() })
                }
                None => respond(status, &RefundBody::from(refund)),
            },
            Answer::Refunds(refunds) => {
                respond(status, &RefundsBody { data: refunds.iter().map(RefundBody::from).collect() })
            }
            Answer::Act(act) => respond(status, &ActBody::from(act)),
            Answer::Refused(refusal) => Problem::from(*refusal).into_response(),
        }
    }
}

impl<'a> From<&'a Charge> for ChargeBody<'a> {
    fn from(charge: &'a Charge) -> ChargeBody<'a> {
        ChargeBody {
            id: &charge.id,
            key: &charge.key,
            status: charge.status.as_str(),
            amount: charge.amount,
            currency: &charge.currency,
            reference: &charge.reference,
            decline: charge
                .answered_decline()
                .map(|decline| ProblemBody { code: decline.as_str(), message: decline.message() }),
            created_at: charge.created_at,
        }
    }
}

impl<'a> From<&'a Refund> for RefundBody<'a> {
    fn from(refund: &'a Refund) -> RefundBody<'a> {
        RefundBody {
            id: &refund.id,
            key: &refund.key,
            charge: &refund.charge_id,
            status: refund.status.as_str(),
            amount: refund.amount,
            currency: &refund.currency,
            reference: &refund.reference,
            refusal: refund
                .refusal
                .map(|refusal| ProblemBody { code: refusal.as_str(), message: refusal.message() }),
            created_at: refund.created_at,
        }
    }
}

impl<'a> From<&'a Act> for ActBody<'a> {
    fn from(act: &'a Act) -> ActBody<'a> {
        ActBody {
            id: &act.id,
            charge: &act.charge_id,
            status: act.status.as_str(),
            amount: act.amount,
            currency: &act.currency,
            created_at: act.created_at,
        }
    }
}

impl<'a> DeclineBody<'a> {
    fn new(charge: &'a Charge, decline: Decline) -> DeclineBody<'a> {
        DeclineBody { code: decline.as_str(), message: decline.message(), charge: charge.into() }
    }
}

fn respond(status: u16, body: &impl Serialize) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}
