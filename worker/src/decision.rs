//! Decisions: what a person wishes to become of a held payment is checked against one look at the gateway, in
//! the time of the sweep. Then it is done or refused.
//!
//! Invariant: no gateway call is made without a committed claim, which stands in the decision here, and
//! none within a transaction. A look changes nothing, so one that is cut off is repeated when the lease has
//! run out.

use std::time::{Duration, Instant};

use domain::held::Seen;
use domain::outcome::{Failed, FailureKind, Looked, Outcome as _, Whose};
use serde_json::{Value, json};
use shared::payment::transition::{self, Decided, Deciding};
use tracing::Instrument as _;

use crate::breaker::Pass;
use crate::{Context, attempt, past};

/// How often recording is tried before the decision is left to its lease.
const RECORD_TRIES: u32 = 5;

/// Checks the decisions that are due, as far as there are gateway calls to spare. A failure here does not
/// keep due payments waiting.
pub(crate) async fn round(context: &Context) {
    if let Err(why) = check_due(context).await {
        tracing::warn!(%why, "could not look for decisions to check");
    }
}

/// Takes a pass only where a decision is due, as the pass may be the only one.
async fn check_due(context: &Context) -> sqlx::Result<()> {
    while let Ok(permit) = context.permits.clone().try_acquire_owned() {
        let Some(share) = context.shares.take_look() else { return Ok(()) };
        if !transition::decision_is_due(&context.pool, context.gateway_name()).await? {
            return Ok(());
        }
        if !context.limit.admits() {
            return Ok(());
        }
        // A gateway that is away tells nothing. Whether it has been away for long enough, the decision says.
        let pass = context.breaker.admit();
        if pass.is_none() && context.breaker.away().is_none() {
            return Ok(());
        }
        let asked_at = Instant::now();
        let claimed = transition::claim_decision(
            &context.pool,
            context.gateway_name(),
            context.claimant.lease.lease,
            &context.policy,
        )
        .await?;
        let Some(deciding) = claimed else { return Ok(()) };
        // An error span, so that no log filter takes these ids from the lines within.
        let span = tracing::error_span!("decision", payment_id = %deciding.payment_id,
            decision_id = deciding.decision_id, claim = %deciding.token, correlation_id = deciding.correlation_id);
        let own = context.clone();
        let carried_out = async move {
            carry_out(&own, &deciding, asked_at, pass).await;
            drop((permit, share));
        };
        context.attempts.spawn(carried_out.instrument(span));
    }
    Ok(())
}

/// Uses a claim: makes one look, and records what it makes of the person's wish.
async fn carry_out(context: &Context, deciding: &Deciding, asked_at: Instant, pass: Option<Pass>) {
    let (seen, evidence) = look(context, deciding, asked_at + context.claimant.lease.send_window, pass).await;
    let verdict = deciding.verdict(&seen);
    for attempt in 1..=RECORD_TRIES {
        match transition::record_decision(&context.pool, deciding, (&verdict, &seen), &evidence).await {
            Ok(Decided::Moved(version)) => {
                tracing::info!(
                    event = "decided",
                    wish = deciding.wish.as_str(),
                    version,
                    is_unproven = deciding.is_unproven,
                    seen = seen.as_str(),
                    "did as a person decided"
                );
                return;
            }
            Ok(Decided::Ended) => {
                let seen = seen.as_str();
                return tracing::info!(
                    event = "decision_ended",
                    ?verdict,
                    seen,
                    "looked for a person's decision"
                );
            }
            Ok(Decided::Before) => return,
            Ok(Decided::TooLate) => {
                return tracing::warn!(event = "decision_late", %evidence, "too late to record what a look showed");
            }
            Err(why) => {
                tracing::warn!(%why, attempt, %evidence, "could not record what a look showed");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
}

async fn look(context: &Context, deciding: &Deciding, send_by: Instant, pass: Option<Pass>) -> (Seen, Value) {
    if !deciding.is_held {
        return (Seen::NotLooked, json!({ "op": "none" }));
    }
    if !context.policy.profile.looks_up {
        return (Seen::Unable, json!({ "op": "none" }));
    }
    let Some(pass) = pass else {
        let away = Failed::new(FailureKind::Unreachable, "this worker finds the gateway away");
        return (Seen::Silent(away), json!({ "op": "none" }));
    };
    let about = (&deciding.expected.key, deciding.correlation_id.as_str());
    let judge = |looked: &Looked| Seen::of(looked, &deciding.expected);
    let told = context.gateway.look_up(about, send_by, judge).await;
    attempt::heard_look(context, pass, told.failure);
    let mut seen = told.outcome;
    if let Seen::One(shown) = &mut seen
        && let Whose::Another(named) = shown.whose(&deciding.expected)
    {
        match past::is_forgotten(&context.pool, named).await {
            Ok(is_forgotten) => shown.is_forgotten = is_forgotten,
            Err(why) => {
                tracing::warn!(%why, "could not ask whose a charge is; looking again");
                return (Seen::NotLooked, told.evidence);
            }
        }
    }
    (seen, told.evidence)
}
