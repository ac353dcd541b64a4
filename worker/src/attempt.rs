//! One look at a payment: claim it, ask the gateway once, settle what it said.
//!
//! Invariant: no gateway call is made without a committed claim, and no transaction is open during the call.
//! Once a claim is taken, its call and its settling run in a task that nobody cancels.

use std::time::{Duration, Instant};

use domain::decide::{self, Failure, Policy, Purpose, Reason, Situation, Spends, Step};
use domain::ids::PaymentId;
use domain::outcome::{ChargeOutcome, Expected, FailureKind, Health, LEFT, Looked, LookupOutcome, NotSent};
use domain::status::{HeldReason, PaymentStatus};
use serde_json::{Value, json};
use shared::database::batch::Refused;
use shared::gateway::{SendBy, Told};
use shared::payment::transition::{self, Claim, Effect, SettleError, Settlement, Taken};
use shared::platform::{fault, metrics};
use shared::queue::NotDone;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use crate::breaker::{About, Pass};
use crate::{Context, past};

/// How often settling is tried before the payment is left to its lease.
const SETTLE_TRIES: u32 = 5;

/// The part of the lease that the question at the gateway's door leaves for settling.
const SETTLE_MARGIN: Duration = Duration::from_millis(500);

/// Looks at a payment that a job came for, as soon as one of the worker's gateway calls is free.
pub(crate) async fn look_once_free(context: Context, payment: PaymentId) -> Result<(), NotDone> {
    // Where as many wait already, the payment stays due, and the sweep comes for it.
    let Ok(_waiting) = context.waiting.clone().try_acquire_owned() else { return Ok(()) };
    // The semaphore is closed once the worker shuts down: no new claims.
    let Ok(permit) = context.permits.clone().acquire_owned().await else { return Ok(()) };
    // Asked only where a claim could be taken. The payment stays due, and the sweep comes for it.
    if context.breaker.is_open() || !context.limit.admits_job() {
        return Ok(());
    }
    look(context, payment, permit).await
}

/// Looks at one payment by which the breaker learns whether the gateway is back.
pub(crate) async fn look_with(
    context: Context,
    payment: PaymentId,
    permit: OwnedSemaphorePermit,
    pass: Pass,
) -> Result<(), NotDone> {
    claim(context, payment, permit, Some(pass)).await
}

/// Looks at one payment whose time is over, without asking the gateway anything.
pub(crate) async fn end_expired(context: Context, payment: PaymentId, permit: OwnedSemaphorePermit) {
    if let Err(why) = claim(context, payment, permit, None).await {
        tracing::warn!(payment_id = %payment, ?why, "could not end a payment whose time is over");
    }
}

/// Looks at one payment, for which the limit gave a call. Returns once it is claimed or not to be claimed;
/// the attempt goes on by itself. A payment that is over, held, not due or claimed by another is no error.
pub(crate) async fn look(
    context: Context,
    payment: PaymentId,
    permit: OwnedSemaphorePermit,
) -> Result<(), NotDone> {
    // While the gateway is away nothing is claimed. The payment stays due, and the sweep comes for it.
    let Some(pass) = context.breaker.admit() else { return Ok(()) };
    let looked = claim(context, payment, permit, Some(pass)).await;
    looked.inspect_err(|why| tracing::warn!(payment_id = %payment, ?why, "could not look at a payment"))
}

/// Looks at a payment whose claim was lost twice in a row, and for which the limit gave a call. It waits
/// until this worker has nothing else in hand, at whatever gateway, and what comes later waits until it has
/// ended. So no other payment suffers, should this one be why its workers were lost.
pub(crate) async fn look_alone(context: Context, payment: PaymentId) {
    if context.breaker.is_open() {
        return;
    }
    let Some(calls) = context.all_calls().await else { return };
    if !context.site.is_there() {
        return;
    }
    let Some(pass) = context.breaker.admit() else { return };
    match transition::claim_alone(&context.pool, payment, &context.claimant).await {
        Ok(Some(claim)) => set_going(context, claim, Some(pass), calls),
        Ok(None) => {}
        Err(why) => tracing::warn!(payment_id = %payment, %why, "could not claim a payment alone"),
    }
}

/// Claims one payment and uses the claim. Without a pass the claim leads to no gateway call.
async fn claim(
    context: Context,
    payment: PaymentId,
    permit: OwnedSemaphorePermit,
    pass: Option<Pass>,
) -> Result<(), NotDone> {
    // While no server takes writes, nothing is claimed, as nothing could be settled. The payment stays due.
    if !context.site.is_there() {
        return Ok(());
    }
    let claimed = context.claims.submit(payment).await;
    match claimed.map_err(|why| format!("it could not be claimed: {why}"))? {
        Taken::Claim(claim) => set_going(context, *claim, pass, vec![permit]),
        Taken::Nothing => {}
        Taken::NoSuchPayment => return Err(NotDone::Never("there is no such payment".to_owned())),
    }
    Ok(())
}

/// Uses a claim in a task that nobody cancels. The job ends with the claim, as the lease now sees to the
/// payment. So the queue hands over more jobs while the gateway is asked.
fn set_going(context: Context, claim: Claim, pass: Option<Pass>, permits: Vec<OwnedSemaphorePermit>) {
    // An error span, so that no log filter takes these ids from the lines within.
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
async fn carry_out(context: Context, mut claim: Claim, pass: Option<Pass>) {
    log_claim(&claim);
    let send_by = SendBy::new(claim.asked_at + context.claimant.lease.send_window, claim.standing.clone());
    let (step, evidence) = ask(&context, &claim, send_by, pass).await;
    // The share is free for other payments by now.
    drop(claim.share.take());
    let settlement = Settlement { payment_id: claim.payment_id, token: claim.token, step, evidence };
    let Some(status) = settle(&context, &settlement).await else { return };
    log_settlement(&settlement, status);
    if status.is_terminal() {
        metrics::ended(status, claim.situation.age + claim.asked_at.elapsed());
    }
}

/// Logs a claim: a usual one quietly, as its settlement is logged; a look after a doubt by a line of its own.
fn log_claim(claim: &Claim) {
    let (event, purpose) = (claim.event().as_str(), claim.purpose.as_str());
    if let Some(reason) = claim.held_for {
        tracing::error!(event, purpose, takeovers = claim.takeovers, %reason, "claimed to be held");
    } else if claim.is_takeover {
        tracing::warn!(event, purpose, "took over from a worker whose lease ran out");
    } else if claim.purpose == Purpose::Charge {
        tracing::debug!(event, purpose, "claimed");
    } else {
        tracing::info!(event, purpose, "claimed");
    }
}

/// Writes one line for each step that took effect, louder the rarer the step is.
fn log_settlement(settlement: &Settlement, status: PaymentStatus) {
    let Settlement { step, evidence, .. } = settlement;
    let (event, status) = (step.event().as_str(), status.as_str());
    match step {
        Step::Hold(reason) => {
            tracing::error!(event, status, %reason, %evidence, "held: a person must act");
        }
        Step::StartVoid { reason, .. } => {
            tracing::warn!(event, status, %reason, "in doubt, and no way to learn more: voiding");
        }
        Step::Retry { reason: Reason::Unauthorized, .. } => {
            tracing::error!(event, status, reason = "unauthorized", "the gateway refuses our credentials");
        }
        Step::Retry { reason, wait, .. } => {
            tracing::info!(event, status, %reason, ?wait, "not charged; trying again");
        }
        Step::Doubt { reason, wait, tells: true, .. } => {
            tracing::error!(
                event,
                status,
                %reason,
                ?wait,
                "no void was answered for too long: a person is told"
            );
        }
        Step::Doubt { reason, wait, .. } => {
            tracing::info!(event, status, %reason, ?wait, "not known whether charged; looking again");
        }
        Step::Fail(failure) => tracing::info!(event, status, reason = failure.code, "settled"),
        Step::Succeed(charge) => tracing::info!(event, status, charge_id = charge.id, "settled"),
        Step::Reverse { .. } => tracing::info!(event, status, "settled"),
    }
}

/// Asks the gateway what this claim is for, and decides what follows from its answer.
async fn ask(context: &Context, claim: &Claim, send_by: SendBy, pass: Option<Pass>) -> (Step, Value) {
    let policy = &context.policy;
    let Some(money) = claim.money.filter(|_| claim.held_for.is_none()) else {
        let reason = claim.held_for.unwrap_or(HeldReason::Unreadable);
        return (Step::Hold(reason), json!({ "op": "none", "takeovers": claim.takeovers, LEFT: false }));
    };
    fault::swallow(&claim.payment_method);
    let situation = situation(context, claim, pass.as_ref());
    let stands_against = match claim.purpose {
        Purpose::Verify if claim.looks_first => decide::before_first_look(policy),
        Purpose::Charge => decide::before_charge(&situation, policy),
        Purpose::Verify => decide::before_lookup(policy),
        Purpose::Void => decide::before_void(policy),
    };
    if let Some(step) = given_up(claim).or(stands_against) {
        let step = decide::look_before_void(&situation, policy, step, None);
        return (step, json!({ "op": "none", LEFT: false }));
    }
    let Some(pass) = pass else { return not_asked(claim, &situation, policy) };
    let expected = Expected { key: claim.key.clone(), payment_id: claim.payment_id, money };
    let Heard { step, mut evidence, failure } =
        exchange(context, claim, &situation, &expected, send_by).await;
    let about = match claim.purpose {
        Purpose::Charge => About::Charge { payment: claim.payment_id, merchant: claim.merchant_id },
        Purpose::Verify | Purpose::Void => About::Look,
    };
    pass.hear(about, failure);
    context.limit.heard(failure);
    let step = unless_gateway_is_away(context, claim, step, failure).await;
    if let Some(kind) = failure {
        evidence["kind"] = json!(kind.as_str());
    }
    (blindly_retried(step, failure), evidence)
}

/// Keeps a doubt from ending by a silence that is not the payment's own: where nothing came back, the door
/// must answer. A worker that just started or woke may not know yet that the gateway is away, and no void can
/// be taken back.
async fn unless_gateway_is_away(
    context: &Context,
    claim: &Claim,
    step: Step,
    failure: Option<FailureKind>,
) -> Step {
    let ends_doubt = matches!(step, Step::StartVoid { .. } | Step::Hold(HeldReason::Unverifiable));
    let nothing_came = failure.is_some_and(|kind| match kind.health() {
        Health::Silent | Health::Shut | Health::LockedOut | Health::Unknown => true,
        Health::Answers | Health::Failing => false,
    });
    if !ends_doubt || !nothing_came {
        return step;
    }
    if door_answers(context, claim.asked_at).await {
        return step;
    }
    let wait = context.policy.wait_for_gateway();
    Step::Doubt { wait, reason: Reason::GatewayAway, spends: Spends::Nothing, tells: false }
}

/// Whether the gateway's door answers, as far as the lease of a claim that was asked for then has time to
/// ask.
pub(crate) async fn door_answers(context: &Context, asked_at: Instant) -> bool {
    let left = context.claimant.lease.lease.saturating_sub(asked_at.elapsed() + SETTLE_MARGIN);
    let knock = context.gateway.knock(&context.pool);
    let knocked = tokio::time::timeout(left.min(context.policy.gateway_timeout), knock).await;
    matches!(knocked, Ok(Ok(())))
}

/// What one exchange came to: what follows, what was said, and how it failed, if it did.
struct Heard {
    step: Step,
    evidence: Value,
    failure: Option<FailureKind>,
}

async fn exchange(
    context: &Context,
    claim: &Claim,
    situation: &Situation,
    expected: &Expected,
    send_by: SendBy,
) -> Heard {
    let Context { gateway, policy, .. } = context;
    let about = (&claim.key, claim.correlation_id.as_str());
    match claim.purpose {
        Purpose::Charge => {
            let told = gateway.charge(&claim.order(expected.money), expected, send_by).await;
            let Told { outcome, failure, mut evidence, .. } = told;
            let step = if let ChargeOutcome::ChargedAs(charge, named) = outcome {
                past::adopt(context, (charge, named), &mut evidence).await
            } else {
                decide::after_charge(situation, policy, outcome)
            };
            Heard { step: decide::look_before_void(situation, policy, step, None), evidence, failure }
        }
        Purpose::Verify => {
            let judge = |looked: &Looked| LookupOutcome::of(looked, expected);
            let told = gateway.look_up(about, send_by, judge).await;
            let Told { outcome, failure, mut evidence, .. } = told;
            let step = past::after_look(context, claim, situation, outcome, &mut evidence).await;
            Heard { step, evidence, failure }
        }
        Purpose::Void => {
            let Told { outcome, failure, evidence, .. } = gateway.void(about, send_by).await;
            Heard { step: decide::after_void(situation, policy, &outcome), evidence, failure }
        }
    }
}

/// Settles a claim that was for no call, of a payment whose time is not over, as if it had not been taken.
fn not_asked(claim: &Claim, situation: &Situation, policy: &Policy) -> (Step, Value) {
    let step = match claim.purpose {
        Purpose::Charge => decide::after_charge(situation, policy, ChargeOutcome::NotSent(NotSent::NotAsked)),
        Purpose::Verify | Purpose::Void => Step::Doubt {
            wait: policy.backoff_initial,
            reason: Reason::NotAsked,
            spends: Spends::Nothing,
            tells: false,
        },
    };
    (step, json!({ "op": "none", "not_sent": NotSent::NotAsked, LEFT: false }))
}

/// Tells the breaker and the limit what a look or a void heard that no payment's claim led to.
pub(crate) fn heard_look(context: &Context, pass: Pass, failure: Option<FailureKind>) {
    pass.hear(About::Look, failure);
    context.limit.heard(failure);
}

/// Settles, and tries again while the database is away, as the statement may be repeated. Answers the
/// payment's new status; none where nothing took effect. In the end the evidence is logged, the lease runs
/// out, and the worker that takes over looks the charge up.
async fn settle(context: &Context, settlement: &Settlement) -> Option<PaymentStatus> {
    let answered_at = Instant::now();
    for attempt in 1..=SETTLE_TRIES {
        match context.settlements.submit(settlement.clone()).await {
            Ok(Effect::Moved) => {
                metrics::settled(answered_at.elapsed());
                return PaymentStatus::after(Some(PaymentStatus::Processing), settlement.step.event()).ok();
            }
            Ok(Effect::Halted) => {
                tracing::error!(event = "held", evidence = %settlement.evidence,
                    "events of its history are missing: held, and a person must act");
                return None;
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

/// Where the payment stands. Time in which the gateway was away does not count against a doubt or a void.
/// Sabotage `doubt_forgotten` takes the doubt of earlier attempts away.
fn situation(context: &Context, claim: &Claim, pass: Option<&Pass>) -> Situation {
    let now = claim.situation;
    let outages = context.outages();
    let while_there = |age| outages.without(age, claim.asked_at);
    Situation {
        in_doubt: now.in_doubt && !fault::sabotaged("doubt_forgotten"),
        doubt_age: while_there(now.doubt_age),
        void_age: while_there(now.void_age),
        // A gateway that fails others too, and has answered no charge since, does not use up the last try.
        is_probe: pass.is_some_and(|pass| {
            pass.is_probe() || (now.retries_spent >= context.policy.max_retries && pass.is_failing())
        }),
        ..now
    }
}

/// The step itself. Sabotage `blind_retry` charges again after a lost answer instead of looking it up.
fn blindly_retried(step: Step, failure: Option<FailureKind>) -> Step {
    match (step, failure) {
        (Step::Doubt { wait, reason, spends, .. }, Some(FailureKind::Timeout | FailureKind::Reset))
            if fault::sabotaged("blind_retry") =>
        {
            Step::Retry { wait, reason, spends }
        }
        (step, _) => step,
    }
}

/// None. Sabotage `timer_writes_failed` takes a payment whose lease ran out for failed.
fn given_up(claim: &Claim) -> Option<Step> {
    (claim.is_takeover && fault::sabotaged("timer_writes_failed")).then(|| {
        let (code, message) = ("expired".to_owned(), "its lease ran out".to_owned());
        Step::Fail(Failure { code, message, retryable: true })
    })
}
