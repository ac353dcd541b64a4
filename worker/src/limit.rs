//! The limit: how many gateway calls (charges, look-ups, voids) this worker makes in a second.
//!
//! Invariant: a claim is taken only after the limit has given a call for it. Nobody waits for one, so neither a claim nor a
//! job nor a shutdown does: what gets none stays due and is put off to the sweep, which comes for it, oldest first. While
//! the sweep cannot take all that is due, jobs are put off too, so that what is new does not overtake what is old.

use std::sync::atomic::{AtomicBool, Ordering};

use governor::{DefaultDirectRateLimiter, RateLimiter};
use shared::metrics;
use shared::rate::Rate;

/// The limit of one worker.
#[derive(Debug)]
pub(crate) struct Limit {
    /// None where there is no limit.
    calls: Option<DefaultDirectRateLimiter>,
    /// Most calls at once.
    burst: usize,
    /// Whether the last sweep may have left something that is due.
    is_behind: AtomicBool,
}

impl Limit {
    /// `rate` is none where there is no limit.
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let burst = rate.map(|rate| usize::try_from(rate.quota().burst_size().get()));
        Self {
            calls: rate.map(|rate| RateLimiter::direct(rate.quota())),
            burst: burst.and_then(Result::ok).unwrap_or(usize::MAX),
            is_behind: AtomicBool::new(false),
        }
    }

    /// No sweep can take more.
    pub(crate) const fn burst(&self) -> usize {
        self.burst
    }

    /// Takes one call, for the oldest payment that is due.
    pub(crate) fn admits(&self) -> bool {
        let is_admitted = self.calls.as_ref().is_none_or(|calls| calls.check().is_ok());
        if !is_admitted {
            metrics::put_off();
        }
        is_admitted
    }

    /// Takes one call, for a payment that a job came for.
    pub(crate) fn admits_job(&self) -> bool {
        if self.calls.is_some() && self.is_behind.load(Ordering::Relaxed) {
            metrics::put_off();
            return false;
        }
        self.admits()
    }

    /// A sweep ended, and may have left something that is due, or not.
    pub(crate) fn swept(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let limit = Limit::new(None);
        limit.swept(true);

        assert!((0..10_000).all(|_| limit.admits() && limit.admits_job()));
        assert_eq!(limit.burst(), usize::MAX);
    }

    #[test]
    fn one_seconds_worth_goes_at_once_and_then_nothing() {
        let limit = Limit::new("0.001".parse().ok());

        assert!(limit.admits());
        assert!(!limit.admits() && !limit.admits_job());
    }

    #[test]
    fn while_the_sweep_is_behind_calls_are_for_what_it_finds() {
        let limit = Limit::new("1000000".parse().ok());
        limit.swept(true);
        assert!(!limit.admits_job());
        assert!(limit.admits());

        limit.swept(false);
        assert!(limit.admits_job());
    }
}
