//! One look at a payment: claim it, ask the gateway once, settle what it said.
//!
//! Invariant: no gateway call without a committed claim, no transaction open during the call, and once a claim is taken
//! its call and its settling run in a task that nobody cancels.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::batch::Refused;
use shared::ids::PaymentId;
use shared::outcome::{ChargeOutcome, Exchange, Expected, LookupOutcome, VoidOutcome};
use shared::payment::status::{HeldReason, PaymentStatus};
use shared::payment::transition::{self, Claim, Effect, Purpose, SettleError, Settlement, Taken};
use shared::queue::NotDone;
use shared::retry::{self, Failure, Situation, Step};
use shared::{fault, metrics};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use crate::Context;
use crate::breaker::Pass;

/// How often settling is tried before the payment is left to its lease.
const SETTLE_TRIES: u32 = 5;

/// Looks at a payment that a job came for, as soon as a call at a time is free.
pub(crate) async fn look_once_free(context: Context, payment: PaymentId) -> Result<(), NotDone> {
    // Closed once the worker shuts down: no new claims.
    let Ok(permit) = context.permits.clone().acquire_owned().await else { return Ok(()) };
    // Asked only where a claim could be taken. The payment stays due, and the sweep comes for it.
    if context.breaker.is_open() || !context.limit.admits_job() {
        return Ok(());
    }
    look(context, payment, permit).await
}

/// Looks at one payment, for which the limit gave a call; returns once it is claimed, or not, and lets the attempt go on by
/// itself. Nothing to do is fine: it ended, or is held, or not due, or somebody else has it.
pub(crate) async fn look(
    context: Context,
    payment: PaymentId,
    permit: OwnedSemaphorePermit,
) -> Result<(), NotDone> {
    let looked = claim(context, payment, permit).await;
    looked.inspect_err(|why| tracing::warn!(payment_id = %payment, ?why, "could not look at a payment"))
}

/// Looks at a payment whose claim was lost twice in a row, and for which the limit gave a call, once this worker has nothing
/// else in hand; what comes later waits until it has ended. If the payment is what its workers were lost by, nobody else
/// suffers for it any more.
pub(crate) async fn look_alone(context: Context, payment: PaymentId) {
    let Ok(all) = u32::try_from(context.concurrency) else { return };
    let Ok(permits) = context.permits.clone().acquire_many_owned(all).await else { return };
    let Some(pass) = context.breaker.admit() else { return };
    let lease = context.lease;
    match transition::claim_alone(&context.pool, payment, &context.name, lease).await {
        Ok(Some(claim)) => set_going(context, claim, pass, permits),
        Ok(None) => {}
        Err(why) => tracing::warn!(payment_id = %payment, %why, "could not claim a payment alone"),
    }
}

async fn claim(context: Context, payment: PaymentId, permit: OwnedSemaphorePermit) -> Result<(), NotDone> {
    // While the gateway is away nothing is claimed. The payment stays due, and the sweep comes for it.
    let Some(pass) = context.breaker.admit() else { return Ok(()) };
    let claimed = context.claims.submit(payment).await;
    match claimed.map_err(|why| format!("it could not be claimed: {why}"))? {
        Taken::Claim(claim) => set_going(context, *claim, pass, permit),
        Taken::Nothing => {}
        Taken::NoSuchPayment => return Err(NotDone::Never("there is no such payment".to_owned())),
    }
    Ok(())
}

/// Uses a claim in a task that nobody cancels. The job is done with the claim: from here on the payment's lease sees to it
/// that it ends. So the queue hands over more while the gateway is asked.
fn set_going(context: Context, claim: Claim, pass: Pass, permits: OwnedSemaphorePermit) {
    // Of the highest level, so that no filter takes the ids from what is logged within.
    let span = tracing::error_span!("claim", payment_id = %claim.payment_id, claim = %claim.token,
        correlation_id = claim.correlation_id);
    let own = context.clone();
    let carried_out = async move {
        carry_out(own, claim, pass).await;
        drop(permits);
    };
    context.attempts.spawn(carried_out.instrument(span));
}

/// Uses a claim: one exchange with the gateway, one settlement.
async fn carry_out(context: Context, claim: Claim, pass: Pass) {
    log_claim(&claim);
    let (step, evidence) = ask(&context, &claim, claim.asked_at + context.lease.send_window, pass).await;
    let settlement = Settlement { payment_id: claim.payment_id, token: claim.token, step, evidence };
    let Some(status) = settle(&context, &settlement).await else { return };
    log_settlement(&settlement, status);
    if status.is_terminal() {
        metrics::ended(status, claim.situation.age + claim.asked_at.elapsed());
    }
}

/// What is as usual says enough when it is settled; a look that follows a doubt is worth a line of its own.
fn log_claim(claim: &Claim) {
    let (event, purpose) = (claim.event().as_str(), claim.purpose.as_str());
    if claim.is_blamed {
        tracing::error!(event, purpose, takeovers = claim.takeovers, "each worker that had it was lost");
    } else if claim.is_takeover {
        tracing::warn!(event, purpose, "took over from a worker whose lease ran out");
    } else if claim.purpose == Purpose::Charge {
        tracing::debug!(event, purpose, "claimed");
    } else {
        tracing::info!(event, purpose, "claimed");
    }
}

/// One line for each step that took effect, as loud as it is rare.
fn log_settlement(settlement: &Settlement, status: PaymentStatus) {
    let Settlement { step, evidence, .. } = settlement;
    let (event, status) = (step.event().as_str(), status.as_str());
    match step {
        Step::Hold(reason) => {
            tracing::error!(event, status, %reason, %evidence, "held: a person must act");
        }
        Step::StartVoid { reason, .. } => {
            tracing::warn!(event, status, reason, "in doubt, and no way to learn more: voiding");
        }
        Step::Retry { reason: "unauthorized", .. } => {
            tracing::error!(event, status, reason = "unauthorized", "the gateway refuses our credentials");
        }
        Step::Retry { reason, wait, .. } => {
            tracing::info!(event, status, reason, ?wait, "not charged; trying again");
        }
        Step::Doubt { reason, wait, .. } => {
            tracing::info!(event, status, reason, ?wait, "not known whether charged; looking again");
        }
        Step::Fail(failure) => tracing::info!(event, status, reason = failure.code, "settled"),
        Step::Succeed(charge) => tracing::info!(event, status, charge_id = charge.id, "settled"),
        Step::Reverse => tracing::info!(event, status, "settled"),
    }
}

/// Asks the gateway what this claim is for, and decides what follows from its answer.
async fn ask(context: &Context, claim: &Claim, send_by: Instant, pass: Pass) -> (Step, Value) {
    let Context { gateway, policy, .. } = context;
    let expected = Expected { payment_id: claim.payment_id, money: claim.money };
    if claim.is_blamed {
        let evidence = json!({ "op": "none", "takeovers": claim.takeovers });
        return (Step::Hold(HeldReason::Poison), evidence);
    }
    fault::swallow(&claim.payment_method);
    let situation = situation(claim);
    let stands_against = match claim.purpose {
        Purpose::Charge => retry::before_charge(&situation, policy),
        Purpose::Verify => retry::before_lookup(policy),
        Purpose::Void => retry::before_void(policy),
    };
    if let Some(step) = given_up(claim).or(stands_against) {
        return (step, json!({ "op": "none" }));
    }
    match claim.purpose {
        Purpose::Charge => {
            let told = gateway.charge(claim, send_by).await;
            pass.hear(claim.payment_id, told.exchange.health());
            let outcome = ChargeOutcome::of(&told.exchange, &expected);
            asked(claim.purpose, outcome.as_str(), told.duration);
            let step = retry::after_charge(&situation, policy, outcome);
            (blindly_retried(step, &told.exchange), told.evidence)
        }
        Purpose::Verify => {
            let told = gateway.look_up(claim, send_by).await;
            pass.hear(claim.payment_id, told.exchange.health());
            let outcome = LookupOutcome::of(&told.exchange, &expected);
            asked(claim.purpose, outcome.as_str(), told.duration);
            (retry::after_lookup(&situation, policy, outcome), told.evidence)
        }
        Purpose::Void => {
            let told = gateway.void(claim.payment_id, &claim.correlation_id, send_by).await;
            pass.hear(claim.payment_id, told.exchange.health());
            let outcome = VoidOutcome::of(&told.exchange, &expected);
            asked(claim.purpose, outcome.as_str(), told.duration);
            (retry::after_void(&situation, policy, &outcome), told.evidence)
        }
    }
}

pub(crate) fn asked(purpose: Purpose, outcome: &'static str, duration: Duration) {
    metrics::gateway_called(purpose, outcome, duration);
    tracing::debug!(purpose = purpose.as_str(), outcome, ?duration, "asked the gateway");
}

/// Settles, again and again while the database is away: the statement may be repeated. Answers the payment's new status;
/// none where nothing took effect. In the end the evidence is logged, the lease runs out, and whoever takes over looks
/// the charge up.
async fn settle(context: &Context, settlement: &Settlement) -> Option<PaymentStatus> {
    let answered_at = Instant::now();
    for attempt in 1..=SETTLE_TRIES {
        match context.settlements.submit(settlement.clone()).await {
            Ok(Effect::Moved) => {
                metrics::settled(answered_at.elapsed());
                return PaymentStatus::after(Some(PaymentStatus::Processing), settlement.step.event()).ok();
            }
            Ok(Effect::Late) => {
                tracing::warn!(event = "late_evidence", "too late to settle; kept as late evidence");
                return None;
            }
            Ok(Effect::Repeated) => return None,
            Err(Refused::Failed(why)) if matches!(*why, SettleError::Illegal(_)) => {
                tracing::error!(%why, "a step that cannot be: the payment is left to its lease");
                return None;
            }
            Err(why) => {
                tracing::warn!(%why, attempt, evidence = %settlement.evidence, "could not settle");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
    None
}

/// Where the payment stands. Sabotage `doubt_forgotten` takes the doubt of earlier attempts away.
fn situation(claim: &Claim) -> Situation {
    if fault::sabotaged("doubt_forgotten") {
        return Situation { in_doubt: false, ..claim.situation };
    }
    claim.situation
}

/// The step itself. Sabotage `blind_retry` charges again after a lost answer instead of looking it up.
fn blindly_retried(step: Step, exchange: &Exchange) -> Step {
    match (step, exchange) {
        (Step::Doubt { wait, reason, spends }, Exchange::Unanswered(_))
            if fault::sabotaged("blind_retry") =>
        {
            Step::Retry { wait, reason, spends }
        }
        (step, _) => step,
    }
}

/// Sabotage `timer_writes_failed` takes a payment whose lease ran out for failed.
fn given_up(claim: &Claim) -> Option<Step> {
    (claim.is_takeover && fault::sabotaged("timer_writes_failed")).then(|| {
        let (code, message) = ("expired".to_owned(), "its lease ran out".to_owned());
        Step::Fail(Failure { code, message, retryable: true })
    })
}
