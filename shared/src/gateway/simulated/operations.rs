//! Refunds in the simulated gateway's language.

use domain::operation::{Effect, EffectStatus, ExpectedEffect, OperationOutcome};
use domain::outcome::{Failed, FailureKind};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::wire::{Call, Exchange};
use super::{Told, WireRefusal};

/// To give back a part or all of a charge.
pub(super) fn refund(order: &ExpectedEffect) -> Call {
    let body = json!({
        "charge": order.charge_id,
        "amount": order.money.to_string(),
        "currency": order.money.currency().code(),
        "reference": order.id,
    });
    Call::post("/refunds", order.key.clone(), body)
}

/// To ask which refunds were made under a key.
pub(super) fn look_up(key: &str) -> Call {
    Call::get(format!("/refunds?key={key}"))
}

/// Reads the answer to `POST /refunds`.
#[must_use]
pub fn refunded(exchange: &Exchange, expected: &ExpectedEffect) -> OperationOutcome {
    let told = match Told::of(exchange) {
        Ok(told) => told,
        Err(failed) => return OperationOutcome::NoAnswer(failed),
    };
    if told.is_unsupported() {
        return OperationOutcome::Unsupported;
    }
    match (told.answer.status, &told.refusal) {
        (201 | 202, _) => match told.json::<WireEffect>() {
            Some(effect) => OperationOutcome::of_one(effect.into(), expected),
            None => OperationOutcome::NoAnswer(told.failed()),
        },
        (402, Some(refusal)) => OperationOutcome::Refused(refusal.clone()),
        (400 | 409 | 422, Some(refusal))
            if matches!(refusal.code.as_str(), "key_reused" | "idempotency_error") =>
        {
            OperationOutcome::KeyReused(refusal.clone())
        }
        (400 | 422, Some(refusal)) => OperationOutcome::Invalid(refusal.clone()),
        (409, Some(refusal)) if refusal.code == "key_in_use" => OperationOutcome::StillWorking,
        (429, Some(_)) => OperationOutcome::RateLimited(told.answer.retry_after),
        _ => OperationOutcome::NoAnswer(told.failed()),
    }
}

/// Reads the answer to `GET /refunds?key=…`.
#[must_use]
pub fn looked_up(exchange: &Exchange, expected: &ExpectedEffect) -> OperationOutcome {
    #[derive(Deserialize)]
    struct WireListing {
        data: Vec<WireEffect>,
        /// Absent or null is no.
        has_more: Option<bool>,
    }
    let told = match Told::of(exchange) {
        Ok(told) => told,
        Err(failed) => return OperationOutcome::NoAnswer(failed),
    };
    if told.is_unsupported() {
        return OperationOutcome::Unsupported;
    }
    match (told.answer.status == 200).then(|| told.json::<WireListing>()).flatten() {
        Some(WireListing { data, has_more }) => {
            let effects = data.into_iter().map(Effect::from).collect();
            OperationOutcome::of_all(effects, has_more.unwrap_or(false), expected)
        }
        None if told.answer.status == 200 => {
            let why = "answered 200, but not as the contract says";
            OperationOutcome::NoAnswer(Failed::new(FailureKind::NotTheGateway, why))
        }
        None => OperationOutcome::NoAnswer(told.failed()),
    }
}

/// A refund, as it is written on the wire.
#[derive(Deserialize)]
struct WireEffect {
    id: String,
    key: String,
    charge: String,
    status: String,
    #[serde(deserialize_with = "domain::money::exact")]
    amount: Decimal,
    currency: String,
    /// What cannot be read says nothing, and takes nothing from the refund.
    #[serde(default)]
    refusal: Option<Value>,
}

impl From<WireEffect> for Effect {
    fn from(wire: WireEffect) -> Self {
        let status = match wire.status.as_str() {
            "pending" => EffectStatus::Pending,
            "succeeded" => EffectStatus::Succeeded,
            "failed" => EffectStatus::Failed,
            _ => EffectStatus::Other,
        };
        let WireEffect { id, key, charge, amount, currency, refusal, .. } = wire;
        let refusal = refusal.and_then(|it| WireRefusal::deserialize(it).ok()?.read());
        Self { id, key, charge_id: charge, amount, currency, status, refusal }
    }
}
