//! The settings of a worker, which its environment gives.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use shared::gateway::settings::{self, GatewaySettings, variable};
use shared::payment::transition::Lease;
use shared::platform::config::{self, InvalidSetting};
use shared::platform::metrics::Buckets;
use shared::publish::address::Rules;
use shared::publish::seal::SealingKeys;

/// How a worker works; each field names its variable.
#[derive(Clone)]
pub struct Settings {
    /// `DATABASE_URL`: the hosts, the name and the user of the database.
    pub database_url: String,
    /// `DATABASE_CONNECTIONS`: the most connections, those of the queue's library included.
    pub max_connections: u32,
    /// The gateways that it asks: one by variables, or those of the file that `GATEWAYS` names.
    pub gateways: Vec<GatewaySettings>,
    /// `METRICS_ADDR`: where metrics and health can be read.
    pub metrics_addr: SocketAddr,
    /// `METRICS_BUCKETS_S`: the upper bounds of the buckets of what is measured, in seconds.
    pub buckets: Buckets,
    /// `LEASE_MS` and `SEND_WINDOW_MS`: how long a claim lasts, and how long after it a charge may be sent.
    pub lease: Lease,
    /// `SWEEP_MS`: the pause between two searches for due payments that nobody took.
    pub sweep: Duration,
    /// `RECONCILE_EVERY_MS`: the time between two reconciliations, on whichever worker.
    pub reconcile_every: Duration,
    /// `WEBHOOK_SECRET_KEY` or `WEBHOOK_SECRET_KEY_FILE`: what the secrets of endpoints are sealed under.
    /// Without it nothing is sent to endpoints.
    pub webhook_keys: Option<SealingKeys>,
    /// `WEBHOOK_ALLOW_HTTP` and `WEBHOOK_ALLOW_NETS`: which endpoints there may be beside https ones in
    /// public.
    pub webhook_rules: Rules,
    /// `WEBHOOK_TIMEOUT_MS`: how long one delivery may take.
    pub webhook_timeout: Duration,
    /// `WEBHOOK_HASTE`: how much sooner than by the schedule a delivery is tried again.
    pub webhook_haste: u32,
    /// `PRUNE_AFTER_MS`: how long finished jobs and workers that are gone can still be seen.
    pub prune_after: Duration,
}

/// The URL holds a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database_url: _, max_connections, gateways, metrics_addr, lease, .. } = self;
        let Self { buckets, sweep, reconcile_every, prune_after, .. } = self;
        let Self { webhook_keys, webhook_rules, webhook_timeout, webhook_haste, .. } = self;
        f.debug_struct("Settings")
            .field("max_connections", max_connections)
            .field("gateways", gateways)
            .field("metrics_addr", metrics_addr)
            .field("buckets", buckets)
            .field("lease", lease)
            .field("sweep", sweep)
            .field("reconcile_every", reconcile_every)
            .field("prune_after", prune_after)
            .field("webhook_keys", webhook_keys)
            .field("webhook_rules", webhook_rules)
            .field("webhook_timeout", webhook_timeout)
            .field("webhook_haste", webhook_haste)
            .finish_non_exhaustive()
    }
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
            gateways: vec![GatewaySettings::new(gateway_url)],
            metrics_addr: (Ipv4Addr::LOCALHOST, 9464).into(),
            buckets: Buckets::default(),
            lease: Lease { lease: Duration::from_secs(30), send_window: Duration::from_secs(5) },
            sweep: Duration::from_millis(500),
            reconcile_every: Duration::from_mins(1),
            webhook_keys: None,
            webhook_rules: Rules::default(),
            webhook_timeout: Duration::from_secs(15),
            webhook_haste: 1,
            prune_after: Duration::from_hours(1),
        }
    }

    /// Reads the environment. A variable that is not set has its default.
    ///
    /// # Errors
    /// A variable that is missing, cannot be read, or contradicts another.
    pub fn from_env() -> Result<Self, InvalidSetting> {
        let database_url = config::required("DATABASE_URL", "postgres://user:password@localhost/payonce")?;
        Self::from_env_with(database_url, settings::from_env()?)
    }

    /// Reads the environment, but for the database and the gateways.
    ///
    /// # Errors
    /// A variable that cannot be read, or contradicts another.
    pub fn from_env_with(
        database_url: String,
        gateways: Vec<GatewaySettings>,
    ) -> Result<Self, InvalidSetting> {
        let default = Self { gateways, ..Self::new(database_url, String::new()) };
        let settings = Self {
            max_connections: config::parsed("DATABASE_CONNECTIONS", default.max_connections)?,
            metrics_addr: config::parsed("METRICS_ADDR", default.metrics_addr)?,
            buckets: config::parsed("METRICS_BUCKETS_S", default.buckets)?,
            lease: Lease {
                lease: config::millis("LEASE_MS", default.lease.lease)?,
                send_window: config::millis("SEND_WINDOW_MS", default.lease.send_window)?,
            },
            sweep: config::millis("SWEEP_MS", default.sweep)?,
            reconcile_every: config::millis("RECONCILE_EVERY_MS", default.reconcile_every)?,
            prune_after: config::millis("PRUNE_AFTER_MS", default.prune_after)?,
            webhook_keys: SealingKeys::from_env("WEBHOOK_SECRET_KEY", "WEBHOOK_SECRET_KEY_FILE")?,
            webhook_rules: Rules::from_env("WEBHOOK_ALLOW_HTTP", "WEBHOOK_ALLOW_NETS")?,
            webhook_timeout: config::millis("WEBHOOK_TIMEOUT_MS", default.webhook_timeout)?,
            webhook_haste: config::parsed("WEBHOOK_HASTE", default.webhook_haste)?,
            ..default
        };
        settings.check()?;
        Ok(settings)
    }

    /// Refuses settings that cannot work, and those under which two workers could act on one payment in the
    /// ordinary course of things.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        let longest = self.lease.send_window + self.gateway_timeout() + LEASE_MARGIN;
        if longest >= self.lease.lease {
            let why = format!(
                "a claim of {:?} must outlast SEND_WINDOW_MS + GATEWAY_TIMEOUT_MS + {LEASE_MARGIN:?} = {longest:?}",
                self.lease.lease
            );
            return Err(InvalidSetting::new("LEASE_MS", why));
        }
        if self.gateway_timeout() * 3 >= shared::queue::ORPHANED_AFTER {
            let why = format!("must be less than a third of {:?}", shared::queue::ORPHANED_AFTER);
            return Err(InvalidSetting::new(&variable("timeout_ms"), why));
        }
        for (name, duration) in
            [("SEND_WINDOW_MS", self.lease.send_window), ("RECONCILE_EVERY_MS", self.reconcile_every)]
        {
            if duration.is_zero() {
                return Err(InvalidSetting::new(name, "must be more than zero"));
            }
        }
        for gateway in &self.gateways {
            gateway.check(|field, why| InvalidSetting::new(&variable(field), why))?;
        }
        if !(1..=10_000).contains(&self.sweep.as_millis()) {
            return Err(InvalidSetting::new("SWEEP_MS", "must be from 1 to 10000"));
        }
        if self.prune_after < shared::queue::ORPHANED_AFTER * 2 {
            let why = format!("must be at least {:?}", shared::queue::ORPHANED_AFTER * 2);
            return Err(InvalidSetting::new("PRUNE_AFTER_MS", why));
        }
        if !(1..=30_000).contains(&self.webhook_timeout.as_millis()) {
            return Err(InvalidSetting::new("WEBHOOK_TIMEOUT_MS", "must be from 1 to 30000"));
        }
        if !(1..=10_000).contains(&self.webhook_haste) {
            return Err(InvalidSetting::new("WEBHOOK_HASTE", "must be from 1 to 10000"));
        }
        let fewest = shared::queue::LIBRARY_CONNECTIONS + self.seats() + 2;
        if self.max_connections < fewest {
            let why = format!("a worker needs at least {fewest}");
            return Err(InvalidSetting::new("DATABASE_CONNECTIONS", why));
        }
        Ok(())
    }

    /// The connections that claiming and settling keep for themselves: two for each gateway.
    pub(crate) fn seats(&self) -> u32 {
        crate::desk::SEATS * u32::try_from(self.gateways.len()).unwrap_or(u32::MAX)
    }

    /// The longest time that an exchange with any of the gateways may take.
    pub(crate) fn gateway_timeout(&self) -> Duration {
        self.gateways.iter().map(|gateway| gateway.policy.gateway_timeout).max().unwrap_or_default()
    }

    /// The longest time since the last sweep of a worker that works.
    pub(crate) fn sweep_patience(&self) -> Duration {
        self.sweep * 3 + Duration::from_secs(5)
    }

    /// How long attempts under way may take to end after the shutdown began.
    pub(crate) fn drain_deadline(&self) -> Duration {
        self.gateway_timeout() + Duration::from_secs(5)
    }
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
        let with = |change: fn(&mut GatewaySettings)| {
            let mut settings = settings();
            settings.gateways.iter_mut().for_each(change);
            settings
        };
        for (wrong, setting) in [
            (with(|it| it.concurrency = 0), "WORKER_CONCURRENCY"),
            (Settings { sweep: Duration::ZERO, ..settings() }, "SWEEP_MS"),
            (Settings { max_connections: 8, ..settings() }, "DATABASE_CONNECTIONS"),
            (Settings { reconcile_every: Duration::ZERO, ..settings() }, "RECONCILE_EVERY_MS"),
            (with(|it| it.breaker_failures = 0), "BREAKER_FAILURES"),
            (with(|it| it.breaker_open = Duration::ZERO), "BREAKER_OPEN_MS"),
            (with(|it| it.policy.backoff_initial = Duration::ZERO), "BACKOFF_MS"),
            (with(|it| it.policy.backoff_max = Duration::from_millis(999)), "BACKOFF_MAX_MS"),
            (with(|it| it.policy.backoff_multiplier = 0.5), "BACKOFF_MULTIPLIER"),
            (with(|it| it.policy.verify_waits = vec![Duration::ZERO]), "VERIFY_WAITS_MS"),
        ] {
            let why = wrong.check().unwrap_err().to_string();
            assert!(why.starts_with(&format!("{setting}: ")), "{setting}: {why}");
        }
    }

    #[test]
    fn each_gateway_needs_two_connections_and_the_slowest_one_sets_the_lease() {
        let mut several = settings();
        several.gateways.push(GatewaySettings::new("http://127.0.0.1:8091".to_owned()));
        several.max_connections = 13;
        assert_eq!(several.check(), Ok(()));
        several.max_connections = 12;
        let why = several.check().unwrap_err().to_string();
        assert_eq!(why, "DATABASE_CONNECTIONS: a worker needs at least 13");

        several.max_connections = 13;
        several.gateways[1].policy.gateway_timeout = Duration::from_secs(9);
        several.lease.lease = Duration::from_secs(14);
        assert!(several.check().unwrap_err().to_string().starts_with("LEASE_MS: "));
    }

    #[test]
    fn a_worker_that_may_still_live_is_not_pruned() {
        let why = Settings { prune_after: Duration::from_secs(30), ..settings() }.check().unwrap_err();

        assert_eq!(why.to_string(), "PRUNE_AFTER_MS: must be at least 60s");
    }
}
