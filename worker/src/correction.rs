//! Corrections: what two people agree on is compared with the gateway's journal and a look, in the time of
//! the sweep. Then it is posted or refused.
//!
//! Invariant: no gateway call is made without a committed claim, which stands in the correction here, and
//! none within a transaction. A look changes nothing, so one that is cut off is repeated when the lease has
//! run out.

use std::time::{Duration, Instant};

use domain::held::Seen;
use domain::outcome::{Looked, Outcome as _};
use serde_json::{Value, json};
use shared::payment::transition::{self, Corrected, Correcting};
use tracing::Instrument as _;

use crate::breaker::Pass;
use crate::{Context, attempt};

/// How often recording is tried before the correction is left to its lease.
const RECORD_TRIES: u32 = 5;

/// Carries out the corrections that are due, as far as there are gateway calls to spare. A failure here does
/// not keep due payments waiting.
pub(crate) async fn round(context: &Context) {
    if let Err(why) = carry_out_due(context).await {
        tracing::warn!(%why, "could not look for corrections to carry out");
    }
}

/// Takes a pass only where a correction is due, as the pass may be the only one.
async fn carry_out_due(context: &Context) -> sqlx::Result<()> {
    while let Ok(permit) = context.permits.clone().try_acquire_owned() {
        let Some(share) = context.shares.take_look() else { return Ok(()) };
        if !transition::correction_is_due(&context.pool, context.gateway_name()).await? {
            return Ok(());
        }
        if !context.limit.admits() {
            return Ok(());
        }
        let Some(pass) = context.breaker.admit() else { return Ok(()) };
        let asked_at = Instant::now();
        let claimed =
            transition::claim_correction(&context.pool, context.gateway_name(), context.claimant.lease.lease)
                .await?;
        let Some(correcting) = claimed else { return Ok(()) };
        // An error span, so that no log filter takes these ids from the lines within.
        let span = tracing::error_span!("correction", payment_id = %correcting.payment_id,
            correction_id = correcting.correction_id, claim = %correcting.token,
            correlation_id = correcting.correlation_id);
        let own = context.clone();
        let carried_out = async move {
            carry_out(&own, &correcting, asked_at, pass).await;
            drop((permit, share));
        };
        context.attempts.spawn(carried_out.instrument(span));
    }
    Ok(())
}

/// Uses a claim: makes one look, and records what follows from it.
async fn carry_out(context: &Context, correcting: &Correcting, asked_at: Instant, pass: Pass) {
    let (seen, evidence) =
        look(context, correcting, asked_at + context.claimant.lease.send_window, pass).await;
    let corrected = match &seen {
        Seen::NotLooked | Seen::Silent(_) | Seen::Refused(_) => Corrected::Again,
        Seen::One(_)
        | Seen::Several(_)
        | Seen::Undecided
        | Seen::GivenBack
        | Seen::Declined
        | Seen::Nothing
        | Seen::Unable => correcting.delta(&seen).map_or_else(Corrected::Refused, Corrected::Posted),
    };
    for attempt in 1..=RECORD_TRIES {
        match transition::record_correction(&context.pool, correcting, (&corrected, &seen), &evidence).await {
            Ok(true) => {
                let seen = seen.as_str();
                return tracing::warn!(
                    event = "correction_ended",
                    ?corrected,
                    seen,
                    "looked for a correction"
                );
            }
            Ok(false) => {
                return tracing::warn!(event = "correction_late", %evidence, "too late to record what a look showed");
            }
            Err(why) => {
                tracing::warn!(%why, attempt, %evidence, "could not record what a look showed");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
}

async fn look(context: &Context, correcting: &Correcting, send_by: Instant, pass: Pass) -> (Seen, Value) {
    if !context.policy.profile.looks_up {
        return (Seen::Unable, json!({ "op": "none" }));
    }
    let about = (&correcting.expected.key, correcting.correlation_id.as_str());
    let judge = |looked: &Looked| Seen::of(looked, &correcting.expected);
    let told = context.gateway.look_up(about, send_by, judge).await;
    attempt::heard_look(context, pass, told.failure);
    (told.outcome, told.evidence)
}
