//! The adapter of the simulated gateway, whose protocol `docs/GATEWAYS.md` describes: JSON over HTTP.
//!
//! Invariant: an answer counts only with the contract's status, content type and JSON shape. Whatever else
//! answers is not the gateway, and its words are final for nothing.

use chrono::{DateTime, Utc};
use domain::ids::GatewayKey;
use domain::operation::{ExpectedEffect, OperationOutcome};
use domain::outcome::{
    CARD_DECLINED, Charge, ChargeOutcome, ChargeStatus, Expected, Failed, FailureKind, Listing, Looked,
    PAYMENT_METHOD_UNKNOWN, Refusal, VoidOutcome,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::ChargeOrder;
use super::adapter::Adapter;
use super::books::{JournalRow, Page, Unread};
use super::door::Identity;
use super::wire::{Answer, Call, Exchange};

/// The simulated gateway's language.
#[derive(Debug, Clone, Copy)]
pub struct Simulated;

impl Adapter for Simulated {
    fn charge(&self, order: &ChargeOrder<'_>) -> Call {
        let body = json!({
            "amount": order.money.to_string(),
            "currency": order.money.currency().code(),
            "payment_method": order.payment_method,
            "reference": order.reference,
        });
        Call::post("/charges", order.key.as_str(), body)
    }

    fn charged(&self, exchange: &Exchange, expected: &Expected) -> ChargeOutcome {
        charged(exchange, expected)
    }

    fn look_up(&self, key: &GatewayKey) -> Call {
        Call::get(format!("/charges?key={key}"))
    }

    fn looked_up(&self, exchange: &Exchange) -> Looked {
        looked_up(exchange)
    }

    fn void(&self, key: &GatewayKey) -> Call {
        Call::post("/voids", format!("{key}:void"), json!({ "key": key.as_str() }))
    }

    fn voided(&self, exchange: &Exchange, key: &GatewayKey) -> VoidOutcome {
        voided(exchange, key)
    }

    fn refund(&self, order: &ExpectedEffect) -> Call {
        operations::refund(order)
    }

    fn refunded(&self, exchange: &Exchange, expected: &ExpectedEffect) -> OperationOutcome {
        operations::refunded(exchange, expected)
    }

    fn look_up_refund(&self, key: &str) -> Call {
        operations::look_up(key)
    }

    fn refund_looked_up(&self, exchange: &Exchange, expected: &ExpectedEffect) -> OperationOutcome {
        operations::looked_up(exchange, expected)
    }

    fn account(&self) -> Call {
        Call::get("/account")
    }

    fn identity(&self, exchange: &Exchange) -> Result<Option<Identity>, Failed> {
        read(exchange)
    }

    fn is_well(&self, exchange: &Exchange) -> Result<(), Failed> {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "read for its shape")]
        struct Shape {
            data: Vec<IgnoredAny>,
            has_more: bool,
        }
        read::<Shape>(exchange).map(drop)
    }

    fn journal(&self, after: i64, limit: usize) -> Call {
        Call::get(format!("/journal?after={after}&limit={limit}"))
    }

    fn journal_page(&self, exchange: &Exchange) -> Result<Page<JournalRow>, Unread> {
        page::<WireJournalRow, _>(exchange)
    }

    fn charges(&self, after: &str, limit: usize) -> Call {
        let after: String = form_urlencoded::byte_serialize(after.as_bytes()).collect();
        Call::get(format!("/charges?after={after}&limit={limit}"))
    }

    fn charges_page(&self, exchange: &Exchange) -> Result<Page<Charge>, Unread> {
        page::<WireCharge, _>(exchange)
    }
}

/// Reads the answer to `POST /charges`.
#[must_use]
pub fn charged(exchange: &Exchange, expected: &Expected) -> ChargeOutcome {
    let told = match (Told::of(exchange), exchange) {
        (Ok(told), _) => told,
        (Err(_), Exchange::NotSent(why)) => return ChargeOutcome::NotSent(*why),
        (Err(failed), _) => return ChargeOutcome::failed(failed),
    };
    match (told.answer.status, &told.refusal) {
        (201, _) => match told.json::<WireCharge>() {
            Some(charge) => ChargeOutcome::made(charge.into(), expected),
            None => ChargeOutcome::failed(told.failed()),
        },
        (202, _) => match told.json::<WireCharge>().map(Charge::from) {
            Some(charge) if charge.status != ChargeStatus::Other => ChargeOutcome::StillWorking,
            Some(_) | None => ChargeOutcome::failed(told.failed()),
        },
        (402, Some(refusal)) => ChargeOutcome::Declined(declined(refusal.clone())),
        // The second is what some gateways call it.
        (400 | 409 | 422, Some(refusal))
            if matches!(refusal.code.as_str(), "key_reused" | "idempotency_error") =>
        {
            ChargeOutcome::KeyReused(refusal.clone())
        }
        (409, Some(refusal)) if refusal.code == "voided" => ChargeOutcome::KeyClosed,
        (400 | 422, Some(refusal)) if refusal.code == "invalid_payment_method" => {
            ChargeOutcome::Invalid(Refusal { code: PAYMENT_METHOD_UNKNOWN.to_owned(), ..refusal.clone() })
        }
        (400 | 422, Some(refusal)) => ChargeOutcome::Invalid(refusal.clone()),
        (409, Some(refusal)) if refusal.code == "key_in_use" => ChargeOutcome::KeyBusy,
        (429, Some(_)) => ChargeOutcome::RateLimited(told.answer.retry_after),
        _ => ChargeOutcome::failed(told.failed()),
    }
}

/// Reads the answer to `GET /charges?key=…`.
#[must_use]
pub fn looked_up(exchange: &Exchange) -> Looked {
    #[derive(Deserialize)]
    struct WireListing {
        data: Vec<WireCharge>,
        /// Absent or null is no.
        has_more: Option<bool>,
    }
    let told = match Told::of(exchange) {
        Ok(told) => told,
        Err(failed) => return Looked::NoAnswer(failed),
    };
    // 404 is not among them: some gateways say so of a key that they do not know.
    if told.is_unsupported() {
        return Looked::Unsupported;
    }
    let listing = (told.answer.status == 200).then(|| told.json::<WireListing>()).flatten();
    listing.map_or_else(
        || Looked::NoAnswer(told.failed()),
        |WireListing { data, has_more }| {
            let charges = data.into_iter().map(Charge::from).collect();
            Looked::Shown(Listing { charges, has_more: has_more.unwrap_or(false) })
        },
    )
}

/// Reads the answer to `POST /voids`.
#[must_use]
pub fn voided(exchange: &Exchange, key: &GatewayKey) -> VoidOutcome {
    #[derive(Deserialize)]
    struct WireVoid {
        key: String,
        voided: bool,
    }
    let told = match Told::of(exchange) {
        Ok(told) => told,
        Err(failed) => return VoidOutcome::NoAnswer(failed),
    };
    if told.is_unsupported() {
        return VoidOutcome::Unsupported;
    }
    let void = (told.answer.status == 201).then(|| told.json::<WireVoid>()).flatten();
    match void {
        Some(void) if void.voided && void.key == key.as_str() => VoidOutcome::Confirmed,
        Some(_) => {
            let why = format!("answered {}: not a void of our key", told.answer.status);
            VoidOutcome::NoAnswer(Failed::new(FailureKind::Unexpected, why))
        }
        None => VoidOutcome::NoAnswer(told.failed()),
    }
}

/// Reads an answer that is about no payment; none where the gateway says, in the words of its contract, that
/// it has no such thing.
fn read<T: DeserializeOwned>(exchange: &Exchange) -> Result<Option<T>, Failed> {
    let told = Told::of(exchange)?;
    let status = told.answer.status;
    if told.is_unsupported() || (status == 404 && told.refusal.is_some()) {
        return Ok(None);
    }
    let answer = (status == 200).then(|| told.json()).flatten();
    answer.map(Some).ok_or_else(|| match status {
        200 => Failed::new(FailureKind::NotTheGateway, "answered 200, but not as the contract says"),
        _ => told.failed(),
    })
}

/// Reads a page of a book.
fn page<W: DeserializeOwned, T: From<W>>(exchange: &Exchange) -> Result<Page<T>, Unread> {
    #[derive(Deserialize)]
    struct WirePage<W> {
        data: Vec<W>,
        has_more: bool,
    }
    let answer = exchange.answer().map_err(|failed| Unread::Failed(failed.detail))?;
    match answer.status {
        status @ (400 | 404 | 405 | 501) => return Err(Unread::NotOffered(status)),
        200..=299 => {}
        status => return Err(Unread::Failed(format!("it answers {status}"))),
    }
    let page: WirePage<W> = serde_json::from_slice(&answer.body)
        .map_err(|why| Unread::Failed(format!("a page is garbled: {why}")))?;
    Ok(Page { data: page.data.into_iter().map(T::from).collect(), has_more: page.has_more })
}

/// A charge, as it is written on the wire.
#[derive(Deserialize)]
struct WireCharge {
    id: String,
    key: String,
    status: String,
    #[serde(deserialize_with = "domain::money::exact")]
    amount: Decimal,
    currency: String,
    #[serde(default)]
    reference: Option<String>,
    /// What cannot be read says nothing, and takes nothing from the charge.
    #[serde(default)]
    decline: Option<Value>,
}

impl From<WireCharge> for Charge {
    fn from(wire: WireCharge) -> Self {
        let status = match wire.status.as_str() {
            "pending" => ChargeStatus::Pending,
            "succeeded" => ChargeStatus::Succeeded,
            "failed" => ChargeStatus::Failed,
            "voided" => ChargeStatus::Voided,
            "refunded" => ChargeStatus::Refunded,
            _ => ChargeStatus::Other,
        };
        let WireCharge { id, key, amount, currency, reference, decline, .. } = wire;
        let decline = decline.and_then(|it| WireRefusal::deserialize(it).ok()?.read()).map(declined);
        Self { id, key, status, amount, currency, reference, decline }
    }
}

/// A row of the journal, as it is written on the wire.
#[derive(Deserialize)]
struct WireJournalRow {
    seq: i64,
    at: DateTime<Utc>,
    kind: String,
    key: Option<String>,
    charge_id: Option<String>,
    amount: Option<String>,
    currency: Option<String>,
    reference: Option<String>,
    act_key: Option<String>,
    act_id: Option<String>,
}

impl From<WireJournalRow> for JournalRow {
    fn from(wire: WireJournalRow) -> Self {
        let WireJournalRow { seq, at, kind, key, charge_id, amount, currency, reference, .. } = wire;
        let WireJournalRow { act_key, act_id, .. } = wire;
        Self { seq, at, kind, key, charge_id, amount, currency, reference, act_key, act_id }
    }
}

/// A whole answer in JSON, apart from what it means.
struct Told<'a> {
    answer: &'a Answer,
    /// Its refusal, where it is one.
    refusal: Option<Refusal>,
}

impl<'a> Told<'a> {
    /// The answer, or how there was none of the gateway's.
    fn of(exchange: &'a Exchange) -> Result<Self, Failed> {
        let answer = exchange.answer()?;
        if !answer.is_json {
            let why = format!("answered {}, and not in JSON", answer.status);
            return Err(Failed::new(FailureKind::NotTheGateway, why));
        }
        let refusal = (answer.status >= 400).then(|| refusal(&answer.body)).flatten();
        Ok(Self { answer, refusal })
    }

    fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.answer.body).ok()
    }

    /// The failure that this answer is, where it is none of those that were hoped for.
    fn failed(&self) -> Failed {
        let kind = match (self.answer.status, &self.refusal) {
            (401 | 403, Some(_)) => FailureKind::Unauthorized,
            (429, Some(_)) => FailureKind::RateLimited,
            (503, Some(refusal)) if refusal.code == "not_executed" => FailureKind::NotExecuted,
            (500..=599, Some(_)) => FailureKind::ServerError,
            (400 | 402 | 404 | 409 | 422, Some(_)) => FailureKind::Unexpected,
            (_, Some(_) | None) => FailureKind::NotTheGateway,
        };
        let status = self.answer.status;
        Failed { status: Some(status), ..Failed::new(kind, format!("unexpected answer {status}")) }
    }

    /// Whether the gateway says, in its own words, that it does not do this at all.
    const fn is_unsupported(&self) -> bool {
        matches!((self.answer.status, &self.refusal), (405 | 501, Some(_)))
    }
}

/// A refusal, as it is written on the wire.
#[derive(Deserialize)]
struct WireRefusal {
    code: String,
    #[serde(default)]
    message: String,
}

impl WireRefusal {
    fn read(self) -> Option<Refusal> {
        Refusal::new(self.code, &self.message)
    }
}

fn refusal(body: &[u8]) -> Option<Refusal> {
    serde_json::from_slice::<WireRefusal>(body).ok()?.read()
}

/// A decline in the words that clients know.
fn declined(refusal: Refusal) -> Refusal {
    let is_bare = matches!(refusal.code.as_str(), "declined" | "generic_decline");
    if is_bare { Refusal { code: CARD_DECLINED.to_owned(), ..refusal } } else { refusal }
}

mod operations;
#[cfg(test)]
mod tests;

pub use operations::{looked_up as refund_looked_up, refunded};
