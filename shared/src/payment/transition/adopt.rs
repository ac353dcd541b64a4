//! Refunds that the gateway made without us: found in the copy of its journal, and booked as refunds of origin
//! `gateway`.
//!
//! Invariant: what stands here already, under its key or by the gateway's id, is never adopted. The payment
//! itself never changes.

use domain::ids::{GatewayName, OperationId, PaymentId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable};

/// A refund that was adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Its id here.
    pub id: OperationId,
    /// The payment that was given back.
    pub payment_id: PaymentId,
}

/// Adopts the refunds of these payments that the copy of the gateway's journal shows and that do not stand
/// here, each by a statement of its own. May be repeated.
///
/// # Errors
/// The database's error. What was adopted before stays adopted.
pub async fn adopt_refunds(
    pool: &PgPool,
    gateway: &GatewayName,
    payments: &[Uuid],
) -> sqlx::Result<Vec<Adopted>> {
    let found = sqlx::query_file!("queries/operation_to_adopt.sql", gateway.as_str(), payments);
    let mut adopted = Vec::new();
    for row in found.fetch_all(pool).in_time().await? {
        let statement = sqlx::query_scalar!(
            "select adopt_refund($1, $2, $3)",
            gateway.as_str(),
            row.seq,
            row.payment_id
        );
        let made = durable("refund_adopt", statement.fetch_one(pool).in_time()).await?;
        adopted
            .extend(made.map(|id| Adopted { id: id.into(), payment_id: row.payment_id.into() }));
    }
    Ok(adopted)
}
