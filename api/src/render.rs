//! How payments, their events and reconciliation runs look to clients.

use domain::idempotency;
use domain::ids::PaymentId;
use domain::money::{Currency, Money};
use domain::request::{Accepted, First};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Value, json};
use shared::operations::reconciliation::Stored;
use shared::payment::{Event, Payment};
use shared::platform::time::{rfc3339, with_instants};

use crate::problem::Problem;

pub(crate) mod account;
pub(crate) mod refund;
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
    /// What was given back. First answers are older than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount_refunded: Option<String>,
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

/// The status that the first answer tells.
pub(crate) const fn status_at_first(first: &First) -> &'static str {
    match first {
        First::Pending => "pending",
        First::InReview => "in_review",
        First::Denied | First::Short(_) => "failed",
        First::Paid => "succeeded",
    }
}

/// The first answer to a request, and every replay of it: how the payment stood when it was accepted. These
/// are renderers 1 and 2, which differ in what an acceptance can come to. A stored key names the renderer of
/// its first answer, so this one stays as it is for ever.
fn accepted(payment: &Accepted) -> PaymentView<'_> {
    let is_pending = payment.first == First::Pending;
    let is_over = matches!(payment.first, First::Denied | First::Short(_) | First::Paid);
    let failure = |code, message| Some(FailureView { code, message: Some(message), retryable: Some(false) });
    PaymentView {
        id: payment.id.into(),
        object: "payment",
        status: status_at_first(&payment.first),
        // The amount as it was recorded, with the digits that the currency had then.
        amount: payment.amount.to_string(),
        currency: &payment.currency,
        customer_id: &payment.customer_id,
        payment_method: &payment.payment_method,
        description: payment.description.as_deref(),
        metadata: &payment.metadata,
        attempt_count: 0,
        due_at: is_pending.then(|| rfc3339(payment.created_at)),
        held_reason: None,
        failure: match payment.first {
            First::Denied => failure("risk_denied", "refused by the rules of risk"),
            First::Short(_) => failure("insufficient_funds", "the account has less available"),
            First::Pending | First::InReview | First::Paid => None,
        },
        gateway: None,
        created_at: rfc3339(payment.created_at),
        updated_at: rfc3339(payment.created_at),
        terminal_at: is_over.then(|| rfc3339(payment.created_at)),
        version: if is_pending { 1 } else { 2 },
        amount_refunded: None,
    }
}

/// The first answer to the request that took a key, by the renderer of that number.
pub(crate) fn first_answer(payment: &Accepted, renderer: i16) -> Result<PaymentView<'_>, Problem> {
    if renderer != idempotency::RENDERER && renderer != idempotency::RENDERER_OF_BALANCES {
        tracing::error!(renderer, "no such renderer: this program is older than the key");
        return Err(Problem::Internal);
    }
    Ok(accepted(payment))
}

/// The number of the form in which payments are shown as they stand. A changed form gets a new number, so
/// that nobody who knows the old one is told that nothing has changed.
pub(crate) const FORM: u32 = 2;

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
        amount_refunded: Some(part(payment.amount_refunded.as_deref().unwrap_or("0"), &payment.currency)),
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

/// A part of an amount, which may be nothing, with exactly the currency's digits.
pub(crate) fn part(amount: &str, currency: &str) -> String {
    let read = || Some((amount.parse::<Decimal>().ok()?, currency.parse::<Currency>().ok()?));
    read().map_or_else(
        || amount.to_owned(),
        |(mut part, currency)| {
            part.rescale(currency.digits());
            part.to_string()
        },
    )
}

/// The amount with exactly the currency's digits. Stored amounts were checked; should one ever not be money,
/// it is shown as it is.
pub(crate) fn amount(amount: &str, currency: &str) -> String {
    let money = currency.parse().ok().and_then(|currency| Money::new(amount.parse().ok()?, currency).ok());
    money.map_or_else(|| amount.to_owned(), |money| money.to_string())
}
