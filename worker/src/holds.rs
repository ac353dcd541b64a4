//! Ends what nobody decided in time: reviews of payments, and holds of accounts. Nobody can approve or post
//! such a one even before that.

use std::time::Duration;

use rand::RngExt as _;
use shared::account::expiry;
use shared::payment::reviews;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Ends due reviews and holds every `interval` until `shutdown`. The interval varies by 20 %, so that workers
/// started together do not look together.
pub(crate) async fn run(pool: &PgPool, interval: Duration, shutdown: &CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval.mul_f64(rand::rng().random_range(0.8..1.2))) => {}
        }
        match reviews::expire_due(pool).await {
            Ok(0) => {}
            Ok(reviews) => tracing::info!(event = "reviews_expired", reviews, "nobody decided in time"),
            Err(why) => tracing::warn!(%why, "could not look for reviews that are due"),
        }
        match expiry::expire_due(pool).await {
            Ok(0) => {}
            Ok(holds) => tracing::info!(event = "holds_expired", holds, "gave back what holds reserved"),
            Err(why) => tracing::warn!(%why, "could not look for holds that are due"),
        }
    }
}
