//! The void of a charge that came to light for a payment that had ended without one: the right to ask for it,
//! and its result.
//!
//! Invariants: the gateway is asked only under a committed, current claim, which stands in the break. The
//! payment itself never changes. One that succeeded, or that a person ended without proof, is never voided.

use std::time::Duration;

use domain::decide::Voiding;
use domain::ids::{ClaimToken, GatewayKey, GatewayName, PaymentId};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, Lend as _, durable, millis};

/// The right to ask the gateway once to void what a payment's key charged.
#[derive(Debug, Clone)]
pub struct Remedy {
    /// The break that carries the claim.
    pub break_id: i64,
    /// The token that fences the outcome.
    pub token: ClaimToken,
    /// The payment that ended without the charge.
    pub payment_id: PaymentId,
    /// The key under which it was charged.
    pub key: GatewayKey,
    /// Whether a look comes before the void, since the key may be a forgotten payment's, too.
    pub looks_first: bool,
    /// Whether this payment cannot have been charged before a past came back.
    pub is_of_this_past: bool,
    /// Whether no past ever came back, so that no other payment can have had its key.
    pub nothing_returned: bool,
    /// The correlation id that is passed on to the gateway and the logs.
    pub correlation_id: String,
    /// The time since the first request may have left; zero at the first.
    pub age: Duration,
    /// How many requests came before this one.
    pub count: u32,
}

/// Whether there is anything to claim that this gateway can void. Costs next to nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn remedy_is_due(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<bool> {
    // Not joined: no plan may begin with the payments, of which there are many.
    sqlx::query_scalar!(
        "select exists (select from breaks b
                         where (select p.gateway from payments p
                                 where p.id = b.payment_id and p.status in ('failed', 'reversed')) = $1
                           and b.kind = 'charged_after_end' and b.closed_at is null and b.void_ended_at is null
                           and (b.void_due_at is null or b.void_due_at <= clock_timestamp())
                           and not exists (select from decisions d
                                            where d.payment_id = b.payment_id and d.is_unproven and d.outcome = 'done')) as \"is_due!\"",
        gateway.as_str()
    )
    .fetch_one(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Claims one charge that this gateway must void, for `lease`; none if none is due.
///
/// # Errors
/// The database's error. If the claim was committed all the same, its lease runs out and the void is asked
/// for then.
pub async fn claim_remedy(
    pool: &PgPool,
    gateway: &GatewayName,
    lease: Duration,
) -> sqlx::Result<Option<Remedy>> {
    let token = ClaimToken::generate();
    let lease = millis(lease);
    let statement =
        sqlx::query_file_as!(Row, "queries/remedy_claim.sql", token.uuid(), lease, gateway.as_str());
    let row = durable("remedy_claim", statement.fetch_optional(pool).in_time()).await?;
    Ok(row.map(|row| row.into_remedy(token)))
}

struct Row {
    id: i64,
    payment_id: Uuid,
    correlation_id: String,
    gateway_key: Option<String>,
    void_count: i32,
    void_age_ms: i64,
    is_of_this_past: bool,
    nothing_returned: bool,
}

impl Row {
    fn into_remedy(self, token: ClaimToken) -> Remedy {
        Remedy {
            break_id: self.id,
            token,
            payment_id: self.payment_id.into(),
            looks_first: self.gateway_key.is_some(),
            key: GatewayKey::of(self.gateway_key, self.payment_id.into()),
            is_of_this_past: self.is_of_this_past,
            nothing_returned: self.nothing_returned,
            correlation_id: self.correlation_id,
            age: Duration::from_millis(u64::try_from(self.void_age_ms).unwrap_or(0)),
            count: self.void_count.unsigned_abs(),
        }
    }
}

/// Writes the result of the void into the break, and ends the claim. Answers false if the claim was gone.
/// Then the break is another worker's, and a confirmed void is kept as late evidence.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn record_remedy(
    pool: &PgPool,
    remedy: &Remedy,
    voiding: Voiding,
    outcome: &str,
    evidence: &Value,
) -> sqlx::Result<bool> {
    let wait = match voiding {
        Voiding::Done | Voiding::Impossible | Voiding::OfAnother => None,
        Voiding::Again { wait, .. } => Some(millis(wait)),
    };
    let void = json!({
        "outcome": outcome,
        "is_over": wait.is_none(),
        "claim": remedy.token,
        "evidence": evidence,
    });
    let statement = sqlx::query_file_scalar!(
        "queries/remedy_record.sql",
        remedy.break_id,
        remedy.token.uuid(),
        wait,
        void,
        voiding == Voiding::Done,
        voiding == Voiding::OfAnother
    )
    .fetch_one(pool)
    .in_time();
    durable("remedy_record", statement).await
}
