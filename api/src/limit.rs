//! The limits of each API key: how many requests a second, how many at a time, how many that wait.
//!
//! Requests a second are limited over all API processes. Each enforces a share, and shares follow use:
//!
//! 1. Each process says once a second what each key's requests want of it, and which share of the limit it
//!    asks for (`law.rs`). What all want beyond the limit is cut in proportion, and what they leave is shared
//!    alike. Where somebody waits for a share, the next heartbeat comes after a quarter of a second.
//! 2. The database grants, one process at a time (`share_limits` in `migrations/`). Granted shares sum up to
//!    1. Who comes while others hold all gets half of what is left of 1.05.
//! 3. A process lowers its share before it says so, and raises it after it was granted. So the shares in use
//!    are never more than those in the database, whatever is late, lost or crossed.
//! 4. A share lasts for 8 s without a heartbeat; the database gives it to others after 10 s. A process that
//!    has lost the database goes on with its last share for so long. Then it refuses with 503: without the
//!    database it could accept nothing either.
//! 5. A bucket begins full only where no other process has the key, and a share that grows brings no request
//!    with it. So all processes admit at most one burst, and 1.05 of the rate.
//!
//! A key's limits are learnt with the first request that this process sees of it, and read again in the
//! background. No later request waits for that. They are limits and no permissions: whether a key is valid,
//! each request's own statement finds out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::ids::KeyId;
use shared::merchant::auth::{Caller, Presented};
use shared::merchant::limits::{self, KeyLimits, Traffic};
use shared::platform::metrics::{self, Refusal};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::problem::Problem;

mod bucket;
mod known;
mod law;
mod told;

use bucket::Taken;
pub(crate) use known::Knowledge;
use known::{Count, Known};
pub(crate) use told::{Slot, told};

/// The pause between two looks at what the keys' requests want.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The pause between two heartbeats, unless one is urgent.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The bounds of what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The requests at a time of all keys.
    pub(crate) all: usize,
    /// The requests at a time of one key.
    pub(crate) per_key: usize,
    /// The reads of one key that wait for a payment.
    pub(crate) waits: usize,
}

/// All limits of all keys.
pub(crate) struct Limit {
    pool: PgPool,
    process: Uuid,
    bounds: Bounds,
    known: Mutex<Known>,
    under_way: AtomicUsize,
    /// Held during a heartbeat. Those who wait for it are served by the next one together.
    beating: tokio::sync::Mutex<()>,
    has_told: AtomicBool,
}

impl Limit {
    /// Limits for keys, with these for a key that has none of its own.
    pub(crate) fn new(pool: PgPool, default: KeyLimits, bounds: Bounds) -> Self {
        Self {
            pool,
            process: Uuid::now_v7(),
            bounds,
            known: Mutex::new(Known::new(default)),
            under_way: AtomicUsize::new(0),
            beating: tokio::sync::Mutex::new(()),
            has_told: AtomicBool::new(false),
        }
    }

    /// What is known of a secret.
    pub(crate) fn knowledge(&self, secret: Presented) -> Knowledge {
        self.known().of(secret, Instant::now())
    }

    /// Notes whose a secret is and what its limits are.
    pub(crate) fn learn(&self, secret: Presented, caller: Option<Caller>) {
        self.known().learn(secret, caller, Instant::now());
    }

    /// Lets a request of this key in, or says why not. The slot has from then on what its answer tells of the
    /// limit, and its place among what is under way.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        key: KeyId,
        traffic: Traffic,
        slot: &Slot,
    ) -> Result<(), Problem> {
        let place = self.enter(key, traffic, slot)?;
        let mut taken = self.known().take(key, traffic, Instant::now());
        if let Some((Taken::Ungranted, _)) = taken {
            self.join(key, traffic).await?;
            taken = self.known().take(key, traffic, Instant::now());
        }
        slot.fill(key, place, taken.map(|(_, standing)| (traffic, standing)));
        match taken {
            None | Some((Taken::Admitted, _)) => Ok(()),
            Some((Taken::Refused, standing)) => {
                metrics::refused(if traffic == Traffic::Writes { Refusal::Writes } else { Refusal::Reads });
                Err(Problem::TooManyRequests { retry_after_s: standing.next_s })
            }
            Some((Taken::Ungranted, _)) => {
                metrics::refused(Refusal::NoShare);
                Err(Problem::ReducedCapacity)
            }
        }
    }

    fn enter(self: &Arc<Self>, key: KeyId, traffic: Traffic, slot: &Slot) -> Result<Place, Problem> {
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= self.bounds.all {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            metrics::refused(Refusal::All);
            return Err(Problem::Unavailable);
        }
        let mut known = self.known();
        if known.enter(key, Count::UnderWay, self.bounds.per_key) {
            return Ok(Place { limit: self.clone(), key, count: Count::UnderWay });
        }
        let standing = known.standing(key, traffic, Instant::now());
        drop(known);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        slot.tell(standing.map(|standing| (traffic, standing)));
        metrics::refused(Refusal::UnderWay);
        Err(Problem::TooManyUnderWay(self.bounds.per_key))
    }

    /// Has a request that waits counted among those, and no more among the others.
    pub(crate) fn wait(self: &Arc<Self>, slot: &Slot) -> Result<(), Problem> {
        let Some(key) = slot.key() else { return Ok(()) };
        if !self.known().enter(key, Count::Waits, self.bounds.waits) {
            metrics::refused(Refusal::Waits);
            return Err(Problem::TooManyWaits(self.bounds.waits));
        }
        slot.change(Place { limit: self.clone(), key, count: Count::Waits });
        Ok(())
    }

    /// Asks for a share at once, as the first request of a key does.
    async fn join(&self, key: KeyId, traffic: Traffic) -> Result<(), Problem> {
        let _one_at_a_time = self.beating.lock().await;
        if !self.known().is_granted(key, traffic, Instant::now()) {
            self.beat().await?;
        }
        Ok(())
    }

    /// Keeps shares as they should be, until `shutdown`.
    pub(crate) async fn keep(&self, shutdown: CancellationToken) {
        let mut last = Instant::now();
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let is_urgent = self.known().is_urgent(Instant::now());
            if !is_urgent && last.elapsed() < BEAT_EVERY {
                continue;
            }
            last = Instant::now();
            let _one_at_a_time = self.beating.lock().await;
            if let Err(why) = self.beat().await {
                tracing::warn!(%why, "could not say what the keys' limits are used for");
            }
        }
    }

    /// Gives all shares back.
    pub(crate) async fn leave(&self) {
        if self.has_told.load(Ordering::Relaxed)
            && let Err(why) = limits::share(&self.pool, self.process, &[]).await
        {
            tracing::debug!(%why, "shares of limits were not given back");
        }
    }

    /// One heartbeat, and another one if the answer shows that others wait for what this process has. Without
    /// a limit there is none.
    async fn beat(&self) -> sqlx::Result<()> {
        for _ in 0..2 {
            let asked_at = Instant::now();
            let asks = self.known().asks(asked_at);
            if asks.is_empty() && !self.has_told.load(Ordering::Relaxed) {
                return Ok(());
            }
            let grants = limits::share(&self.pool, self.process, &asks).await?;
            self.has_told.store(!asks.is_empty(), Ordering::Relaxed);
            let now = Instant::now();
            let mut known = self.known();
            known.granted(&grants, asked_at, now);
            if !known.has_too_much() {
                break;
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among what is under way. Dropped, it is free again.
pub(crate) struct Place {
    limit: Arc<Limit>,
    key: KeyId,
    count: Count,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limit.known().leave(self.key, self.count);
        if self.count == Count::UnderWay {
            self.limit.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
