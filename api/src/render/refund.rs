//! How refunds look to clients.

use domain::ids::{DisputeId, OperationId, PaymentId, ReturnId};
use serde::Serialize;
use serde_json::Value;
use shared::payment::refunds::Refund;
use shared::platform::time::rfc3339;

use super::amount;

/// A refund; its fields stand in the order in which they are read.
#[derive(Serialize)]
pub(crate) struct RefundView<'a> {
    id: OperationId,
    object: &'static str,
    payment_id: PaymentId,
    status: &'a str,
    amount: String,
    currency: &'a str,
    reason: Option<&'a str>,
    metadata: &'a Value,
    origin: &'a str,
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
}

#[derive(Serialize)]
struct GatewayView<'a> {
    transaction_id: &'a str,
}

/// The first answer to a request, and every replay of it: how the refund stood when it was taken up. This is
/// renderer 1.
pub(crate) fn created(refund: &Refund) -> RefundView<'_> {
    RefundView {
        status: "pending",
        held_reason: None,
        failure: None,
        gateway: None,
        updated_at: rfc3339(refund.created_at),
        terminal_at: None,
        version: 1,
        ..self::refund(refund)
    }
}

/// A refund as it stands now.
pub(crate) fn refund(refund: &Refund) -> RefundView<'_> {
    RefundView {
        id: refund.id.into(),
        object: "refund",
        payment_id: refund.payment_id.into(),
        status: &refund.status,
        amount: amount(&refund.amount, &refund.currency),
        currency: &refund.currency,
        reason: refund.reason.as_deref(),
        metadata: &refund.metadata,
        origin: &refund.origin,
        held_reason: refund.held_reason.as_deref(),
        failure: refund
            .failure_code
            .as_deref()
            .map(|code| FailureView { code, message: refund.failure_message.as_deref() }),
        gateway: refund.gateway_transaction_id.as_deref().map(|id| GatewayView { transaction_id: id }),
        created_at: rfc3339(refund.created_at),
        updated_at: rfc3339(refund.updated_at),
        terminal_at: refund.terminal_at.map(rfc3339),
        version: refund.version,
    }
}

/// What the gateway did without us: a late return or a dispute.
#[derive(Serialize)]
pub(crate) struct ActView<'a, I> {
    id: I,
    object: &'static str,
    payment_id: PaymentId,
    status: &'a str,
    amount: String,
    currency: &'a str,
    gateway: Option<GatewayView<'a>>,
    created_at: String,
    updated_at: String,
    terminal_at: Option<String>,
    version: i32,
}

fn act<'a, I: From<uuid::Uuid>>(it: &'a Refund, object: &'static str) -> ActView<'a, I> {
    ActView {
        id: it.id.into(),
        object,
        payment_id: it.payment_id.into(),
        status: &it.status,
        amount: amount(&it.amount, &it.currency),
        currency: &it.currency,
        gateway: it.gateway_transaction_id.as_deref().map(|id| GatewayView { transaction_id: id }),
        created_at: rfc3339(it.created_at),
        updated_at: rfc3339(it.updated_at),
        terminal_at: it.terminal_at.map(rfc3339),
        version: it.version,
    }
}

/// A late return.
pub(crate) fn returned(it: &Refund) -> ActView<'_, ReturnId> {
    ActView { status: "returned", ..act(it, "return") }
}

/// A dispute as it stands now.
pub(crate) fn dispute(it: &Refund) -> ActView<'_, DisputeId> {
    act(it, "dispute")
}
