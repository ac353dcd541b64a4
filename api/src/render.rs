//! How payments look to clients.

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shared::ids::PaymentId;
use shared::money::Money;
use shared::payment::{Accepted, Event, Payment};

/// The first answer to a request, and every replay of it: how the payment stood when it was accepted. Renderer 1; a
/// stored key names the renderer of its first answer, so this one stays as it is for ever.
pub(crate) fn accepted(payment: &Accepted) -> Value {
    json!({
        "id": PaymentId::from(payment.id),
        "object": "payment",
        "status": "pending",
        "amount": amount(payment.amount, &payment.currency),
        "currency": payment.currency,
        "customer_id": payment.customer_id,
        "payment_method": payment.payment_method,
        "description": payment.description,
        "metadata": payment.metadata,
        "attempt_count": 0,
        "due_at": time(payment.created_at),
        "held_reason": null,
        "failure": null,
        "gateway": null,
        "created_at": time(payment.created_at),
        "updated_at": time(payment.created_at),
        "terminal_at": null,
        "version": 1,
    })
}

/// A payment as it stands.
pub(crate) fn payment(payment: &Payment) -> Value {
    json!({
        "id": PaymentId::from(payment.id),
        "object": "payment",
        "status": payment.status,
        "amount": amount(payment.amount, &payment.currency),
        "currency": payment.currency,
        "customer_id": payment.customer_id,
        "payment_method": payment.payment_method,
        "description": payment.description,
        "metadata": payment.metadata,
        "attempt_count": payment.attempt_count,
        "due_at": payment.due_at.map(time),
        "held_reason": payment.held_reason,
        "failure": payment.failure_code.as_ref().map(|code| json!({
            "code": code,
            "message": payment.failure_message,
            "retryable": payment.failure_retryable,
        })),
        "gateway": payment.gateway_transaction_id.as_ref().map(|id| json!({ "transaction_id": id })),
        "created_at": time(payment.created_at),
        "updated_at": time(payment.updated_at),
        "terminal_at": payment.terminal_at.map(time),
        "version": payment.version,
    })
}

/// One fact of a payment's history.
pub(crate) fn event(event: &Event) -> Value {
    let mut evidence = event.evidence.clone();
    if let Some(facts) = evidence.as_object_mut() {
        // Which of our machines it was is no business of a merchant's.
        facts.remove("worker");
    }
    json!({
        "version": event.version,
        "type": event.event_type,
        "from": event.from_status,
        "to": event.to_status,
        "reason": event.reason,
        "evidence": evidence,
        "correlation_id": event.correlation_id,
        "at": time(event.at),
    })
}

/// A page of a list.
pub(crate) fn list(data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "data": data, "has_more": has_more })
}

/// RFC 3339 in UTC, to the microsecond, as Postgres keeps it.
fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Exactly the currency's digits. What is stored was checked; should it ever not be money, it is shown as it is.
fn amount(amount: Decimal, currency: &str) -> String {
    let money = currency.parse().and_then(|currency| Money::new(amount, currency));
    money.map_or_else(|_| amount.to_string(), |money| money.to_string())
}
