//! T19: what a person may do with a held payment, and with a break. Each says who decided, and why.
//!
//! Invariant: a decision is about one version of the payment. Of two people who decide at once one wins, and the other
//! decides nothing.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::db::InTime as _;
use crate::ids::PaymentId;
use crate::ledger::rules;
use crate::outcome::is_storable;
use crate::payment::status::{EventType, IllegalTransition, PaymentStatus};
use crate::retry::{BY_HAND, Failure};
use crate::{fault, metrics, queue};

const REASON_LENGTH_MAX: usize = 1000;

/// What becomes of a held payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The machine looks again, or voids where a void has started. It holds the payment once more if nothing changed.
    Release,
    /// The gateway took exactly what is owed, by this charge of its own.
    Succeed {
        /// The gateway's id of the charge.
        charge_id: String,
    },
    /// Nothing was charged.
    Fail,
    /// What was charged has been given back.
    Reverse,
}

impl Decision {
    /// The event that it brings about.
    #[must_use]
    pub const fn event(&self) -> EventType {
        match self {
            Self::Release => EventType::Released,
            Self::Succeed { .. } => EventType::Succeeded,
            Self::Fail => EventType::Failed,
            Self::Reverse => EventType::Reversed,
        }
    }

    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Fail => Some(Failure {
                code: BY_HAND.to_owned(),
                message: "a person found that nothing was charged".to_owned(),
                retryable: true,
            }),
            Self::Release | Self::Succeed { .. } | Self::Reverse => None,
        }
    }

    fn charge_id(&self) -> Option<&str> {
        match self {
            Self::Succeed { charge_id } => Some(charge_id),
            Self::Release | Self::Fail | Self::Reverse => None,
        }
    }
}

/// Who decided, and why; both are said, always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Justification {
    by: String,
    reason: String,
}

impl Justification {
    /// Who and why.
    ///
    /// # Errors
    /// One of them is missing, too long, or has control characters.
    pub fn new(by: &str, reason: &str) -> Result<Self, Unusable> {
        let (by, reason) = (by.trim(), reason.trim().replace("\r\n", "\n"));
        if !is_storable(by) {
            return Err(Unusable { field: "by", why: "must name a person, in at most 255 characters" });
        }
        let is_text = !reason.chars().any(|c| c.is_control() && c != '\n');
        if !is_text || !(1..=REASON_LENGTH_MAX).contains(&reason.chars().count()) {
            return Err(Unusable { field: "reason", why: "must say why, in at most 1000 characters" });
        }
        Ok(Self { by: by.to_owned(), reason })
    }

    /// Who.
    pub(crate) fn by(&self) -> &str {
        &self.by
    }

    /// Why.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it says just this.
    #[must_use]
    pub fn is(&self, by: Option<&str>, reason: Option<&str>) -> bool {
        (Some(self.by.as_str()), Some(self.reason.as_str())) == (by, reason)
    }
}

/// A field that cannot be recorded as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct Unusable {
    /// Which one.
    pub field: &'static str,
    /// What it must be.
    pub why: &'static str,
}

/// One decision about one version of a held payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    payment_id: PaymentId,
    version: i32,
    decision: Decision,
    justification: Justification,
}

impl Resolution {
    /// A decision about the payment as it stood in that version.
    ///
    /// # Errors
    /// A success whose charge has no usable id.
    pub fn new(
        payment_id: PaymentId,
        version: i32,
        decision: Decision,
        justification: Justification,
    ) -> Result<Self, Unusable> {
        if decision.charge_id().is_some_and(|id| !is_storable(id)) {
            let why = "must be given as the gateway shows it, in at most 255 characters";
            return Err(Unusable { field: "charge_id", why });
        }
        Ok(Self { payment_id, version, decision, justification })
    }

    fn evidence(&self) -> Value {
        let mut evidence = json!({ "by": self.justification.by, "reason": self.justification.reason });
        if let Some(charge_id) = self.decision.charge_id() {
            evidence["charge_id"] = json!(charge_id);
        }
        if let Some(failure) = self.decision.failure() {
            evidence["failure"] = json!(failure);
        }
        evidence
    }
}

/// T19: does as a person decided, and closes the payment's breaks. Answers the new version; none where the payment is
/// not held in that version any more, because somebody else was faster.
///
/// # Errors
/// The database's; then nothing was written (or, where the connection broke, all of it: the payment's history tells).
pub async fn resolve(pool: &PgPool, resolution: &Resolution) -> Result<Option<i32>, ResolveError> {
    let Resolution { payment_id, version, decision, justification } = resolution;
    let event = decision.event();
    let to_status = PaymentStatus::after(Some(PaymentStatus::Processing), event)?;
    let failure = decision.failure();
    let jobs = queue::jobs_for(std::iter::once(*payment_id));
    let posting = rules::columns();
    let statement = sqlx::query_file_scalar!(
        "queries/payment_resolve.sql",
        payment_id.uuid(),
        version,
        event.as_str(),
        to_status.as_str(),
        resolution.evidence(),
        decision.charge_id(),
        failure.as_ref().map(|failure| &failure.code),
        failure.as_ref().map(|failure| &failure.message),
        failure.as_ref().map(|failure| failure.retryable),
        BY_HAND,
        &posting.event_types,
        &posting.debit_kinds,
        &posting.credit_kinds,
        &posting.codes,
        &jobs.ids,
        &jobs.bodies,
        queue::PAYMENTS,
        justification.by,
        justification.reason
    )
    .fetch_optional(pool)
    .in_time();
    let moved = fault::durable("resolve", statement).await?;
    if moved.is_some() {
        metrics::event_written(event.as_str());
    }
    Ok(moved)
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A decision that no held payment can follow: a bug.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The database's.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Closes a break whose payment is not held; those of a held payment end with a decision about it. Answers false where
/// it was closed already, or belongs to a payment that is held.
///
/// # Errors
/// The database's.
pub async fn close_break(pool: &PgPool, id: i64, justification: &Justification) -> sqlx::Result<bool> {
    // The payment is locked, so that it cannot become held over a break that closes under it.
    let statement = sqlx::query!(
        "with free as materialized (
             select p.id from payments p join breaks b on b.payment_id = p.id
              where b.id = $1 and p.held_reason is null
                for no key update of p)
         update breaks b
            set closed_at = clock_timestamp(), closed_by = $2, closed_reason = $3
          where b.id = $1 and b.closed_at is null
            and (b.payment_id is null or b.payment_id in (select id from free))",
        id,
        justification.by,
        justification.reason
    )
    .execute(pool)
    .in_time();
    let closed = fault::durable("close_break", statement).await?;
    Ok(closed.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Justification {
        Justification::new("ada", "the gateway's books say so").unwrap()
    }

    fn resolution(decision: Decision) -> Result<Resolution, Unusable> {
        Resolution::new(PaymentId::generate(), 4, decision, ada())
    }

    #[test]
    fn every_decision_can_follow_on_a_held_payment_and_says_who_and_why() {
        let succeed = Decision::Succeed { charge_id: "ch_1".to_owned() };
        for decision in [Decision::Release, succeed, Decision::Fail, Decision::Reverse] {
            assert!(PaymentStatus::after(Some(PaymentStatus::Processing), decision.event()).is_ok());
            let evidence = resolution(decision).unwrap().evidence();
            assert_eq!(evidence["by"], "ada");
            assert_eq!(evidence["reason"], "the gateway's books say so");
        }
    }

    #[test]
    fn a_success_names_its_charge_and_a_failure_its_reason() {
        let succeeded = resolution(Decision::Succeed { charge_id: "ch_1".to_owned() }).unwrap().evidence();
        let failed = resolution(Decision::Fail).unwrap().evidence();

        assert_eq!(succeeded["charge_id"], "ch_1");
        assert_eq!(failed["failure"]["code"], BY_HAND);
        for unusable in [String::new(), "a\u{0}".to_owned(), "x".repeat(256)] {
            let refused = resolution(Decision::Succeed { charge_id: unusable }).unwrap_err();
            assert_eq!(refused.field, "charge_id");
        }
    }

    #[test]
    fn nothing_is_decided_without_a_name_and_a_reason() {
        for by in ["", "  ", "a\u{0}", &"x".repeat(256)] {
            assert_eq!(Justification::new(by, "because").unwrap_err().field, "by");
        }
        for reason in ["", " \n ", "a\u{0}", &"x".repeat(1001)] {
            assert_eq!(Justification::new("ada", reason).unwrap_err().field, "reason");
        }
        assert_eq!(Justification::new(" ada ", " two\r\nlines ").unwrap().reason, "two\nlines");
    }
}
