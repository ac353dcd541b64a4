//! The sweep: finds due payments that nobody took. Needs no queue, so a lost job or notification costs a moment only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use shared::payment::store;
use shared::watermark::Watermark;
use shared::{db, fault, metrics, point};
use tokio_util::sync::CancellationToken;

use crate::{Context, attempt, correction, decision, remedy};

/// A payment that has been due for less is most likely on its way to a worker.
const GRACE: Duration = Duration::from_millis(500);

/// After a sweep that found as much as it could take there is likely more: so comes back what a gateway that was away, or a
/// queue that was lost, has left behind.
const AGAIN: Duration = Duration::from_millis(50);

/// After a sweep that put something off: sooner than the limit, which gives a second's worth at once, is wasted.
const ONCE_REFILLED: Duration = Duration::from_millis(500);

/// What a sweep came to.
#[derive(Default)]
struct Swept {
    found: usize,
    /// Whether the limit let through less.
    has_put_off: bool,
}

/// When this worker last swept: what shows that it is at work.
#[derive(Debug)]
pub(crate) struct LastSweep {
    started: Instant,
    /// Milliseconds after `started`.
    at: AtomicU64,
}

impl LastSweep {
    /// A worker that starts now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), at: AtomicU64::new(0) }
    }

    /// How long ago it was.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.at.load(Ordering::Relaxed)))
    }

    fn is_now(&self) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(at, Ordering::Relaxed);
    }
}

/// Sweeps every `interval`, ±20 % so that workers started together do not sweep together, until `shutdown`.
pub(crate) async fn run(context: &Context, interval: Duration, shutdown: &CancellationToken) {
    let mut goes_on = false;
    let mut has_put_off = false;
    let mut watermark = Watermark::default();
    loop {
        let pause = match (has_put_off, goes_on) {
            (true, _) => interval.min(ONCE_REFILLED),
            (false, true) => interval.min(AGAIN),
            (false, false) => interval,
        };
        let pause = pause.mul_f64(rand::rng().random_range(0.8..1.2));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let free = context.permits.available_permits().min(context.limit.burst());
        let swept = sweep(context, interval.min(GRACE), free, &mut watermark).await;
        goes_on = swept.as_ref().is_ok_and(|swept| swept.found == free && (goes_on || free > 0));
        has_put_off = swept.as_ref().is_ok_and(|swept| swept.has_put_off);
        context.limit.swept(goes_on || has_put_off);
        match swept {
            Ok(swept) => {
                metrics::swept(Some(swept.found));
                context.last_sweep.is_now();
            }
            Err(why) => {
                metrics::swept(None);
                tracing::warn!(%why, "could not sweep");
            }
        }
    }
}

/// Takes no more than can be sent at once; the others are another worker's, or the next sweep's.
async fn sweep(
    context: &Context,
    grace: Duration,
    free: usize,
    watermark: &mut Watermark,
) -> sqlx::Result<Swept> {
    if fault::sabotaged("no_sweep") {
        return Ok(Swept::default());
    }
    // Nothing could be claimed; what is due stays due.
    if context.breaker.is_open() {
        return Ok(Swept::default());
    }
    point!("sweep.before");
    remedy::round(context).await?;
    decision::round(context).await;
    correction::round(context).await;
    if free == 0 {
        return Ok(Swept::default());
    }
    let free = i64::try_from(free).unwrap_or(i64::MAX);
    let grace_ms = db::millis(grace);
    let look = watermark.look();
    let overdue = store::overdue(&context.pool, grace_ms, free, look.since).await?;
    watermark.looked(look, overdue.reached);
    point!("sweep.found");
    let mut swept = Swept { found: overdue.found.len(), has_put_off: false };
    for due in overdue.found {
        // Meanwhile jobs may have taken what was free.
        let Ok(permit) = context.permits.clone().try_acquire_owned() else { break };
        if !context.limit.admits() {
            swept.has_put_off = true;
            break;
        }
        let (own, payment) = (context.clone(), due.id.into());
        if due.is_suspect {
            drop(permit);
            context.attempts.spawn(attempt::look_alone(own, payment));
        } else {
            context.attempts.spawn(attempt::look(own, payment, permit));
        }
    }
    Ok(swept)
}
