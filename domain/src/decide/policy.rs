//! How one gateway is retried, looked up and given up on, and how long each wait is.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

/// The rules for one gateway. The settings of a worker give the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How many tries may follow the first one.
    pub max_retries: u32,
    /// The wait before the first retry.
    pub backoff_initial: Duration,
    /// The factor from one wait to the next; at least 1.
    pub backoff_multiplier: f64,
    /// The longest wait before a retry, without its random part.
    pub backoff_max: Duration,
    /// The waits before the looks that follow an unknown outcome. The last one repeats.
    pub verify_waits: Vec<Duration>,
    /// How long one exchange with the gateway may take.
    pub gateway_timeout: Duration,
    /// How long a look-up may still not show a charge that has arrived at the gateway.
    pub visibility: Duration,
    /// How long a doubt may last before the payment is voided, and how long a void may go without an answer
    /// before a person is told. Time in which the gateway was away does not count.
    pub doubt_deadline: Duration,
    /// What the gateway can do.
    pub profile: Profile,
    /// The age after which a payment ends: it fails if it was never sent. If it was, it is looked up, and
    /// voided if nothing is found.
    pub max_age: Duration,
}

/// The promises of one gateway. What it has not promised is never asked of it, and nothing is built upon it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// One key charges once.
    pub honours_keys: bool,
    /// How long the gateway keeps that promise, counted from the first request.
    pub key_retention: Duration,
    /// The gateway tells which charges were made under a key.
    pub looks_up: bool,
    /// The gateway undoes whatever a key charged, and closes the key: a charge that arrives later charges
    /// nothing.
    pub voids: bool,
}

/// A key is not trusted for its last hour: clocks differ, and a request can be on its way for a while.
const KEY_RETENTION_MARGIN: Duration = Duration::from_hours(1);

/// A margin beyond the longest wait: other workers may have other settings, and clocks are adjusted.
const TOO_FAR_MARGIN: Duration = Duration::from_mins(15);

/// The longest wait that a gateway's `Retry-After` gets.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The longest wait between two requests to void.
pub(super) const VOID_WAIT_MAX: Duration = Duration::from_mins(1);

/// The number of waits that are told apart; each later wait is as long.
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
    /// The wait before the `n`th retry, n from 1: `min(max, initial · multiplier^(n−1))`, ±10 % at
    /// random.
    #[must_use]
    pub fn backoff(&self, n: u32) -> Duration {
        let mut waits = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.backoff_initial)
            .with_max_interval(self.backoff_max)
            .with_multiplier(self.backoff_multiplier)
            .with_randomization_factor(0.1)
            .with_max_elapsed_time(None)
            .build();
        // Each step costs a moment, and the longest wait is reached long before this limit.
        let n = n.clamp(1, STEPS_MAX) as usize;
        std::iter::from_fn(|| waits.next_backoff()).nth(n - 1).unwrap_or(self.backoff_max)
    }

    /// The distance from now beyond which no wait of ours leads: the longest of all waits and of a `lease`. A
    /// margin is added for workers with other settings.
    #[must_use]
    pub fn too_far(&self, lease: Duration) -> Duration {
        let backoff = self.backoff_max.mul_f64(1.1).max(self.backoff_initial);
        let look = self.verify_waits.iter().copied().max().unwrap_or_default();
        TOO_FAR_MARGIN + backoff.max(look).max(lease).max(RETRY_AFTER_MAX)
    }

    /// The wait before the next look at a payment about which nothing can be learnt while the gateway is
    /// away.
    #[must_use]
    pub fn wait_for_gateway(&self) -> Duration {
        self.verify_waits.last().copied().unwrap_or(self.backoff_max)
    }

    /// The wait before the next look at an operation, after `looks` of them.
    #[must_use]
    pub fn look_wait(&self, looks: u32) -> Duration {
        self.verify_wait(looks)
    }

    /// Whether the gateway still does once what was first sent that long ago, however often it is sent.
    #[must_use]
    pub fn trusts_keys(&self, first_sent_age: Duration) -> bool {
        let Profile { honours_keys, key_retention, .. } = self.profile;
        honours_keys && first_sent_age < key_retention.saturating_sub(KEY_RETENTION_MARGIN)
    }

    /// The wait before the next look, after `looks` of them.
    pub(super) fn verify_wait(&self, looks: u32) -> Duration {
        let looks = usize::try_from(looks).unwrap_or(usize::MAX);
        self.verify_waits.get(looks).or(self.verify_waits.last()).copied().unwrap_or(self.backoff_max)
    }
}
