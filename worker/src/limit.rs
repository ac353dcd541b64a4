//! The limit: how many gateway calls (charges, look-ups, voids) this worker makes in a second. It makes as
//! many as it is set to, and fewer where the gateway says that they are too many. Each such answer halves
//! the pace, at most once a second; each other answer makes it a little faster (additive increase,
//! multiplicative decrease).
//!
//! Invariant: a claim is taken only after the limit has given a call for it. Nobody waits for a call, so
//! neither a claim nor a job nor a shutdown does. A payment that gets none stays due and is put off to the
//! sweep, which takes the oldest first. While the sweep cannot take all that is due, jobs are put off too, so
//! that new payments do not overtake old ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::ids::GatewayName;
use domain::outcome::{FailureKind, Health, health};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use shared::platform::metrics;
use shared::platform::rate::Rate;

/// The limit of one worker at one gateway.
#[derive(Debug)]
pub(crate) struct Limit {
    gateway: GatewayName,
    /// None where there is no limit.
    calls: Option<DefaultDirectRateLimiter>,
    /// The most calls at once.
    burst: usize,
    /// Whether the last sweep may have left a payment that is due.
    is_behind: AtomicBool,
    pace: Mutex<Pace>,
}

/// The slowest pace, in calls a second, however often the gateway says that it is too much.
const SLOWEST: f64 = 0.1;

/// The pace at which a gateway that has had too much is asked.
#[derive(Debug)]
struct Pace {
    /// Calls in a second. None while the gateway has not complained.
    per_s: Option<f64>,
    /// When the next call may be made.
    next_at: Instant,
    /// When the pace was last halved.
    halved_at: Option<Instant>,
    /// When the present second began. Below, the calls in it and in the one before, which give the speed
    /// so far.
    second: Instant,
    calls: f64,
    calls_before: f64,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { per_s: None, next_at: now, halved_at: None, second: now, calls: 0.0, calls_before: 0.0 }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            let is_next = now.duration_since(self.second) < Duration::from_secs(2);
            self.calls_before = if is_next { self.calls } else { 0.0 };
            (self.second, self.calls) = (now, 0.0);
        }
        if let Some(per_s) = self.per_s {
            if now < self.next_at {
                return false;
            }
            self.next_at = self.next_at.max(now) + Duration::from_secs_f64(1.0 / per_s);
        }
        self.calls += 1.0;
        true
    }

    fn heard(&mut self, is_too_much: bool, now: Instant) {
        if is_too_much {
            if self.halved_at.is_some_and(|at| now.duration_since(at) < Duration::from_secs(1)) {
                return;
            }
            self.halved_at = Some(now);
            let pace = self.per_s.unwrap_or_else(|| self.calls.max(self.calls_before).max(1.0));
            self.per_s = Some((pace / 2.0).max(SLOWEST));
        } else if let Some(per_s) = self.per_s {
            // A pace beyond `FASTEST` is no limit any more.
            self.per_s = Some(per_s + 1.0).filter(|per_s| *per_s < FASTEST);
        }
    }
}

/// Calls in a second beyond which a pace is no limit.
const FASTEST: f64 = 10_000.0;

impl Limit {
    /// A limit of `rate` for the calls of a gateway. None sets no limit.
    pub(crate) fn new(gateway: GatewayName, rate: Option<Rate>) -> Self {
        let burst = rate.map(|rate| usize::try_from(rate.quota().burst_size().get()));
        Self {
            gateway,
            calls: rate.map(|rate| RateLimiter::direct(rate.quota())),
            burst: burst.and_then(Result::ok).unwrap_or(usize::MAX),
            is_behind: AtomicBool::new(false),
            pace: Mutex::new(Pace::new(Instant::now())),
        }
    }

    /// Takes that a call was answered, or was not, and how it failed, if it did.
    pub(crate) fn heard(&self, failure: Option<FailureKind>) {
        let is_answer = matches!(health(failure), Health::Answers);
        if is_answer {
            self.pace().heard(failure == Some(FailureKind::RateLimited), Instant::now());
        }
    }

    /// A poisoned lock is as good as any: no code that holds it can leave the pace half changed.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most calls that one sweep can take.
    pub(crate) const fn burst(&self) -> usize {
        self.burst
    }

    /// Takes one call, for the oldest payment that is due.
    pub(crate) fn admits(&self) -> bool {
        let is_admitted = self.calls.as_ref().is_none_or(|calls| calls.check().is_ok())
            && self.pace().admits(Instant::now());
        if !is_admitted {
            metrics::put_off(&self.gateway);
        }
        is_admitted
    }

    /// Takes one call, for a payment that a job came for.
    pub(crate) fn admits_job(&self) -> bool {
        if (self.calls.is_some() || self.pace().per_s.is_some()) && self.is_behind.load(Ordering::Relaxed) {
            metrics::put_off(&self.gateway);
            return false;
        }
        self.admits()
    }

    /// Takes that a sweep ended, and whether it may have left a payment that is due.
    pub(crate) fn swept(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let limit = Limit::new(GatewayName::default(), None);
        limit.swept(true);

        assert!((0..10_000).all(|_| limit.admits() && limit.admits_job()));
        assert_eq!(limit.burst(), usize::MAX);
    }

    #[test]
    fn one_seconds_worth_goes_at_once_and_then_nothing() {
        let limit = Limit::new(GatewayName::default(), "0.001".parse().ok());

        assert!(limit.admits());
        assert!(!limit.admits() && !limit.admits_job());
    }

    #[test]
    fn a_gateway_that_has_had_too_much_is_asked_half_as_often_and_then_ever_faster() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((0..100).all(|_| pace.admits(start)));
        for _ in 0..100 {
            pace.heard(true, start);
        }
        assert_eq!(pace.per_s, Some(50.0), "halved once for all that left together");

        let admitted = |pace: &mut Pace, from: Instant| {
            (0..1_000).filter(|ms| pace.admits(from + Duration::from_millis(*ms))).count()
        };
        assert_eq!(admitted(&mut pace, start + Duration::from_secs(1)), 50);
        for secs in 2..20 {
            pace.heard(true, start + Duration::from_secs(secs));
        }
        assert_eq!(pace.per_s, Some(SLOWEST));
        pace.heard(false, start + Duration::from_secs(21));
        assert_eq!(pace.per_s, Some(SLOWEST + 1.0));
        for _ in 0..10_000 {
            pace.heard(false, start + Duration::from_secs(22));
        }
        assert_eq!(pace.per_s, None);
        assert!((0..1_000).all(|_| pace.admits(start + Duration::from_secs(23))));
    }

    #[test]
    fn while_the_sweep_is_behind_calls_are_for_what_it_finds() {
        let limit = Limit::new(GatewayName::default(), "1000000".parse().ok());
        limit.swept(true);
        assert!(!limit.admits_job());
        assert!(limit.admits());

        limit.swept(false);
        assert!(limit.admits_job());
    }
}
