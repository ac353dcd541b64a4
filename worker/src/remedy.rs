//! The remedy: a charge that came to light for a payment that had ended without one is voided, in the time of the sweep.
//!
//! Invariant: as everywhere, no gateway call without a committed claim, which stands in the break here, and none within
//! a transaction. Whatever dies in between is found again when the claim's lease has run out; the void has one key, so
//! that asking twice voids once. The break stays open for a person.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::outcome::VoidOutcome;
use shared::payment::transition::{self, Purpose, Remedy};
use shared::retry::{self, Voiding};
use tracing::Instrument as _;

use crate::breaker::Pass;
use crate::{Context, attempt};

/// How often recording is tried before the break is left to its lease.
const RECORD_TRIES: u32 = 5;

/// Voids what is due, as far as there are gateway calls to spare. No pass is taken for nothing: it may be the only one.
pub(crate) async fn round(context: &Context) -> sqlx::Result<()> {
    while let Ok(permit) = context.permits.clone().try_acquire_owned() {
        let Some(share) = context.shares.take_look() else { return Ok(()) };
        if !transition::remedy_is_due(&context.pool).await? {
            return Ok(());
        }
        if !context.limit.admits() {
            return Ok(());
        }
        let Some(pass) = context.breaker.admit() else { return Ok(()) };
        let asked_at = Instant::now();
        let claimed = transition::claim_remedy(&context.pool, context.lease.lease).await?;
        let Some(remedy) = claimed else { return Ok(()) };
        // Of the highest level, so that no filter takes the ids from what is logged within.
        let span = tracing::error_span!("remedy", payment_id = %remedy.payment_id, break_id = remedy.break_id,
            claim = %remedy.token, correlation_id = remedy.correlation_id);
        let own = context.clone();
        let carried_out = async move {
            carry_out(&own, &remedy, asked_at, pass).await;
            drop((permit, share));
        };
        context.attempts.spawn(carried_out.instrument(span));
    }
    Ok(())
}

/// Uses a claim: one void, one record of it.
async fn carry_out(context: &Context, remedy: &Remedy, asked_at: Instant, pass: Pass) {
    let (outcome, evidence) = void(context, remedy, asked_at + context.lease.send_window, pass).await;
    let age = context.outages().without(remedy.age, asked_at);
    let voiding = Voiding::after(age, remedy.count, &context.policy, &outcome);
    for attempt in 1..=RECORD_TRIES {
        match transition::record_remedy(&context.pool, remedy, voiding, &outcome, &evidence).await {
            Ok(true) => return say(voiding, &outcome, &evidence),
            Ok(false) => {
                return tracing::warn!(event = "late_evidence", %evidence, "too late to record what a void came to");
            }
            Err(why) => {
                tracing::warn!(%why, attempt, %evidence, "could not record what a void came to");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
}

async fn void(context: &Context, remedy: &Remedy, send_by: Instant, pass: Pass) -> (VoidOutcome, Value) {
    if retry::before_void(&context.policy).is_some() {
        return (VoidOutcome::Unsupported, json!({ "op": "none" }));
    }
    let told = context.gateway.void(remedy.payment_id, &remedy.correlation_id, send_by).await;
    let outcome = VoidOutcome::of(&told.exchange, remedy.payment_id);
    let heard = (Purpose::Void, outcome.as_str());
    attempt::heard_look(context, pass, heard, outcome.failure(), told.duration);
    (outcome, told.evidence)
}

fn say(voiding: Voiding, outcome: &VoidOutcome, evidence: &Value) {
    let outcome = outcome.as_str();
    match voiding {
        Voiding::Done => {
            tracing::warn!(event = "remedied", outcome, "voided a charge that came to light after the end");
        }
        Voiding::Again { wait, is_late } => {
            tracing::info!(
                event = "remedy_unknown",
                outcome,
                ?wait,
                is_late,
                "not known whether voided; asking again"
            );
        }
        Voiding::Impossible => {
            tracing::error!(event = "remedy_impossible", outcome, %evidence,
                "a charge stands for a payment that ended without one, and cannot be voided: a person must act");
        }
    }
}
