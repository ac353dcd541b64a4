//! From HTTP to requests. Every way in which a request can be wrong ends here, as a problem with a sentence.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::render::Problem;
use crate::faults::Faults;
use crate::reply::Refusal;
use crate::request::{self, ChargeRequest, RefundRequest};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeBody {
    amount: String,
    currency: String,
    payment_method: String,
    reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VoidBody {
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    charge: String,
    amount: String,
    currency: String,
    reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActBody {
    charge: String,
    amount: String,
}

/// The query of `GET /refunds`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundsQuery {
    key: String,
}

/// The query of `GET /charges`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargesQuery {
    key: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// Which charges are asked for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Those made under this key: a lookup.
    Key(String),
    /// A page of all charges.
    Page { after: String, limit: i64 },
}

/// The query of `GET /journal`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    #[serde(default)]
    after: i64,
    #[serde(default = "default_limit")]
    limit: i64,
}

const LIMIT_MAX: i64 = 10_000;

fn default_limit() -> i64 {
    1_000
}

/// The charge that headers and body ask for.
pub(super) fn charge(headers: &HeaderMap, body: &[u8], faults: &Faults) -> Result<ChargeRequest, Problem> {
    let is_keyless = faults.keys_optional && !headers.contains_key("idempotency-key");
    let key = if is_keyless { None } else { Some(idempotency_key(headers)?) };
    let body: ChargeBody = json(body)?;
    let reference = text("reference", body.reference)?;
    Ok(ChargeRequest {
        amount: amount(&body.amount)?,
        currency: currency(body.currency)?,
        payment_method: text("payment_method", body.payment_method)?,
        key: key.unwrap_or_else(|| reference.clone()),
        reference,
        is_keyless,
    })
}

/// The refund that headers and body ask for.
pub(super) fn refund(headers: &HeaderMap, body: &[u8]) -> Result<RefundRequest, Problem> {
    let key = idempotency_key(headers)?;
    let body: RefundBody = json(body)?;
    Ok(RefundRequest {
        key,
        charge_id: text("charge", body.charge)?,
        amount: amount(&body.amount)?,
        currency: currency(body.currency)?,
        reference: text("reference", body.reference)?,
    })
}

/// The refund that somebody makes in the dashboard, under a key of its own.
pub(super) fn refund_by_hand(body: &[u8]) -> Result<RefundRequest, Problem> {
    let body: RefundBody = json(body)?;
    Ok(RefundRequest {
        key: format!("dash_{}", uuid::Uuid::now_v7().simple()),
        charge_id: text("charge", body.charge)?,
        amount: amount(&body.amount)?,
        currency: currency(body.currency)?,
        reference: text("reference", body.reference)?,
    })
}

/// The charge, and how much of it, that a return or a dispute is about.
pub(super) fn act(body: &[u8]) -> Result<(String, Decimal), Problem> {
    let body: ActBody = json(body)?;
    Ok((text("charge", body.charge)?, amount(&body.amount)?))
}

/// The key that headers and body ask to void.
pub(super) fn void(headers: &HeaderMap, body: &[u8]) -> Result<String, Problem> {
    let own_key = idempotency_key(headers)?;
    let body: VoidBody = json(body)?;
    let key = text("key", body.key)?;
    if own_key.strip_suffix(":void") == Some(&key) { Ok(key) } else { Err(Refusal::KeyMismatch.into()) }
}

/// The charge id in the path.
pub(super) fn charge_id(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(id) = id.map_err(|error| Problem::invalid(error.body_text()))?;
    text("id", id)
}

/// The header `X-Correlation-Id`. None where it was not sent.
pub(super) fn correlation_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("x-correlation-id") else { return Ok(None) };
    let value = value.to_str().ok().and_then(|value| request::text(value.to_owned()));
    value
        .map(Some)
        .ok_or_else(|| Problem::invalid("X-Correlation-Id must be 1 to 255 visible ASCII characters"))
}

/// The body, if it is not over the limit.
pub(super) fn bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge.into(),
        _ => Problem::invalid(error.body_text()),
    })
}

/// The query, if it has the right fields.
pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|error| Problem::invalid(error.body_text()))
}

/// The body as a JSON object of the right shape. (By itself, serde also takes a list of the fields' values.)
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::invalid("the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("the body is not right: {error}")))
}

impl ChargesQuery {
    /// The key to look up, or the page to list; `after` may be empty, for the first one.
    pub(super) fn wanted(self) -> Result<Wanted, Problem> {
        match self {
            Self { key: Some(key), after: None, limit: None } => Ok(Wanted::Key(text("key", key)?)),
            Self { key: None, after: Some(after), limit } => {
                let limit = limit.unwrap_or_else(default_limit);
                if (1..=LIMIT_MAX).contains(&limit) && after.is_ascii() && !after.contains('\0') {
                    return Ok(Wanted::Page { after, limit });
                }
                Err(Problem::invalid("after must be a charge's id or empty, limit must be 1 to 10000"))
            }
            Self { .. } => {
                Err(Problem::invalid("send key to look it up, or after and limit to list all charges"))
            }
        }
    }
}

impl RefundsQuery {
    /// The key to look up.
    pub(super) fn key(self) -> Result<String, Problem> {
        text("key", self.key)
    }
}

impl JournalQuery {
    /// The row after which the page begins, and how many rows it has.
    pub(super) fn bounds(&self) -> Result<(i64, i64), Problem> {
        if self.after < 0 || !(1..=LIMIT_MAX).contains(&self.limit) {
            return Err(Problem::invalid("after must not be negative, limit must be 1 to 10000"));
        }
        Ok((self.after, self.limit))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let value = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    value.and_then(|value| request::text(value.to_owned())).ok_or_else(|| Refusal::KeyMissing.into())
}

fn amount(value: &str) -> Result<Decimal, Problem> {
    request::amount(value).ok_or_else(|| {
        Problem::invalid("amount must be a decimal string, more than 0 and at most 10^12, such as \"12.30\"")
    })
}

fn currency(value: String) -> Result<String, Problem> {
    request::currency(value).ok_or_else(|| Problem::invalid("currency must be three capital letters"))
}

fn text(field: &str, value: String) -> Result<String, Problem> {
    request::text(value)
        .ok_or_else(|| Problem::invalid(format!("{field} must be 1 to 255 visible ASCII characters")))
}
