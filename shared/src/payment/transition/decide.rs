//! Carries out what a person asked for about a held payment (`ask`). A worker checks it against a look at the
//! gateway, and it is done or refused.
//!
//! Invariants: the gateway is asked only under a committed, current claim, which stands in the decision.
//! Nothing is done about another version of the payment than the person saw, and nothing that the look does
//! not permit.

use std::time::Duration;

use domain::decide::{Failure, Policy, Reason};
use domain::held::{self, Facts, Seen, Wish};
use domain::ids::{ClaimToken, GatewayKey, GatewayName, PaymentId};
use domain::money::{Currency, Money};
use domain::outcome::{Expected, Outcome as _};
use domain::posting;
use domain::status::{EventType, IllegalTransition, PaymentStatus};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, Lend as _, durable, millis};
use crate::platform::{fault, metrics};
use crate::queue;

/// The right to look at the gateway once for a decision.
#[derive(Debug, Clone)]
pub struct Deciding {
    /// The decision that carries the claim.
    pub decision_id: i64,
    /// The token that fences the result.
    pub token: ClaimToken,
    /// The payment that the decision is about.
    pub payment_id: PaymentId,
    /// What its charge must look like.
    pub expected: Expected,
    /// The correlation id that is passed on to the gateway and the logs.
    pub correlation_id: String,
    /// What the person wants done.
    pub wish: Wish,
    /// Whether it is wished for without proof.
    pub is_unproven: bool,
    /// Whether the payment is still held as the person saw it.
    pub is_held: bool,
    /// The facts that decide what is permitted.
    pub facts: Facts,
    version: i32,
    by: String,
    reason: String,
}

/// Whether there is anything to claim that this gateway can be asked about. Costs next to nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn decision_is_due(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<bool> {
    // Not joined: no plan may begin with the payments, of which there are many.
    sqlx::query_scalar!(
        "select exists (select from decisions d
                         where d.ended_at is null and (d.due_at is null or d.due_at <= clock_timestamp())
                           and (select p.gateway from payments p where p.id = d.payment_id) = $1) as \"is_due!\"",
        gateway.as_str()
    )
    .fetch_one(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Claims one decision that must be checked at this gateway, for `lease`. None if none is due, or if a look
/// may not yet show its payment's last charge.
///
/// # Errors
/// The database's error. If the claim was committed all the same, its lease runs out and a worker looks then.
pub async fn claim_decision(
    pool: &PgPool,
    gateway: &GatewayName,
    lease: Duration,
    policy: &Policy,
) -> sqlx::Result<Option<Deciding>> {
    let token = ClaimToken::generate();
    let visible = millis(policy.gateway_timeout + policy.visibility);
    let (lease, gateway) = (millis(lease), gateway.as_str());
    let statement =
        sqlx::query_file_as!(Row, "queries/decision_claim.sql", token.uuid(), lease, visible, gateway);
    let row = durable("decision_claim", statement.fetch_optional(pool).in_time()).await?;
    row.map(|row| row.into_deciding(token, policy)).transpose()
}

struct Row {
    id: i64,
    payment_id: Uuid,
    version: i32,
    wish: String,
    is_unproven: bool,
    charge_id: Option<String>,
    asked_by: String,
    reason: String,
    amount: Decimal,
    currency: String,
    correlation_id: String,
    gateway_key: Option<String>,
    is_held: bool,
    voiding: bool,
    void_failed: bool,
    in_doubt: bool,
    never_in_doubt: bool,
    dark_ms: Option<i64>,
    is_unverifiable: bool,
}

impl Row {
    fn into_deciding(self, token: ClaimToken, policy: &Policy) -> sqlx::Result<Deciding> {
        let currency: Currency = self.currency.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let wish = match (self.wish.as_str(), self.charge_id) {
            ("succeed", Some(charge_id)) => Wish::Succeed { charge_id },
            ("fail", _) => Wish::Fail,
            ("reverse", _) => Wish::Reverse,
            ("void", _) => Wish::Void,
            ("look", _) => Wish::Look,
            // Written by a newer program, which carries it out.
            (other, _) => {
                return Err(sqlx::Error::Decode(format!("no wish of this version: {other:?}").into()));
            }
        };
        let payment_id = self.payment_id.into();
        let money = Money::new(self.amount, currency).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        Ok(Deciding {
            decision_id: self.id,
            token,
            payment_id,
            expected: Expected { key: GatewayKey::of(self.gateway_key, payment_id), payment_id, money },
            correlation_id: self.correlation_id,
            wish,
            is_unproven: self.is_unproven,
            is_held: self.is_held,
            facts: Facts {
                never_in_doubt: self.never_in_doubt,
                voiding: self.voiding,
                can_void: policy.profile.voids && self.in_doubt && !self.void_failed,
                honours_keys: policy.profile.honours_keys,
                was_dark: self.is_unverifiable
                    || self.dark_ms.is_some_and(|dark_ms| dark_ms >= millis(policy.doubt_deadline)),
            },
            version: self.version,
            by: self.asked_by,
            reason: self.reason,
        })
    }
}

/// The judgement of a look on a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The wish is done.
    Done,
    /// The wish is refused, in these words.
    Refused(String),
    /// Only a look was asked for.
    Seen,
    /// Nobody looked: another worker is to.
    Again,
}

/// The result of writing the judgement down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// The payment moved, to this version.
    Moved(i32),
    /// The decision ended, and the payment is as it was.
    Ended,
    /// It had been written down before: a connection broke after the commit.
    Before,
    /// The claim was gone.
    TooLate,
}

/// Writes down what the look made of the wish, and does it, if that is the verdict.
///
/// # Errors
/// The database's error; the call may be repeated. Or a wish that no held payment can follow.
pub async fn record_decision(
    pool: &PgPool,
    deciding: &Deciding,
    (verdict, seen): (&Verdict, &Seen),
    evidence: &Value,
) -> Result<Decided, DecideError> {
    let event = deciding.event();
    let to_status = PaymentStatus::after(Some(PaymentStatus::Processing), event)?;
    let (outcome, refused) = match verdict {
        Verdict::Done => (Some("done"), None),
        Verdict::Refused(why) => (Some("refused"), Some(why)),
        Verdict::Seen => (Some("seen"), None),
        Verdict::Again => (None, None),
    };
    let permits = held::permits(seen, &deciding.expected, deciding.facts);
    let permits: Vec<String> = permits.iter().map(|permit| permit.as_str().to_owned()).collect();
    let failure = deciding.failure();
    let posting = posting::columns();
    let jobs = queue::jobs_for(std::iter::once(deciding.payment_id));
    let statement = sqlx::query_file!(
        "queries/decision_record.sql",
        deciding.decision_id,
        deciding.payment_id.uuid(),
        deciding.version,
        deciding.token.uuid(),
        outcome,
        refused,
        seen.as_str(),
        evidence,
        &permits,
        event.as_str(),
        to_status.as_str(),
        deciding.evidence(seen, evidence),
        deciding.wish.charge_id(),
        failure.as_ref().map(|failure| &failure.code),
        failure.as_ref().map(|failure| &failure.message),
        failure.as_ref().map(|failure| failure.retryable),
        Reason::ByHand.as_str(),
        &posting.event_types,
        &posting.debit_kinds,
        &posting.credit_kinds,
        &posting.codes,
        &jobs.ids,
        &jobs.bodies,
        queue::PAYMENTS
    )
    .fetch_one(pool)
    .in_time();
    let recorded = durable("decision_record", statement).await?;
    Ok(match (recorded.version, recorded.took_effect, recorded.was_recorded) {
        (Some(version), _, _) => {
            metrics::event_written(event.as_str());
            Decided::Moved(version)
        }
        (None, true, _) => Decided::Ended,
        (None, false, true) => Decided::Before,
        (None, false, false) => Decided::TooLate,
    })
}

/// Why nothing was written down.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// A decision that no held payment can follow: a bug.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The database's error; the call may be repeated.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Deciding {
    /// The verdict of a look on the wish. Sabotage `decision_unchecked` grants every wish.
    #[must_use]
    pub fn verdict(&self, seen: &Seen) -> Verdict {
        if !self.is_held {
            return Verdict::Refused("the payment is not held as it was seen any more".to_owned());
        }
        if *seen == Seen::NotLooked {
            return Verdict::Again;
        }
        if self.wish == Wish::Look {
            return Verdict::Seen;
        }
        let refusal = held::refusal(&self.wish, self.is_unproven, seen, &self.expected, self.facts);
        refusal.filter(|_| !fault::sabotaged("decision_unchecked")).map_or(Verdict::Done, Verdict::Refused)
    }

    /// The event that the wish brings about. A mere look writes none.
    const fn event(&self) -> EventType {
        match self.wish {
            Wish::Succeed { .. } => EventType::Succeeded,
            Wish::Fail => EventType::Failed,
            Wish::Reverse => EventType::Reversed,
            // A void that was asked for before is asked for again.
            Wish::Void if self.facts.voiding => EventType::Released,
            Wish::Void => EventType::VoidStarted,
            Wish::Look => EventType::Released,
        }
    }

    fn failure(&self) -> Option<Failure> {
        (self.wish == Wish::Fail).then(|| Failure {
            code: Reason::ByHand.as_str().to_owned(),
            message: "a person found that nothing was charged".to_owned(),
            // A person has ended it, so no program is to repeat it.
            retryable: false,
        })
    }

    fn evidence(&self, seen: &Seen, look: &Value) -> Value {
        let mut evidence = json!({
            "by": self.by,
            "reason": self.reason,
            "decision": self.decision_id,
            "seen": seen.as_str(),
            "look": look,
        });
        if self.is_unproven {
            evidence["unproven"] = json!(true);
        }
        if let Some(charge_id) = self.wish.charge_id() {
            evidence["charge_id"] = json!(charge_id);
        }
        if let (Wish::Succeed { .. }, Seen::One(shown)) = (&self.wish, seen)
            && shown.is_forgotten
        {
            evidence["adopted"] = json!(shown.charge.reference);
        }
        if let Some(failure) = self.failure() {
            evidence["failure"] = json!(failure);
        }
        evidence
    }
}
