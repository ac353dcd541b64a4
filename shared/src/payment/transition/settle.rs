//! All that ends a claim, in one fenced statement: status, event, ledger, next job, break and dead letter. A
//! result whose claim is gone is kept as late evidence.

use std::collections::HashMap;
use std::time::Duration;

use domain::decide::{Failure, Reason, Spends, Step};
use domain::ids::{ClaimToken, GatewayName, PaymentId};
use domain::posting;
use domain::status::{HeldReason, IllegalTransition, PaymentStatus};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::batch::{HasRemedy, Remedy, Work};
use crate::database::{InTime as _, Lend, Seat, durable, millis};
use crate::platform::{fault, metrics};
use crate::queue;
use domain::dead_letter::Class;

/// The kind of the break for a void without an answer. The workers go on, and close it when the void is
/// confirmed.
pub(crate) const VOID_UNANSWERED: &str = "void_unanswered";

/// The result of a claim.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The payment that was claimed.
    pub payment_id: PaymentId,
    /// The token of the claim that led to it.
    pub token: ClaimToken,
    /// What happens to the payment.
    pub step: Step,
    /// What the gateway said.
    pub evidence: Value,
}

/// The result of settlements. One that is in none of the lists was settled before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// These took effect now.
    pub moved: Vec<(PaymentId, ClaimToken)>,
    /// These came to payments whose history lacks events. The payments are held, and their breaks have what
    /// was said.
    pub halted: Vec<(PaymentId, ClaimToken)>,
    /// These came too late, and are kept as late evidence.
    pub late: Vec<(PaymentId, ClaimToken)>,
}

/// The result of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It took effect now.
    Moved,
    /// The payment's history lacks events. The payment is held, and its break has what was said.
    Halted,
    /// Its claim is gone, and it is kept as late evidence.
    Late,
    /// It was settled before: a connection broke after the commit, or the caller repeats itself.
    Repeated,
}

/// Settles the claims of many tasks at once.
pub struct Settling {
    /// The connection by which they are settled.
    pub seat: Seat,
    /// The gateway that all of them heard.
    pub gateway: GatewayName,
}

impl Work for Settling {
    type Item = Settlement;
    type Answer = Effect;
    type Error = SettleError;

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, settlements: &[Settlement]) -> Result<Vec<Effect>, SettleError> {
        let settled = settle(&self.seat, &self.gateway, settlements.to_vec()).await?;
        let moved = settled.moved.into_iter().map(|claim| (claim, Effect::Moved));
        let halted = settled.halted.into_iter().map(|claim| (claim, Effect::Halted));
        let late = settled.late.into_iter().map(|claim| (claim, Effect::Late));
        let effects: HashMap<_, _> = moved.chain(halted).chain(late).collect();
        Ok(settlements
            .iter()
            .map(|s| effects.get(&(s.payment_id, s.token)).copied().unwrap_or(Effect::Repeated))
            .collect())
    }
}

/// Ends the claims of `settlements`, each by its step, all of which heard `gateway`. Those whose claim is
/// gone change nothing and are kept as late evidence.
///
/// # Errors
/// The database's error; then nothing was written. If the connection broke, all may be: repeat it, which does
/// no harm.
pub async fn settle(
    on: &impl Lend,
    gateway: &GatewayName,
    settlements: Vec<Settlement>,
) -> Result<Settled, SettleError> {
    let mut rows = Rows::default();
    for settlement in settlements {
        rows.push(settlement)?;
    }
    let jobs = queue::jobs_for(rows.payment_ids.iter().map(|&id| id.into()));
    let posting = posting();
    let statement = async {
        #[cfg(debug_assertions)]
        if fault::sabotaged("no_fence") {
            rows.tokens = super::sabotage::tokens_of_whoever_holds(on.pool(), &rows.payment_ids).await?;
        }
        let mut connection = on.lend().await?;
        let settled = sqlx::query_file!(
            "queries/payment_settle.sql",
            &rows.payment_ids,
            &rows.tokens,
            &rows.event_types,
            &rows.to_statuses,
            &rows.reasons as &[Option<String>],
            &rows.evidence,
            &rows.waits_ms as &[Option<i64>],
            &rows.spends,
            &rows.counts_not_found,
            &rows.gateway_transaction_ids as &[Option<String>],
            &rows.failure_codes as &[Option<String>],
            &rows.failure_messages as &[Option<String>],
            &rows.failure_retryables as &[Option<bool>],
            &rows.held_reasons as &[Option<String>],
            &rows.break_kinds as &[Option<String>],
            &jobs.ids,
            &jobs.bodies,
            &posting.event_types,
            &posting.debit_kinds,
            &posting.credit_kinds,
            &posting.codes,
            queue::PAYMENTS,
            VOID_UNANSWERED,
            Reason::KeyClosed.as_str(),
            Reason::RestoredSeen.as_str(),
            gateway.as_str()
        )
        .fetch_all(&mut *connection)
        .in_time()
        .await;
        connection.back(settled)
    };
    let written = durable("settle", statement).await?;
    let mut settled = Settled::default();
    for row in written {
        if row.took_effect {
            if row.is_poison {
                metrics::buried(Class::Poison, 1);
            }
            metrics::event_written(row.event_type);
            let claim = (row.id.into(), row.claim_token.into());
            if row.is_whole { settled.moved.push(claim) } else { settled.halted.push(claim) }
        } else {
            // A result that was sent twice is late both times, and counted once.
            if row.is_new {
                metrics::came_late();
            }
            settled.late.push((row.id.into(), row.claim_token.into()));
        }
    }
    Ok(settled)
}

/// The movements that each event brings. Sabotage `ledger_skipped` knows of none.
fn posting() -> posting::Columns {
    if fault::sabotaged("ledger_skipped") { posting::Columns::default() } else { posting::columns() }
}

/// Why nothing was settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// A step that no claim can lead to: a bug.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The database's error; the settlement may be repeated.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl HasRemedy for SettleError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Illegal(_) => Remedy::OneByOne,
            Self::Database(why) => why.remedy(),
        }
    }
}

/// The settlements as columns, for `unnest`.
#[derive(Default)]
struct Rows {
    payment_ids: Vec<Uuid>,
    tokens: Vec<Uuid>,
    event_types: Vec<String>,
    to_statuses: Vec<String>,
    reasons: Vec<Option<String>>,
    evidence: Vec<Value>,
    waits_ms: Vec<Option<i64>>,
    spends: Vec<bool>,
    counts_not_found: Vec<bool>,
    gateway_transaction_ids: Vec<Option<String>>,
    failure_codes: Vec<Option<String>>,
    failure_messages: Vec<Option<String>>,
    failure_retryables: Vec<Option<bool>>,
    held_reasons: Vec<Option<String>>,
    break_kinds: Vec<Option<String>>,
}

/// What one step writes beside the status.
#[derive(Default)]
struct Written {
    reason: Option<Reason>,
    wait: Option<Duration>,
    spends: Option<Spends>,
    charge_id: Option<String>,
    failure: Option<Failure>,
    held: Option<HeldReason>,
    /// The kind of the break that tells a person although the workers go on.
    told: Option<&'static str>,
}

impl Written {
    fn of(step: Step) -> Self {
        let nothing = Self::default();
        match step {
            Step::Succeed(charge) => Self { charge_id: Some(charge.id), ..nothing },
            Step::Fail(failure) => Self { failure: Some(failure), ..nothing },
            Step::Retry { wait, reason, spends } => {
                Self { reason: Some(reason), wait: Some(wait), spends: Some(spends), ..nothing }
            }
            Step::Doubt { wait, reason, spends, tells } => {
                let told = tells.then_some(VOID_UNANSWERED);
                Self { reason: Some(reason), wait: Some(wait), spends: Some(spends), told, ..nothing }
            }
            Step::StartVoid { reason, spends } => {
                Self { reason: Some(reason), wait: Some(Duration::ZERO), spends: Some(spends), ..nothing }
            }
            Step::Reverse { reason } => Self { reason: Some(reason), ..nothing },
            Step::Hold(reason) => Self { held: Some(reason), ..nothing },
        }
    }
}

impl Rows {
    fn push(&mut self, settlement: Settlement) -> Result<(), IllegalTransition> {
        let event = settlement.step.event();
        let written = Written::of(settlement.step);
        let to_status = PaymentStatus::after(Some(PaymentStatus::Processing), event)?;
        let mut evidence = settlement.evidence;
        if let Some(object) = evidence.as_object_mut() {
            object.extend(written.failure.as_ref().map(|failure| ("failure".to_owned(), json!(failure))));
            object.extend(written.charge_id.as_ref().map(|id| ("charge_id".to_owned(), json!(id))));
        }
        let failure_reason = written.failure.as_ref().map(|failure| failure.code.clone());
        let reason = written.reason.map(|reason| reason.as_str().to_owned()).or(failure_reason);
        self.payment_ids.push(settlement.payment_id.uuid());
        self.tokens.push(settlement.token.uuid());
        self.event_types.push(event.as_str().to_owned());
        self.to_statuses.push(to_status.as_str().to_owned());
        self.reasons.push(reason.or(written.held.map(|held| held.as_str().to_owned())));
        self.evidence.push(evidence);
        self.waits_ms.push(written.wait.map(millis));
        self.spends.push(written.spends == Some(Spends::Try));
        self.counts_not_found.push(written.reason == Some(Reason::NotFound));
        self.gateway_transaction_ids.push(written.charge_id);
        self.failure_codes.push(written.failure.as_ref().map(|failure| failure.code.clone()));
        self.failure_messages.push(written.failure.as_ref().map(|failure| failure.message.clone()));
        self.failure_retryables.push(written.failure.map(|failure| failure.retryable));
        let held = written.held.map(|held| held.as_str().to_owned());
        self.break_kinds.push(held.clone().or(written.told.map(str::to_owned)));
        self.held_reasons.push(held);
        Ok(())
    }
}
