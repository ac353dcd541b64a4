//! Decisions about held payments, as operators see them: asked for, checked, done or refused.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A decision, with what the last look showed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `decisions`, which explains them")]
pub struct Decision {
    pub id: i64,
    pub payment_id: Uuid,
    pub version: i32,
    pub wish: String,
    pub is_unproven: bool,
    pub charge_id: Option<String>,
    pub asked_by: String,
    pub reason: String,
    pub asked_at: DateTime<Utc>,
    pub looks: i32,
    pub ended_at: Option<DateTime<Utc>>,
    pub outcome: Option<String>,
    pub refusal: Option<String>,
    pub seen: Option<String>,
    pub look: Option<Value>,
    pub permits: Option<Vec<String>>,
}

impl Decision {
    /// Whether the last look permits that, in the word of [`domain::held::Permit`].
    #[must_use]
    pub fn permits(&self, word: &str) -> bool {
        self.permits.iter().flatten().any(|permit| permit == word)
    }
}

/// The largest number of decisions about one payment that are shown.
const SHOWN: i64 = 20;

/// The pause between two looks at a decision that is waited for.
const GLANCE: Duration = Duration::from_millis(150);

/// The latest decisions about a payment, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn decisions(pool: &PgPool, payment: PaymentId) -> sqlx::Result<Vec<Decision>> {
    sqlx::query_as!(
        Decision,
        "select id, payment_id, version, wish, is_unproven, charge_id, asked_by, reason, asked_at, looks, ended_at, outcome,
                refusal, seen, look, permits
           from decisions where payment_id = $1 order by id desc limit $2",
        payment.uuid(),
        SHOWN
    )
    .fetch_all(pool)
    .await
}

/// The decision of that number once it has ended, or as it is after `patience` if no worker has checked it by
/// then.
///
/// # Errors
/// There is no such decision, or the database's error.
pub async fn await_decision(pool: &PgPool, id: i64, patience: Duration) -> sqlx::Result<Decision> {
    let until = Instant::now() + patience;
    loop {
        let found = sqlx::query_as!(
            Decision,
            "select id, payment_id, version, wish, is_unproven, charge_id, asked_by, reason, asked_at, looks, ended_at, outcome,
                    refusal, seen, look, permits
               from decisions where id = $1",
            id
        )
        .fetch_one(pool)
        .await?;
        if found.ended_at.is_some() || Instant::now() >= until {
            return Ok(found);
        }
        tokio::time::sleep(GLANCE).await;
    }
}
