//! How payments, their events and reconciliation runs look to clients.

use domain::idempotency;
use domain::ids::PaymentId;
use domain::money::Money;
use domain::request::Accepted;
use serde::Serialize;
use serde_json::{Value, json};
use shared::operations::reconciliation::Stored;
use shared::payment::{Event, Payment};
use shared::platform::time::{rfc3339, with_instants};

use crate::problem::Problem;

pub(crate) mod account;
pub(crate) mod webhook;

/// A payment; its fields stand in the order in which they are read.
#[derive(Serialize)]
pub(crate) struct PaymentView<'a> {
    id: PaymentId,
    object: &'static str,
    status: &'a str,
    amount: String,
    currency: &'a str,
    customer_id: &'a str,
    payment_method: &'a str,
    description: Option<&'a str>,
    metadata: &'a Value,
    attempt_count: i32,
    due_at: Option<String>,
    held_reason: Option<&'a str>,
    failure: Option<FailureView<'a>>,
    gateway: Option<GatewayView<'a>>,
    created_at: String,
    updated_at: String,
    terminal_at: Option<String>,
    version: i32,
}

#[derive(Serialize)]
struct FailureView<'a> {
    code: &'a str,
    message: Option<&'a str>,
    retryable: Option<bool>,
}

#[derive(Serialize)]
struct GatewayView<'a> {
    transaction_id: &'a str,
}

/// One fact of a payment's history.
#[derive(Serialize)]
pub(crate) struct EventView<'a> {
    version: i32,
    #[serde(rename = "type")]
    event_type: &'a str,
    from: Option<&'a str>,
    to: &'a str,
    reason: Option<&'a str>,
    evidence: Value,
    correlation_id: &'a str,
    at: String,
}

/// A page of a list.
#[derive(Serialize)]
pub(crate) struct ListView<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// The first answer to a request, and every replay of it: how the payment stood when it was accepted. This is
/// renderer 1. A stored key names the renderer of its first answer, so this one stays as it is for ever.
fn accepted(payment: &Accepted) -> PaymentView<'_> {
    PaymentView {
        id: payment.id.into(),
        object: "payment",
        status: "pending",
        // The amount as it was recorded, with the digits that the currency had then.
        amount: payment.amount.to_string(),
        currency: &payment.currency,
        customer_id: &payment.customer_id,
        payment_method: &payment.payment_method,
        description: payment.description.as_deref(),
        metadata: &payment.metadata,
        attempt_count: 0,
        due_at: Some(rfc3339(payment.created_at)),
        held_reason: None,
        failure: None,
        gateway: None,
        created_at: rfc3339(payment.created_at),
        updated_at: rfc3339(payment.created_at),
        terminal_at: None,
        version: 1,
    }
}

/// The first answer to the request that took a key, by the renderer of that number.
pub(crate) fn first_answer(payment: &Accepted, renderer: i16) -> Result<PaymentView<'_>, Problem> {
    if renderer != idempotency::RENDERER {
        tracing::error!(renderer, "no such renderer: this program is older than the key");
        return Err(Problem::Internal);
    }
    Ok(accepted(payment))
}

/// The number of the form in which payments are shown as they stand. A changed form gets a new number, so
/// that nobody who knows the old one is told that nothing has changed.
pub(crate) const FORM: u32 = 1;

/// A payment as it stands now.
pub(crate) fn payment(payment: &Payment) -> PaymentView<'_> {
    PaymentView {
        id: payment.id.into(),
        object: "payment",
        status: &payment.status,
        amount: amount(&payment.amount, &payment.currency),
        currency: &payment.currency,
        customer_id: &payment.customer_id,
        payment_method: &payment.payment_method,
        description: payment.description.as_deref(),
        metadata: &payment.metadata,
        attempt_count: payment.attempt_count,
        due_at: payment.due_at.map(rfc3339),
        held_reason: payment.held_reason.as_deref(),
        failure: payment.failure_code.as_deref().map(|code| FailureView {
            code,
            message: payment.failure_message.as_deref(),
            retryable: payment.failure_retryable,
        }),
        gateway: payment
            .gateway_transaction_id
            .as_deref()
            .map(|transaction_id| GatewayView { transaction_id }),
        created_at: rfc3339(payment.created_at),
        updated_at: rfc3339(payment.updated_at),
        terminal_at: payment.terminal_at.map(rfc3339),
        version: payment.version,
    }
}

/// One fact of a payment's history.
pub(crate) fn event(event: &Event) -> EventView<'_> {
    let mut evidence = with_instants(event.evidence.clone());
    if let Some(facts) = evidence.as_object_mut() {
        // Merchants do not see which of our machines or people it was, or what our people noted.
        for ours in ["worker", "by", "reason", "decision", "seen", "look", "unproven"] {
            facts.remove(ours);
        }
    }
    EventView {
        version: event.version,
        event_type: &event.event_type,
        from: event.from_status.as_deref(),
        to: &event.to_status,
        reason: event.reason.as_deref(),
        evidence,
        correlation_id: &event.correlation_id,
        at: rfc3339(event.at),
    }
}

/// A page of a list, and the cursor of the next one; none if this is the last one.
pub(crate) fn list<T>(data: Vec<T>, next_cursor: Option<String>) -> ListView<T> {
    ListView { object: "list", data, has_more: next_cursor.is_some(), next_cursor }
}

/// A reconciliation run and its findings.
pub(crate) fn run(run: &Stored) -> Value {
    json!({
        "id": run.id,
        "object": "reconciliation_run",
        "trigger": run.trigger,
        "started_at": rfc3339(run.started_at),
        "finished_at": run.finished_at.map(rfc3339),
        "findings": run.findings,
    })
}

/// The amount with exactly the currency's digits. Stored amounts were checked; should one ever not be money,
/// it is shown as it is.
pub(crate) fn amount(amount: &str, currency: &str) -> String {
    let money = currency.parse().ok().and_then(|currency| Money::new(amount.parse().ok()?, currency).ok());
    money.map_or_else(|| amount.to_owned(), |money| money.to_string())
}
