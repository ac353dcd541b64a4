//! The sweep: finds due payments that nobody took. Needs no queue, so a lost job or notification costs a moment only.

use std::time::Duration;

use rand::RngExt as _;
use shared::payment::store;
use tokio_util::sync::CancellationToken;

use crate::{Context, attempt};

/// A payment that has been due for less is most likely on its way to a worker.
const GRACE: Duration = Duration::from_millis(500);

/// Sweeps every `interval`, ±20 % so that workers started together do not sweep together, until `shutdown`.
pub(crate) async fn run(context: &Context, interval: Duration, shutdown: &CancellationToken) {
    loop {
        let pause = interval.mul_f64(rand::rng().random_range(0.8..1.2));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(why) = sweep(context, interval.min(GRACE)).await {
            tracing::warn!(%why, "could not sweep");
        }
    }
}

/// Takes no more than can be sent at once; the others are another worker's, or the next sweep's.
async fn sweep(context: &Context, grace: Duration) -> sqlx::Result<()> {
    let free = i64::try_from(context.permits.available_permits()).unwrap_or(i64::MAX);
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    for payment in store::overdue(&context.pool, grace_ms, free).await? {
        let look = attempt::look(context.clone(), payment.into());
        context.attempts.spawn(async move {
            if let Err(why) = look.await {
                tracing::warn!(%why, "swept payment");
            }
        });
    }
    Ok(())
}
