//! The event `held` without a claim: a payment whose own history contradicts its row is halted; all others go
//! on.

use domain::ids::PaymentId;
use domain::status::HeldReason;
use serde_json::Value;
use sqlx::PgConnection;

/// Holds the payment as it stood in that version, in the transaction that opens its break. Answers false if
/// it has moved on, is over, or is held.
///
/// # Errors
/// The database's error. The transaction then writes nothing.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    id: PaymentId,
    version: i32,
    evidence: &Value,
) -> sqlx::Result<bool> {
    let reason = HeldReason::Contradiction.as_str();
    let held = sqlx::query_file_scalar!("queries/payment_hold.sql", id.uuid(), version, reason, evidence)
        .fetch_optional(connection)
        .await?;
    Ok(held.is_some())
}
