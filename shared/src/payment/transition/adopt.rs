//! What the gateway did without us, found in the copy of its journal: refunds of origin `gateway`, late
//! returns, and disputes, which it opens and ends.
//!
//! Invariant: what stands here already, under its key or by the gateway's id, is never adopted. The payment
//! itself never changes.

use domain::ids::{GatewayName, PaymentId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable};

/// An act that was adopted, or a dispute that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Its id here.
    pub id: Uuid,
    /// The payment that was given back.
    pub payment_id: PaymentId,
}

/// Adopts what the copy of the gateway's journal shows of these payments and what does not stand here, each
/// by a statement of its own. May be repeated.
///
/// # Errors
/// The database's error. What was adopted before stays adopted.
pub async fn adopt_acts(
    pool: &PgPool,
    gateway: &GatewayName,
    payments: &[Uuid],
) -> sqlx::Result<Vec<Adopted>> {
    let found = sqlx::query_file!("queries/operation_to_adopt.sql", gateway.as_str(), payments);
    let mut adopted = Vec::new();
    for row in found.fetch_all(pool).in_time().await? {
        let statement =
            sqlx::query_scalar!("select adopt_act($1, $2, $3)", gateway.as_str(), row.seq, row.payment_id);
        let made = durable("refund_adopt", statement.fetch_one(pool).in_time()).await?;
        adopted.extend(made.map(|id| Adopted { id, payment_id: row.payment_id.into() }));
    }
    Ok(adopted)
}
