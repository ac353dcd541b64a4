//! Corrections, as operators see them: proposed, approved, posted or refused.

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A correction, with the currency of its payment.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `corrections`, which explains them")]
pub struct Correction {
    pub id: i64,
    pub payment_id: Uuid,
    pub currency: String,
    pub kind: String,
    pub amount: Decimal,
    pub charge_id: Option<String>,
    pub reason: String,
    pub proposed_by: String,
    pub proposed_with: String,
    pub proposed_at: DateTime<Utc>,
    pub approved_by: Option<String>,
    pub approved_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub outcome: Option<String>,
    pub refusal: Option<String>,
    pub seen: Option<String>,
    pub look: Option<Value>,
    pub delta: Option<Decimal>,
}

impl Correction {
    /// The state: `proposed`, `approved`, or how it ended.
    #[must_use]
    pub fn state(&self) -> &str {
        self.outcome.as_deref().unwrap_or(if self.approved_at.is_some() { "approved" } else { "proposed" })
    }
}

/// Corrections, newest first and at most `limit`: all or only open ones, of one payment or of all, below the
/// number `before`.
///
/// # Errors
/// Returns the database's error.
pub async fn corrections(
    pool: &PgPool,
    payment: Option<PaymentId>,
    is_open: bool,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<Correction>> {
    sqlx::query_as!(
        Correction,
        "select c.id, c.payment_id, p.currency, c.kind, c.amount, c.charge_id, c.reason, c.proposed_by, c.proposed_with,
                c.proposed_at, c.approved_by, c.approved_at, c.ended_at, c.outcome, c.refusal, c.seen, c.look, c.delta
           from corrections c join payments p on p.id = c.payment_id
          where ($1::uuid is null or c.payment_id = $1) and c.id < $2 and (not $3 or c.ended_at is null)
          order by c.id desc
          limit $4",
        payment.map(PaymentId::uuid),
        before.unwrap_or(i64::MAX),
        is_open,
        limit
    )
    .fetch_all(pool)
    .await
}

/// The correction of that number.
///
/// # Errors
/// Returns the database's error.
pub async fn correction(pool: &PgPool, id: i64) -> sqlx::Result<Option<Correction>> {
    let before = id.checked_add(1);
    let found = corrections(pool, None, false, before, 1).await?;
    Ok(found.into_iter().find(|it| it.id == id))
}
