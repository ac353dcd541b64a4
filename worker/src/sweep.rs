//! The sweep finds due payments that nobody took. It needs no queue, so a lost job or notification costs only
//! a moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use shared::database::watermark::Watermark;
use shared::payment::store::{self, Overdue};
use shared::platform::{fault, metrics};
use shared::{database, point};
use tokio_util::sync::CancellationToken;

use crate::{Context, attempt, correction, decision, refund, remedy};

/// The time within which a due payment is most likely on its way to a worker.
const GRACE: Duration = Duration::from_millis(500);

/// The pause after a sweep that found as much as it could take, because there is likely more. So a backlog
/// comes back that a lost queue, or a gateway that was away, has left.
const AGAIN: Duration = Duration::from_millis(50);

/// The pause after a sweep that put something off. The limit gives a second's worth at once, so an earlier
/// sweep is wasted.
const ONCE_REFILLED: Duration = Duration::from_millis(500);

/// How often payments whose time is over are looked for while the gateway is away. Where that takes long, the
/// searches have about a twentieth of the time.
const EXPIRY: Duration = Duration::from_secs(1);
const EXPIRY_SHARE: u32 = 20;

/// The result of a sweep.
#[derive(Default)]
struct Swept {
    found: usize,
    /// Whether the limit let through fewer than were found.
    has_put_off: bool,
}

/// What the sweep remembers from one time to the next.
#[derive(Default)]
struct Memory {
    watermark: Watermark,
    /// When to look for payments whose time is over. None means now.
    expiry_at: Option<Instant>,
}

/// When this worker last swept, which shows that it is at work.
#[derive(Debug)]
pub(crate) struct LastSweep {
    started: Instant,
    /// The time of the last sweep, in milliseconds after `started`.
    at: AtomicU64,
}

impl LastSweep {
    /// A worker that starts now counts as having swept now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), at: AtomicU64::new(0) }
    }

    /// How long ago the last sweep was.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.at.load(Ordering::Relaxed)))
    }

    fn is_now(&self) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(at, Ordering::Relaxed);
    }
}

/// Sweeps every `interval` until `shutdown`. The interval varies by 20 %, so that workers started together do
/// not sweep together.
pub(crate) async fn run(context: &Context, interval: Duration, shutdown: &CancellationToken) {
    let mut goes_on = false;
    let mut has_put_off = false;
    let mut memory = Memory::default();
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
        let free = context.permits.available_permits().min(context.limit.burst()).min(context.breaker.room());
        let swept = sweep(context, interval.min(GRACE), free, &mut memory).await;
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

/// Takes no more than can be sent at once. The rest is for another worker, or for the next sweep.
async fn sweep(context: &Context, grace: Duration, free: usize, memory: &mut Memory) -> sqlx::Result<Swept> {
    if fault::sabotaged("no_sweep") {
        return Ok(Swept::default());
    }
    // No claim could lead to a call. What is due stays due, except for payments that have waited too long.
    if context.breaker.is_open() {
        decision::round(context).await;
        end_expired(context, memory).await?;
        return Ok(Swept::default());
    }
    point!("sweep.before");
    remedy::round(context).await?;
    decision::round(context).await;
    correction::round(context).await;
    refund::round(context).await;
    if free == 0 {
        see_who_waits(context, grace).await?;
        return Ok(Swept::default());
    }
    let found = overdue(context, grace, free, &mut memory.watermark).await?;
    point!("sweep.found");
    let mut swept = Swept { found: found.len(), has_put_off: false };
    for due in found {
        // Jobs may meanwhile have taken the free calls.
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

/// The payments that are due, oldest first. Where calls are scarce, only those whose merchant or purpose has
/// one left.
async fn overdue(
    context: &Context,
    grace: Duration,
    free: usize,
    watermark: &mut Watermark,
) -> sqlx::Result<Vec<Overdue>> {
    let (grace_ms, limit) = (database::millis(grace), i64::try_from(free).unwrap_or(i64::MAX));
    let gateway = context.gateway_name();
    if context.shares.are_scarce() {
        let quota = context.shares.quota();
        let (full, looks) = (quota.full(), quota.looks.min(limit));
        return store::overdue_fairly(&context.pool, gateway, (grace_ms, limit), &full, looks).await;
    }
    let look = watermark.look();
    let overdue = store::overdue(&context.pool, gateway, (grace_ms, limit), look.since).await?;
    watermark.looked(look, overdue.reached);
    Ok(overdue.found)
}

/// Sees which merchant waits while every call is taken. From now on that merchant has its part of the calls.
async fn see_who_waits(context: &Context, grace: Duration) -> sqlx::Result<()> {
    let (gateway, seen) = (context.gateway_name(), context.shares.seen());
    let waiting = store::waiting_merchant(&context.pool, gateway, database::millis(grace), &seen).await?;
    waiting.into_iter().for_each(|merchant| context.shares.see(merchant));
    Ok(())
}

/// Ends payments whose time is over, which needs no gateway.
async fn end_expired(context: &Context, memory: &mut Memory) -> sqlx::Result<()> {
    let began = Instant::now();
    if memory.expiry_at.is_some_and(|at| at > began) {
        return Ok(());
    }
    let free = i64::try_from(context.permits.available_permits()).unwrap_or(i64::MAX);
    let expired = store::expired(&context.pool, context.gateway_name(), context.policy.max_age, free).await?;
    memory.expiry_at = Some(Instant::now() + EXPIRY.max(began.elapsed() * EXPIRY_SHARE));
    for payment in expired {
        let Ok(permit) = context.permits.clone().try_acquire_owned() else { break };
        context.attempts.spawn(attempt::end_expired(context.clone(), payment.into(), permit));
    }
    Ok(())
}
