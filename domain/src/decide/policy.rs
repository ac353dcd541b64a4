//! How one gateway is retried, looked up and given up on, and how long each wait is.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

/// How one gateway is retried, looked up and given up on.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Tries after the first one.
    pub max_retries: u32,
    /// Wait before the first retry.
    pub backoff_initial: Duration,
    /// Each wait is so many times the one before it; at least 1.
    pub backoff_multiplier: f64,
    /// The longest wait before a retry.
    pub backoff_max: Duration,
    /// Waits before the looks that follow an unknown outcome; the last one repeats.
    pub verify_waits: Vec<Duration>,
    /// How long one exchange with the gateway may take.
    pub gateway_timeout: Duration,
    /// How long after a charge arrived at the gateway a lookup may still not show it.
    pub visibility: Duration,
    /// How long doubt may last, from its first moment, before the payment is voided; and how long a void may go without
    /// an answer before a person is told. Time in which the gateway was away does not count.
    pub doubt_deadline: Duration,
    /// What the gateway can do.
    pub profile: Profile,
    /// How long a payment that was never in doubt may wait for a gateway that is away.
    pub max_age: Duration,
}

/// What a gateway promises: what it has not promised is never asked of it, and nothing is built upon it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// One key charges once.
    pub honours_keys: bool,
    /// For how long it keeps that promise, from the first request on.
    pub key_retention: Duration,
    /// It tells which charges were made under a key.
    pub looks_up: bool,
    /// It undoes whatever a key charged, and closes the key: a charge that arrives later charges nothing.
    pub voids: bool,
}

/// A key is not trusted for its last hour: clocks differ, and a request can be on its way for a while.
pub(super) const KEY_RETENTION_MARGIN: Duration = Duration::from_hours(1);

/// Workers with other settings may run beside, and clocks are adjusted.
const TOO_FAR_MARGIN: Duration = Duration::from_mins(15);

/// No gateway makes us wait longer than this by `Retry-After`.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// A void that is not answered is asked for again at least so often.
pub(super) const VOID_WAIT_MAX: Duration = Duration::from_mins(1);

/// Waits are told apart up to this number; what comes later waits as long.
const STEPS_MAX: u32 = 1_000;

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff_initial: Duration::from_secs(1),
            backoff_multiplier: 2.0,
            backoff_max: Duration::from_secs(10),
            verify_waits: [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000]
                .map(Duration::from_millis)
                .to_vec(),
            gateway_timeout: Duration::from_secs(5),
            visibility: Duration::from_secs(10),
            doubt_deadline: Duration::from_mins(15),
            profile: Profile {
                honours_keys: true,
                key_retention: Duration::from_hours(24),
                looks_up: true,
                voids: true,
            },
            max_age: Duration::from_hours(24),
        }
    }
}

impl Policy {
    /// The wait before the `n`th retry, n from 1: `min(max, initial · multiplier^(n−1))`, ±10 % at random.
    #[must_use]
    pub fn backoff(&self, n: u32) -> Duration {
        let mut waits = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.backoff_initial)
            .with_max_interval(self.backoff_max)
            .with_multiplier(self.backoff_multiplier)
            .with_randomization_factor(0.1)
            .with_max_elapsed_time(None)
            .build();
        // The longest wait is reached long before that, and each step costs a moment.
        let n = n.clamp(1, STEPS_MAX) as usize;
        std::iter::from_fn(|| waits.next_backoff()).nth(n - 1).unwrap_or(self.backoff_max)
    }

    /// What is due later than this from now got that from no wait of ours: the longest of them, with claims of `lease`, and a
    /// margin for workers with other settings.
    #[must_use]
    pub fn too_far(&self, lease: Duration) -> Duration {
        let backoff = self.backoff_max.mul_f64(1.1).max(self.backoff_initial);
        let look = self.verify_waits.iter().copied().max().unwrap_or_default();
        TOO_FAR_MARGIN + backoff.max(look).max(lease).max(RETRY_AFTER_MAX)
    }

    /// The wait before the next look at a payment about which nothing can be learnt while the gateway is away.
    #[must_use]
    pub fn wait_for_gateway(&self) -> Duration {
        self.verify_waits.last().copied().unwrap_or(self.backoff_max)
    }

    /// The wait before the next look, after `looks` of them.
    pub(super) fn verify_wait(&self, looks: u32) -> Duration {
        let looks = usize::try_from(looks).unwrap_or(usize::MAX);
        self.verify_waits.get(looks).or(self.verify_waits.last()).copied().unwrap_or(self.backoff_max)
    }
}
