//! Statements that commit.

use std::future::Future;

use super::standby;
use crate::point;

/// A statement that commits, between the fault points `<name>.before` and `<name>.committed`.
///
/// # Errors
/// The statement's; or a standby was to confirm its commit, and did not.
#[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "only points need a name"))]
pub async fn durable<T>(name: &str, statement: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    point!(&format!("{name}.before"));
    // Boxed, since it is a large part of whoever waits for it.
    let done = standby::confirmed(Box::pin(statement)).await?;
    point!(&format!("{name}.committed"));
    Ok(done)
}
