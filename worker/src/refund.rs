//! Refunds: one look at each that is due, in the time of the sweep. Claim it, ask the gateway once, settle
//! what it said.
//!
//! Invariant: no gateway call is made without a committed claim, which stands in the refund's own row here,
//! and none within a transaction. A refund that is cut off is found again when the claim's lease has run out.
//! It is looked up then, and sent again only under its key.

use std::time::{Duration, Instant};

use domain::decide::Situation;
use domain::operation::{self, OperationStep};
use domain::outcome::{FailureKind, Health};
use domain::status::HeldReason;
use serde_json::{Value, json};
use shared::database;
use shared::gateway::{SendBy, Told};
use shared::payment::transition::{self, ClaimedRefund, RefundSettlement, SettledRefund};
use tracing::Instrument as _;

use crate::breaker::Pass;
use crate::{Context, attempt};

/// How often settling is tried before the refund is left to its lease.
const SETTLE_TRIES: u32 = 5;

/// The number of leases that run out in a row after which a refund is held: each worker that had it was lost.
const TAKEOVERS_MAX: u32 = 6;

/// Asks about the refunds that are due, as far as there are gateway calls to spare. It takes a pass only
/// where one is due, as the pass may be the only one. A failure here does not keep due payments waiting.
pub(crate) async fn round(context: &Context) {
    if let Err(why) = ask_due(context).await {
        tracing::warn!(%why, "could not look for refunds that are due");
    }
}

async fn ask_due(context: &Context) -> sqlx::Result<()> {
    while let Ok(permit) = context.permits.clone().try_acquire_owned() {
        let Some(share) = context.shares.take_look() else { return Ok(()) };
        if !transition::refund_is_due(&context.pool, context.gateway_name()).await? {
            return Ok(());
        }
        if !context.limit.admits() {
            return Ok(());
        }
        let Some(pass) = context.breaker.admit() else { return Ok(()) };
        let (asked_at, standing) = (Instant::now(), database::standing(&context.pool));
        let lease = context.claimant.lease;
        let claimed = transition::claim_refund(
            &context.pool,
            context.gateway_name(),
            (lease.lease, lease.send_window),
            &context.claimant.worker,
        );
        let Some(claim) = claimed.await? else { return Ok(()) };
        // An error span, so that no log filter takes these ids from the lines within.
        let span = tracing::error_span!("refund", payment_id = %claim.payment_id, refund_id = %claim.id,
            claim = %claim.token, correlation_id = claim.correlation_id);
        let own = context.clone();
        let carried_out = async move {
            let send_by = SendBy::new(asked_at + own.claimant.lease.send_window, standing);
            carry_out(&own, claim, (asked_at, send_by), pass).await;
            drop((permit, share));
        };
        context.attempts.spawn(carried_out.instrument(span));
    }
    Ok(())
}

/// Uses a claim: one exchange with the gateway, one settlement.
async fn carry_out(context: &Context, claim: ClaimedRefund, at: (Instant, SendBy), pass: Pass) {
    let (step, evidence) = ask(context, &claim, at, pass).await;
    let settlement = RefundSettlement { id: claim.id, token: claim.token, step, evidence };
    for attempt in 1..=SETTLE_TRIES {
        match transition::settle_refund(&context.pool, &settlement).await {
            Ok(SettledRefund::Moved) => return say(&settlement),
            Ok(SettledRefund::Repeated) => return,
            Ok(SettledRefund::Late) => {
                return tracing::warn!(
                    event = "late_evidence",
                    "too late to settle a refund; kept as late evidence"
                );
            }
            Err(why) => {
                tracing::warn!(%why, attempt, evidence = %settlement.evidence, "could not settle a refund");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
}

/// Asks the gateway what this claim is for, and decides what follows from its answer.
async fn ask(
    context: &Context,
    claim: &ClaimedRefund,
    (asked_at, send_by): (Instant, SendBy),
    pass: Pass,
) -> (OperationStep, Value) {
    let policy = &context.policy;
    let nothing = || json!({ "op": "none", "takeovers": claim.takeovers });
    let Some(expected) = &claim.expected else {
        return (OperationStep::Hold(HeldReason::Contradiction), nothing());
    };
    if claim.takeovers >= TAKEOVERS_MAX {
        return (OperationStep::Hold(HeldReason::Poison), nothing());
    }
    let now = Situation {
        doubt_age: context.outages().without(claim.situation.doubt_age, asked_at),
        is_probe: pass.is_probe()
            || (claim.situation.retries_spent >= policy.max_retries && pass.is_failing()),
        ..claim.situation
    };
    let sends = claim.may_send;
    let against = if sends { operation::before_send(&now, policy) } else { operation::before_look(policy) };
    if let Some(step) = against {
        return (step, nothing());
    }
    let correlation_id = claim.correlation_id.as_str();
    let Told { outcome, failure, mut evidence, .. } = if sends {
        context.gateway.refund(expected, correlation_id, send_by).await
    } else {
        context.gateway.look_up_refund(expected, correlation_id, send_by).await
    };
    attempt::heard_look(context, pass, failure);
    if let Some(kind) = failure {
        evidence["kind"] = json!(kind.as_str());
    }
    let step = match sends {
        true => operation::after_send(&now, policy, outcome),
        false => operation::after_look(&now, policy, outcome),
    };
    (unless_gateway_is_away(context, step, failure, asked_at).await, evidence)
}

/// Keeps a doubt from ending by a silence that is not the refund's own: where nothing came back, the door
/// must answer.
async fn unless_gateway_is_away(
    context: &Context,
    step: OperationStep,
    failure: Option<FailureKind>,
    asked_at: Instant,
) -> OperationStep {
    let nothing_came = failure.is_some_and(|kind| match kind.health() {
        Health::Silent | Health::Shut | Health::LockedOut | Health::Unknown => true,
        Health::Answers | Health::Failing => false,
    });
    if step != OperationStep::Hold(HeldReason::Unverifiable) || !nothing_came {
        return step;
    }
    if attempt::door_answers(context, asked_at).await { step } else { operation::wait_for(&context.policy) }
}

fn say(settlement: &RefundSettlement) {
    let RefundSettlement { step, evidence, .. } = settlement;
    let event = step.event().as_str();
    match step {
        OperationStep::Succeed(effect) => {
            tracing::info!(event, transaction_id = effect.id, "refunded");
        }
        OperationStep::Fail(refusal) => {
            tracing::warn!(event, reason = refusal.code, "a refund failed");
        }
        OperationStep::Retry { reason, wait, .. } => {
            tracing::info!(event, %reason, ?wait, "not refunded; trying again");
        }
        OperationStep::Doubt { reason, wait, .. } => {
            tracing::info!(event, %reason, ?wait, "not known whether refunded; looking again");
        }
        OperationStep::Hold(reason) => {
            tracing::error!(event, %reason, %evidence, "a refund is held: a person must act");
        }
    }
}
