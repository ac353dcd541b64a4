//! The limit: how many requests an API key may make in a second.
//!
//! Each key has a bucket of its own in this process. Only a valid key gets one, and a full bucket is
//! forgotten, so no client can fill the memory. A request beyond the limit is refused before anything but its
//! key is read.

use std::time::Duration;

use domain::ids::KeyId;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use shared::platform::rate::Rate;

use crate::problem::Problem;

/// The pause between two searches for full buckets.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// The buckets of all keys. None where there is no limit.
pub(crate) struct Limit(Option<DefaultKeyedRateLimiter<KeyId>>);

impl Limit {
    /// A limit of `rate`. None sets no limit.
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self(rate.map(|rate| RateLimiter::keyed(rate.quota())))
    }

    pub(crate) const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Takes one request from the key's bucket. An empty bucket is a problem that says how long to wait.
    pub(crate) fn take(&self, key: KeyId) -> Result<(), Problem> {
        let Some(buckets) = &self.0 else { return Ok(()) };
        buckets.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(buckets.clock().now());
            // The wait in whole seconds, rounded up so that no retry comes too early.
            let retry_after_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem::TooManyRequests { retry_after_s: retry_after_s.max(1) }
        })
    }

    /// Forgets full buckets, once a minute, without end.
    pub(crate) async fn keep_small(&self) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            self.forget();
        }
    }

    fn forget(&self) {
        if let Some(buckets) = &self.0 {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: &str) -> Limit {
        Limit::new(Some(rate.parse().unwrap()))
    }

    #[test]
    fn a_bucket_that_is_empty_is_remembered() {
        let limit = limit("0.001");
        let key = KeyId::generate();
        assert_eq!(limit.take(key), Ok(()));

        limit.forget();

        assert!(matches!(limit.take(key), Err(Problem::TooManyRequests { retry_after_s: 1..=1000 })));
    }

    #[test]
    fn a_bucket_that_is_full_again_is_forgotten() {
        let limit = limit("1000000");
        limit.take(KeyId::generate()).unwrap();

        let is_forgotten = || {
            limit.forget();
            limit.0.as_ref().is_some_and(RateLimiter::is_empty)
        };

        assert!((0..1_000_000).any(|_| is_forgotten()));
    }
}
