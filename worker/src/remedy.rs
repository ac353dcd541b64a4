//! The remedy: a charge that came to light after its payment had ended without one is voided, in the time of
//! the sweep.
//!
//! Invariant: no gateway call is made without a committed claim, which stands in the break here, and none
//! within a transaction. A remedy that is cut off is found again when the claim's lease has run out; the
//! void has one key, so that asking twice voids once. Where the key may be a forgotten payment's too, the
//! charges that stand are looked at first, and voided only if all are this payment's. The break stays open
//! for a person.

use std::time::{Duration, Instant};

use domain::decide::{self, Voiding};
use domain::outcome::{Looked, Outcome as _, Standing, VoidOutcome};
use serde_json::{Value, json};
use shared::database;
use shared::gateway::SendBy;
use shared::payment::transition::{self, Remedy};
use tracing::Instrument as _;

use crate::breaker::Pass;
use crate::{Context, attempt};

/// How often recording is tried before the break is left to its lease.
const RECORD_TRIES: u32 = 5;

/// Voids what is due, as far as there are gateway calls to spare. It takes a pass only where a remedy is due,
/// as the pass may be the only one.
pub(crate) async fn round(context: &Context) -> sqlx::Result<()> {
    while let Ok(permit) = context.permits.clone().try_acquire_owned() {
        let Some(share) = context.shares.take_look() else { return Ok(()) };
        if !transition::remedy_is_due(&context.pool, context.gateway_name()).await? {
            return Ok(());
        }
        if !context.limit.admits() {
            return Ok(());
        }
        let Some(pass) = context.breaker.admit() else { return Ok(()) };
        let (asked_at, standing) = (Instant::now(), database::standing(&context.pool));
        let claimed =
            transition::claim_remedy(&context.pool, context.gateway_name(), context.claimant.lease.lease)
                .await?;
        let Some(remedy) = claimed else { return Ok(()) };
        // An error span, so that no log filter takes these ids from the lines within.
        let span = tracing::error_span!("remedy", payment_id = %remedy.payment_id, break_id = remedy.break_id,
            claim = %remedy.token, correlation_id = remedy.correlation_id);
        let own = context.clone();
        let carried_out = async move {
            let send_by = SendBy::new(asked_at + own.claimant.lease.send_window, standing);
            carry_out(&own, &remedy, (asked_at, send_by), pass).await;
            drop((permit, share));
        };
        context.attempts.spawn(carried_out.instrument(span));
    }
    Ok(())
}

/// Uses a claim: makes one void, and records it.
async fn carry_out(context: &Context, remedy: &Remedy, (asked_at, send_by): (Instant, SendBy), pass: Pass) {
    let age = context.outages().without(remedy.age, asked_at);
    let (voiding, outcome, evidence) = match look(context, remedy, age, send_by.clone()).await {
        Some(stands_against) => stands_against,
        None => void(context, remedy, age, send_by, pass).await,
    };
    for attempt in 1..=RECORD_TRIES {
        match transition::record_remedy(&context.pool, remedy, voiding, outcome, &evidence).await {
            Ok(true) => return say(voiding, outcome, &evidence),
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

/// The result of an exchange: what follows, the word for it, and what was said.
type Told = (Voiding, &'static str, Value);

/// What a look shows that stands against the void. None where nothing does.
async fn look(context: &Context, remedy: &Remedy, age: Duration, send_by: SendBy) -> Option<Told> {
    if !remedy.looks_first || decide::before_void(&context.policy).is_some() {
        return None;
    }
    let (seen, evidence) = if context.policy.profile.looks_up {
        let about = (&remedy.key, remedy.correlation_id.as_str());
        let judge = |looked: &Looked| Standing::of(looked, &remedy.key, remedy.payment_id);
        let told = context.gateway.look_up(about, send_by, judge).await;
        (told.outcome, told.evidence)
    } else {
        (Standing::Unsupported, json!({ "op": "none" }))
    };
    let own = (remedy.is_of_this_past, remedy.nothing_returned);
    let against = decide::before_remedy(&context.policy, (age, remedy.count), own, &seen)?;
    Some((against, seen.as_str(), evidence))
}

async fn void(context: &Context, remedy: &Remedy, age: Duration, send_by: SendBy, pass: Pass) -> Told {
    let after = |outcome: &VoidOutcome| Voiding::after(age, remedy.count, &context.policy, outcome);
    if decide::before_void(&context.policy).is_some() {
        let unsupported = VoidOutcome::Unsupported;
        return (after(&unsupported), unsupported.as_str(), json!({ "op": "none" }));
    }
    let told = context.gateway.void((&remedy.key, &remedy.correlation_id), send_by).await;
    attempt::heard_look(context, pass, told.failure);
    (after(&told.outcome), told.outcome.as_str(), told.evidence)
}

fn say(voiding: Voiding, outcome: &str, evidence: &Value) {
    match voiding {
        Voiding::OfAnother => {
            tracing::error!(event = "remedy_of_another", outcome, %evidence,
                "what stands for a payment that ended without a charge may be another payment's: a person must act");
        }
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
