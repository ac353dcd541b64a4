//! How operators are shown things as JSON: the same from the API and from the command line.

use domain::ids::{MerchantId, PaymentId};
use serde_json::{Value, json};

use crate::operations::breaks::Break;
use crate::operations::dead_letter::Letter;
use crate::operations::operator::{Correction, Decision};
use crate::operations::recovery::{Recovered, Report};
use crate::payment::reviews::Review;
use crate::payment::risk::Rule;
use crate::platform::time::{rfc3339, with_instants};

/// A break as JSON.
#[must_use]
pub fn a_break(it: &Break) -> Value {
    json!({
        "id": it.id,
        "object": "break",
        "kind": it.kind,
        "payment_id": it.payment_id.map(PaymentId::from),
        "subject": it.subject,
        "detail": with_instants(it.detail.clone()),
        "payment_is_held": it.is_held,
        "opened_at": rfc3339(it.opened_at),
        "closed_at": it.closed_at.map(rfc3339),
        "closed_by": it.closed_by,
        "closed_reason": it.closed_reason,
    })
}

/// A recovery report as JSON, without the payments that it lists.
#[must_use]
pub fn recovery_report(it: &Report) -> Value {
    json!({
        "id": it.id,
        "object": "recovery_report",
        "worker": it.worker,
        "found_at": rfc3339(it.found_at),
        "payments": it.payments,
        "more": it.more,
    })
}

/// A recovery report as JSON, with each payment and what became of it by now.
#[must_use]
pub fn recovery(report: &Report, recovered: &[Recovered]) -> Value {
    let mut value = recovery_report(report);
    value["recovered"] = recovered.iter().map(recovered_payment).collect();
    value
}

fn recovered_payment(it: &Recovered) -> Value {
    json!({
        "payment_id": PaymentId::from(it.payment_id),
        "claim_token": it.claim_token,
        "claimed_at": rfc3339(it.claimed_at),
        "lost_worker": it.lost_worker,
        "was_doing": it.was_doing,
        "became": it.became,
        "came_back": it.came_back,
        "charge_id": it.charge_id,
        "failure_code": it.failure_code,
        "held_reason": it.held_reason,
        "events": it.events,
    })
}

/// A decision about a held payment as JSON, with its result.
#[must_use]
pub fn decision(it: &Decision) -> Value {
    json!({
        "id": it.id,
        "object": "decision",
        "payment_id": PaymentId::from(it.payment_id),
        "version": it.version,
        "decision": it.wish,
        "unproven": it.is_unproven,
        "charge_id": it.charge_id,
        "by": it.asked_by,
        "reason": it.reason,
        "asked_at": rfc3339(it.asked_at),
        "ended_at": it.ended_at.map(rfc3339),
        "outcome": it.outcome,
        "refusal": it.refusal,
        "seen": it.seen,
        "look": it.look,
        "permits": it.permits,
    })
}

/// A correction of a payment that is over as JSON.
#[must_use]
pub fn correction(it: &Correction) -> Value {
    json!({
        "id": it.id,
        "object": "correction",
        "payment_id": PaymentId::from(it.payment_id),
        "kind": it.kind,
        "amount": it.amount.to_string(),
        "currency": it.currency,
        "charge_id": it.charge_id,
        "reason": it.reason,
        "state": it.state(),
        "proposed_by": it.proposed_by,
        "proposed_at": rfc3339(it.proposed_at),
        "approved_by": it.approved_by,
        "approved_at": it.approved_at.map(rfc3339),
        "ended_at": it.ended_at.map(rfc3339),
        "outcome": it.outcome,
        "refusal": it.refusal,
        "seen": it.seen,
        "look": it.look,
        "delta": it.delta.map(|delta| delta.to_string()),
    })
}

/// A dead letter as JSON.
#[must_use]
pub fn dead_letter(it: &Letter) -> Value {
    json!({
        "id": it.id,
        "object": "dead_letter",
        "class": it.class,
        "queue": it.queue,
        "job_id": it.job_id,
        "job_key": it.job_key,
        "job": it.body(),
        "payment_id": it.payment_id.map(PaymentId::from),
        "error": it.error,
        "detail": with_instants(it.detail.clone()),
        "parked_at": rfc3339(it.parked_at),
        "closed_at": it.closed_at.map(rfc3339),
        "closed_as": it.closed_as,
        "closed_by": it.closed_by,
        "closed_reason": it.closed_reason,
    })
}

/// A review as JSON.
#[must_use]
pub fn review(it: &Review) -> Value {
    json!({
        "object": "review",
        "payment_id": PaymentId::from(it.payment_id),
        "merchant_id": MerchantId::from(it.merchant_id),
        "customer_id": it.customer_id,
        "amount": it.amount,
        "currency": it.currency,
        "payment_method": it.payment_method,
        "payment_status": it.payment_status,
        "score": it.risk["score"],
        "rules": it.risk["rules"],
        "status": it.status,
        "opened_at": rfc3339(it.opened_at),
        "expires_at": rfc3339(it.expires_at),
        "decided_at": it.decided_at.map(rfc3339),
        "decided_by": it.decided_by,
        "note": it.note,
    })
}

/// A rule of risk as JSON.
#[must_use]
pub fn rule(it: &Rule) -> Value {
    json!({
        "id": it.id,
        "object": "risk_rule",
        "merchant_id": it.merchant_id.map(MerchantId::from),
        "position": it.position,
        "kind": it.kind,
        "currency": it.currency,
        "amount": it.amount,
        "count": it.count,
        "window_s": it.window_s,
        "value": it.value,
        "action": it.action,
        "score": it.score,
        "review_s": it.review_s,
        "reason": it.reason,
        "added_at": rfc3339(it.added_at),
        "added_by": it.added_by,
        "removed_at": it.removed_at.map(rfc3339),
        "removed_by": it.removed_by,
    })
}
