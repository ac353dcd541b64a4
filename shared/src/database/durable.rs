//! Statements that commit, each between two fault points.

use std::future::Future;

use super::standby;
use crate::point;

/// Runs a statement that commits, between the fault points `<name>.before` and `<name>.committed`.
///
/// # Errors
/// The statement's error; or a standby was to confirm its commit, and did not.
#[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "only points need a name"))]
pub async fn durable<T>(name: &str, statement: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    point!(&format!("{name}.before"));
    // Boxed, since it is a large part of the future that waits for it.
    let done = standby::confirmed(Box::pin(statement)).await?;
    point!(&format!("{name}.committed"));
    Ok(done)
}
