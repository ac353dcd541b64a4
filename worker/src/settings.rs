//! The settings of a worker, which its environment gives.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use domain::decide::{Policy, Profile};
use shared::gateway::ApiKey;
use shared::payment::transition::Lease;
use shared::platform::config::{self, InvalidSetting};
use shared::platform::rate::Rate;

/// How a worker works; each field names its variable.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `DATABASE_URL`: the hosts, the name and the user of the database.
    pub database_url: String,
    /// `DATABASE_CONNECTIONS`: the most connections, those of the queue's library included.
    pub max_connections: u32,
    /// `GATEWAY_URL`: where the gateway answers.
    pub gateway_url: String,
    /// `GATEWAY_API_KEY`, or the file that `GATEWAY_API_KEY_FILE` names: what the gateway gets with every
    /// call.
    pub gateway_key: Option<ApiKey>,
    /// `METRICS_ADDR`: where metrics and health can be read.
    pub metrics_addr: SocketAddr,
    /// `WORKER_CONCURRENCY`: gateway calls at a time.
    pub concurrency: usize,
    /// `LEASE_MS` and `SEND_WINDOW_MS`: how long a claim lasts, and how long after it a charge may be sent.
    pub lease: Lease,
    /// `SWEEP_MS`: the pause between two searches for due payments that nobody took.
    pub sweep: Duration,
    /// `RECONCILE_EVERY_MS`: the time between two reconciliations, on whichever worker.
    pub reconcile_every: Duration,
    /// `PRUNE_AFTER_MS`: how long finished jobs and workers that are gone can still be seen.
    pub prune_after: Duration,
    /// `BREAKER_FAILURES`: how many payments in a row the gateway must fail to stop the claims, if they are
    /// of several merchants.
    pub breaker_failures: usize,
    /// `BREAKER_OPEN_MS`: how long claims then stop before the door is read, and one payment is tried.
    pub breaker_open: Duration,
    /// `GATEWAY_RATE_PER_S`: gateway calls in a second. None sets no limit.
    pub gateway_rate: Option<Rate>,
    /// `GATEWAY_TIMEOUT_MS`, `VISIBILITY_MS`, `DOUBT_DEADLINE_MS`, `RETRIES`, `BACKOFF_MS`,
    /// `BACKOFF_MAX_MS`, `BACKOFF_MULTIPLIER`, `VERIFY_WAITS_MS`, `PAYMENT_MAX_AGE_MS`; and what the
    /// gateway can do: `GATEWAY_HONOURS_KEYS`, `GATEWAY_KEY_RETENTION_MS`,
    /// `GATEWAY_LOOKUP_SUPPORTED`, `GATEWAY_VOID_SUPPORTED`.
    pub policy: Policy,
}

/// What is left of the lease for the statements around a call. A gateway call and its settling must end well
/// before the lease does.
const LEASE_MARGIN: Duration = Duration::from_millis(100);

impl Settings {
    /// The defaults, for this database and this gateway.
    #[must_use]
    pub fn new(database_url: String, gateway_url: String) -> Self {
        Self {
            database_url,
            max_connections: 16,
            gateway_url,
            gateway_key: None,
            metrics_addr: (Ipv4Addr::LOCALHOST, 9464).into(),
            concurrency: 256,
            lease: Lease { lease: Duration::from_secs(30), send_window: Duration::from_secs(5) },
            sweep: Duration::from_millis(500),
            reconcile_every: Duration::from_mins(1),
            prune_after: Duration::from_hours(1),
            breaker_failures: 5,
            breaker_open: Duration::from_mins(1),
            gateway_rate: None,
            policy: Policy::default(),
        }
    }

    /// Reads the environment. A variable that is not set has its default.
    ///
    /// # Errors
    /// A variable that is missing, cannot be read, or contradicts another.
    pub fn from_env() -> Result<Self, InvalidSetting> {
        let database_url = config::required("DATABASE_URL", "postgres://user:password@localhost/payonce")?;
        let gateway_url = config::required("GATEWAY_URL", "http://127.0.0.1:8090")?;
        Self::from_env_at(database_url, gateway_url)
    }

    /// Reads the environment, but for the addresses of the database and the gateway.
    ///
    /// # Errors
    /// A variable that cannot be read, or contradicts another.
    pub fn from_env_at(database_url: String, gateway_url: String) -> Result<Self, InvalidSetting> {
        let default = Self::new(database_url, gateway_url);
        let settings = Self {
            gateway_key: config::secret("GATEWAY_API_KEY", "GATEWAY_API_KEY_FILE")?
                .map(|key| ApiKey::new(&key))
                .transpose()?,
            max_connections: config::parsed("DATABASE_CONNECTIONS", default.max_connections)?,
            metrics_addr: config::parsed("METRICS_ADDR", default.metrics_addr)?,
            concurrency: config::parsed("WORKER_CONCURRENCY", default.concurrency)?,
            lease: Lease {
                lease: config::millis("LEASE_MS", default.lease.lease)?,
                send_window: config::millis("SEND_WINDOW_MS", default.lease.send_window)?,
            },
            sweep: config::millis("SWEEP_MS", default.sweep)?,
            reconcile_every: config::millis("RECONCILE_EVERY_MS", default.reconcile_every)?,
            prune_after: config::millis("PRUNE_AFTER_MS", default.prune_after)?,
            breaker_failures: config::parsed("BREAKER_FAILURES", default.breaker_failures)?,
            breaker_open: config::millis("BREAKER_OPEN_MS", default.breaker_open)?,
            gateway_rate: config::parsed_optional("GATEWAY_RATE_PER_S")?,
            policy: policy_from_env(default.policy)?,
            ..default
        };
        settings.check()?;
        Ok(settings)
    }

    /// Refuses settings that cannot work, and those under which two workers could act on one payment in the
    /// ordinary course of things.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        let longest = self.lease.send_window + self.policy.gateway_timeout + LEASE_MARGIN;
        if longest >= self.lease.lease {
            let why = format!(
                "a claim of {:?} must outlast SEND_WINDOW_MS + GATEWAY_TIMEOUT_MS + {LEASE_MARGIN:?} = {longest:?}",
                self.lease.lease
            );
            return Err(InvalidSetting::new("LEASE_MS", why));
        }
        if self.policy.gateway_timeout * 3 >= shared::queue::ORPHANED_AFTER {
            let why = format!("must be less than a third of {:?}", shared::queue::ORPHANED_AFTER);
            return Err(InvalidSetting::new("GATEWAY_TIMEOUT_MS", why));
        }
        for (name, duration) in [
            ("SEND_WINDOW_MS", self.lease.send_window),
            ("GATEWAY_TIMEOUT_MS", self.policy.gateway_timeout),
            ("BACKOFF_MS", self.policy.backoff_initial),
            ("RECONCILE_EVERY_MS", self.reconcile_every),
            ("BREAKER_OPEN_MS", self.breaker_open),
            ("VERIFY_WAITS_MS", self.policy.verify_waits.iter().min().copied().unwrap_or_default()),
        ] {
            if duration.is_zero() {
                return Err(InvalidSetting::new(name, "must be more than zero"));
            }
        }
        if self.policy.backoff_initial > self.policy.backoff_max {
            return Err(InvalidSetting::new("BACKOFF_MAX_MS", "must not be less than BACKOFF_MS"));
        }
        if !(1.0..=10.0).contains(&self.policy.backoff_multiplier) {
            return Err(InvalidSetting::new("BACKOFF_MULTIPLIER", "must be from 1 to 10"));
        }
        for (name, value) in [
            ("WORKER_CONCURRENCY", self.concurrency),
            ("SWEEP_MS", millis(self.sweep)),
            ("BREAKER_FAILURES", self.breaker_failures),
        ] {
            if !(1..=10_000).contains(&value) {
                return Err(InvalidSetting::new(name, "must be from 1 to 10000"));
            }
        }
        if self.prune_after < shared::queue::ORPHANED_AFTER * 2 {
            let why = format!("must be at least {:?}", shared::queue::ORPHANED_AFTER * 2);
            return Err(InvalidSetting::new("PRUNE_AFTER_MS", why));
        }
        let fewest = shared::queue::LIBRARY_CONNECTIONS + crate::SEATS + 2;
        if self.max_connections < fewest {
            let why = format!("a worker needs at least {fewest}");
            return Err(InvalidSetting::new("DATABASE_CONNECTIONS", why));
        }
        Ok(())
    }

    /// The longest time since the last sweep of a worker that works.
    pub(crate) fn sweep_patience(&self) -> Duration {
        self.sweep * 3 + Duration::from_secs(5)
    }

    /// How long attempts under way may take to end after the shutdown began.
    pub(crate) fn drain_deadline(&self) -> Duration {
        self.policy.gateway_timeout + Duration::from_secs(5)
    }
}

fn policy_from_env(default: Policy) -> Result<Policy, InvalidSetting> {
    Ok(Policy {
        max_retries: config::parsed("RETRIES", default.max_retries)?,
        backoff_initial: config::millis("BACKOFF_MS", default.backoff_initial)?,
        backoff_max: config::millis("BACKOFF_MAX_MS", default.backoff_max)?,
        backoff_multiplier: config::parsed("BACKOFF_MULTIPLIER", default.backoff_multiplier)?,
        gateway_timeout: config::millis("GATEWAY_TIMEOUT_MS", default.gateway_timeout)?,
        visibility: config::millis("VISIBILITY_MS", default.visibility)?,
        doubt_deadline: config::millis("DOUBT_DEADLINE_MS", default.doubt_deadline)?,
        profile: profile_from_env(default.profile)?,
        max_age: config::millis("PAYMENT_MAX_AGE_MS", default.max_age)?,
        verify_waits: config::millis_list("VERIFY_WAITS_MS", default.verify_waits)?,
    })
}

fn profile_from_env(default: Profile) -> Result<Profile, InvalidSetting> {
    Ok(Profile {
        honours_keys: config::parsed("GATEWAY_HONOURS_KEYS", default.honours_keys)?,
        key_retention: config::millis("GATEWAY_KEY_RETENTION_MS", default.key_retention)?,
        looks_up: config::parsed("GATEWAY_LOOKUP_SUPPORTED", default.looks_up)?,
        voids: config::parsed("GATEWAY_VOID_SUPPORTED", default.voids)?,
    })
}

fn millis(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("postgres://localhost/payonce".to_owned(), "http://127.0.0.1:8090".to_owned())
    }

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(settings().check(), Ok(()));
    }

    #[test]
    fn a_lease_that_a_gateway_call_can_outlast_is_refused() {
        let mut short = settings();
        short.lease.lease = Duration::from_secs(10);

        let why = short.check().unwrap_err().to_string();

        assert!(why.starts_with("LEASE_MS: a claim of 10s must outlast"), "{why}");
    }

    #[test]
    fn a_worker_that_could_do_nothing_is_refused_by_the_setting_that_says_so() {
        let with = |change: fn(&mut Policy)| {
            let mut settings = settings();
            change(&mut settings.policy);
            settings
        };
        for (wrong, setting) in [
            (Settings { concurrency: 0, ..settings() }, "WORKER_CONCURRENCY"),
            (Settings { sweep: Duration::ZERO, ..settings() }, "SWEEP_MS"),
            (Settings { max_connections: 8, ..settings() }, "DATABASE_CONNECTIONS"),
            (Settings { reconcile_every: Duration::ZERO, ..settings() }, "RECONCILE_EVERY_MS"),
            (Settings { breaker_failures: 0, ..settings() }, "BREAKER_FAILURES"),
            (Settings { breaker_open: Duration::ZERO, ..settings() }, "BREAKER_OPEN_MS"),
            (with(|policy| policy.backoff_initial = Duration::ZERO), "BACKOFF_MS"),
            (with(|policy| policy.backoff_max = Duration::from_millis(999)), "BACKOFF_MAX_MS"),
            (with(|policy| policy.backoff_multiplier = 0.5), "BACKOFF_MULTIPLIER"),
            (with(|policy| policy.verify_waits = vec![Duration::ZERO]), "VERIFY_WAITS_MS"),
        ] {
            let why = wrong.check().unwrap_err().to_string();
            assert!(why.starts_with(&format!("{setting}: ")), "{setting}: {why}");
        }
    }

    #[test]
    fn a_worker_that_may_still_live_is_not_pruned() {
        let why = Settings { prune_after: Duration::from_secs(30), ..settings() }.check().unwrap_err();

        assert_eq!(why.to_string(), "PRUNE_AFTER_MS: must be at least 60s");
    }
}
