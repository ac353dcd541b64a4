//! Gives back what holds of accounts reserve whose time is over. Nobody can post such a hold even before
//! that.

use std::time::Duration;

use rand::RngExt as _;
use shared::account::expiry;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Ends due holds every `interval` until `shutdown`. The interval varies by 20 %, so that workers started
/// together do not look together.
pub(crate) async fn run(pool: &PgPool, interval: Duration, shutdown: &CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval.mul_f64(rand::rng().random_range(0.8..1.2))) => {}
        }
        match expiry::expire_due(pool).await {
            Ok(0) => {}
            Ok(holds) => tracing::info!(event = "holds_expired", holds, "gave back what holds reserved"),
            Err(why) => tracing::warn!(%why, "could not look for holds that are due"),
        }
    }
}
