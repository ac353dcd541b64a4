//! A held refund is given back to the workers by a person.
//!
//! Invariant: nothing is sent before a look has told what stands at the gateway.

use domain::ids::OperationId;
use domain::operation::OperationEvent;
use sqlx::PgPool;

use super::Justification;
use crate::database::{InTime as _, durable};
use crate::platform::metrics;

/// What became of a person's word about a held refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Justified {
    /// It is done.
    Done,
    /// It is not held, or not any more.
    NotHeld,
    /// There is no such refund.
    NoSuchRefund,
}

/// Gives a held refund back to the workers, which look it up, and closes its break. Nothing is sent before
/// the look.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn release_refund(
    pool: &PgPool,
    id: OperationId,
    justification: &Justification,
) -> sqlx::Result<Justified> {
    let statement = sqlx::query_file!(
        "queries/operation_release.sql",
        id.uuid(),
        justification.by(),
        justification.reason()
    )
    .fetch_one(pool)
    .in_time();
    let released = durable("refund_release", statement).await?;
    if released.was_released {
        metrics::refund_event(OperationEvent::Released);
    }
    Ok(match (released.was_released, released.exists) {
        (true, _) => Justified::Done,
        (false, true) => Justified::NotHeld,
        (false, false) => Justified::NoSuchRefund,
    })
}
