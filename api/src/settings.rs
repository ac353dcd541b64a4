//! The settings of the API, which its environment gives.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use shared::merchant::jwt::JwtSettings;
use shared::merchant::limits::KeyLimits;
use shared::merchant::pepper::Peppers;
use shared::merchant::secret;
use shared::platform::config::{self, InvalidSetting};
use shared::platform::listener::TlsFiles;
use shared::platform::metrics::Buckets;
use shared::platform::rate::Rate;
use shared::publish::address::Rules;
use shared::publish::seal::SealingKeys;
use sqlx::PgPool;

use crate::admin_key;
use crate::cors::Origins;
use crate::limit::{Bounds, Limit};

/// The wrong keys that an address may bring in a minute, unless something else is said.
const ADMIN_TRIES_PER_MIN: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// The fewest and the most characters of a key that the environment brings.
const API_KEY_MIN: usize = 16;
const API_KEY_MAX: usize = 255;

/// How the API serves; each field names its variable.
#[derive(Clone)]
pub struct Settings {
    /// `DATABASE_URL`: the hosts, the name and the user of the database.
    pub database_url: String,
    /// `DATABASE_CONNECTIONS`: the most connections.
    pub max_connections: u32,
    /// `API_ADDR`: the listener of the API.
    pub api_addr: SocketAddr,
    /// `OPS_ADDR`: the listener of the operators' pages.
    pub ops_addr: SocketAddr,
    /// `BOARD_ADDR`: the listener of the job board. None where there is no board.
    pub board_addr: Option<SocketAddr>,
    /// `METRICS_ADDR`: where metrics can be read.
    pub metrics_addr: SocketAddr,
    /// `METRICS_BUCKETS_S`: the upper bounds of the buckets of what is measured, in seconds.
    pub buckets: Buckets,
    /// `METRICS_ON_API`: whether the listener of the API shows the metrics too.
    pub metrics_on_api: bool,
    /// `TLS_CERT_FILE` and `TLS_KEY_FILE`: with them the API, the operators' pages and the job board speak
    /// TLS and nothing else.
    pub tls: Option<TlsFiles>,
    /// `CORS_ORIGINS`: the origins whose pages may call the API from a browser.
    pub cors_origins: Origins,
    /// `ADMIN_KEY`: the password of the board and the operators' pages, for any user name, and the key of the
    /// admin's paths. Empty where there are only keys with names.
    pub admin_key: String,
    /// `ADMIN_KEYS`: the same for each person: a name and that person's own key.
    pub admin_keys: Vec<(String, String)>,
    /// `ADMIN_TRIES_PER_MIN`: how many wrong keys an address may bring in a minute where operators come in.
    pub admin_tries: NonZeroU32,
    /// What API keys are hashed with, which [`Peppers::from_env`] reads.
    pub peppers: Peppers,
    /// The issuer whose JWTs open what is their merchant's, which [`JwtSettings::from_env`] reads. None where
    /// only keys do.
    pub jwt: Option<JwtSettings>,
    /// `WEBHOOK_SECRET_KEY` or `WEBHOOK_SECRET_KEY_FILE`: what the secrets of endpoints are sealed under.
    /// Without it there are none.
    pub webhook_keys: Option<SealingKeys>,
    /// `WEBHOOK_ALLOW_HTTP` and `WEBHOOK_ALLOW_NETS`: which endpoints there may be beside https ones in
    /// public.
    pub webhook_rules: Rules,
    /// `API_KEY`: a key that the merchant `default` has from the start.
    pub api_key: Option<String>,
    /// `API_CONNECTIONS`: the most clients' connections to the API at a time.
    pub client_connections: usize,
    /// `CHAOS_MODE`: whether a client may ask, by a header, for a failure after its payment was recorded.
    pub chaos_mode: bool,
    /// `API_RATE_PER_S` and `API_RATE_BURST`: the requests that may change something, and those that only
    /// read, which an API key without limits of its own may make. None sets no limit.
    pub rate: Option<Rate>,
    /// `API_READS_PER_S` and `API_READS_BURST`: the same for reads alone. None: as many as the others.
    pub reads: Option<Rate>,
    /// `API_CONCURRENT`: the most requests with API keys at a time.
    pub concurrent: usize,
    /// `API_CONCURRENT_PER_KEY`: the most requests with one API key at a time.
    pub concurrent_per_key: usize,
    /// `API_WAITS_PER_KEY`: the most reads with one API key that wait for payments at a time.
    pub waits_per_key: usize,
}

impl Settings {
    /// The defaults, for this database, this admin key and these peppers.
    #[must_use]
    pub fn new(database_url: String, admin_key: String, peppers: Peppers) -> Self {
        Self {
            database_url,
            max_connections: 20,
            api_addr: (Ipv4Addr::LOCALHOST, 8080).into(),
            ops_addr: (Ipv4Addr::LOCALHOST, 8081).into(),
            board_addr: None,
            metrics_addr: (Ipv4Addr::LOCALHOST, 9460).into(),
            buckets: Buckets::default(),
            metrics_on_api: false,
            tls: None,
            cors_origins: Origins::default(),
            admin_key,
            admin_keys: Vec::new(),
            admin_tries: ADMIN_TRIES_PER_MIN,
            peppers,
            jwt: None,
            webhook_keys: None,
            webhook_rules: Rules::default(),
            api_key: None,
            client_connections: 4096,
            chaos_mode: false,
            rate: None,
            reads: None,
            concurrent: 8192,
            concurrent_per_key: 4096,
            waits_per_key: 100,
        }
    }

    /// Reads the environment. A variable that is not set has its default.
    ///
    /// # Errors
    /// A variable that is missing or cannot be read.
    pub fn from_env() -> Result<Self, InvalidSetting> {
        let database_url = config::required("DATABASE_URL", "postgres://user:password@localhost/payonce")?;
        let admin_key = match config::optional("ADMIN_KEYS") {
            Some(_) => config::optional("ADMIN_KEY").unwrap_or_default(),
            None => config::required("ADMIN_KEY", "$(openssl rand -hex 32)")?,
        };
        if !admin_key.is_empty() {
            admin_key::check(&admin_key)?;
        }
        Self::from_env_at(database_url, admin_key, Peppers::from_env()?)
    }

    /// Reads the environment, but for the database, the nameless admin key and the peppers.
    ///
    /// # Errors
    /// A variable that cannot be read.
    pub fn from_env_at(
        database_url: String,
        admin_key: String,
        peppers: Peppers,
    ) -> Result<Self, InvalidSetting> {
        let named = config::optional("ADMIN_KEYS").map(|text| admin_key::named(&text, &admin_key));
        let admin_keys = named.transpose()?.unwrap_or_default();
        let api_key = api_key_from_env(&admin_key, &admin_keys)?;
        let default = Self::new(database_url, admin_key, peppers);
        Ok(Self {
            admin_keys,
            admin_tries: config::parsed("ADMIN_TRIES_PER_MIN", default.admin_tries)?,
            jwt: JwtSettings::from_env()?,
            api_key,
            max_connections: connections_from_env(default.max_connections)?,
            api_addr: config::parsed("API_ADDR", default.api_addr)?,
            ops_addr: config::parsed("OPS_ADDR", default.ops_addr)?,
            board_addr: config::parsed_optional("BOARD_ADDR")?,
            metrics_addr: config::parsed("METRICS_ADDR", default.metrics_addr)?,
            buckets: config::parsed("METRICS_BUCKETS_S", default.buckets)?,
            metrics_on_api: config::parsed("METRICS_ON_API", default.metrics_on_api)?,
            webhook_keys: SealingKeys::from_env("WEBHOOK_SECRET_KEY", "WEBHOOK_SECRET_KEY_FILE")?,
            webhook_rules: Rules::from_env("WEBHOOK_ALLOW_HTTP", "WEBHOOK_ALLOW_NETS")?,
            tls: tls_from_env()?,
            cors_origins: config::parsed("CORS_ORIGINS", default.cors_origins)?,
            client_connections: at_least_one("API_CONNECTIONS", default.client_connections)?,
            chaos_mode: config::parsed("CHAOS_MODE", default.chaos_mode)?,
            rate: rate_from_env("API_RATE_PER_S", "API_RATE_BURST")?,
            reads: rate_from_env("API_READS_PER_S", "API_READS_BURST")?,
            concurrent: at_least_one("API_CONCURRENT", default.concurrent)?,
            concurrent_per_key: at_least_one("API_CONCURRENT_PER_KEY", default.concurrent_per_key)?,
            waits_per_key: at_least_one("API_WAITS_PER_KEY", default.waits_per_key)?,
            ..default
        })
    }

    /// The limits of keys that these settings mean.
    pub(crate) fn limit(&self, pool: PgPool) -> Limit {
        let default = KeyLimits { writes: self.rate, reads: self.reads.or(self.rate) };
        let bounds =
            Bounds { all: self.concurrent, per_key: self.concurrent_per_key, waits: self.waits_per_key };
        Limit::new(pool, default, bounds)
    }
}

/// The key that the environment brings. It is sent in a header, and must not be guessed.
fn api_key_from_env(
    admin_key: &str,
    admin_keys: &[(String, String)],
) -> Result<Option<String>, InvalidSetting> {
    let Some(key) = config::optional("API_KEY") else { return Ok(None) };
    let invalid = |why: &str| Err(InvalidSetting::new("API_KEY", why));
    if !(API_KEY_MIN..=API_KEY_MAX).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return invalid(
            "must be 16 to 255 visible ASCII characters without blanks: openssl rand -hex 32 makes a good one",
        );
    }
    if secret::named(&key) != Ok(None) {
        return invalid(
            "begins like a key that `payonce keys create` makes: give one of your own, or leave it out, as a key that was \
             made is known already",
        );
    }
    if key == admin_key || admin_keys.iter().any(|(_, known)| *known == key) {
        return invalid("is an admin key, too; give merchants another one");
    }
    Ok(Some(key))
}

fn connections_from_env(default: u32) -> Result<u32, InvalidSetting> {
    let connections = config::parsed("DATABASE_CONNECTIONS", default)?;
    let fewest = crate::SEATS + 1;
    if connections < fewest {
        return Err(InvalidSetting::new("DATABASE_CONNECTIONS", format!("an API needs at least {fewest}")));
    }
    Ok(connections)
}

fn at_least_one(name: &'static str, default: usize) -> Result<usize, InvalidSetting> {
    match config::parsed(name, default)? {
        0 => Err(InvalidSetting::new(name, "must be at least 1")),
        number => Ok(number),
    }
}

fn tls_from_env() -> Result<Option<TlsFiles>, InvalidSetting> {
    match (config::optional("TLS_CERT_FILE"), config::optional("TLS_KEY_FILE")) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: cert.into(), key: key.into() })),
        (Some(_), None) => Err(InvalidSetting::new("TLS_CERT_FILE", "needs TLS_KEY_FILE")),
        (None, Some(_)) => Err(InvalidSetting::new("TLS_KEY_FILE", "needs TLS_CERT_FILE")),
        (None, None) => Ok(None),
    }
}

fn rate_from_env(per_s: &'static str, burst: &'static str) -> Result<Option<Rate>, InvalidSetting> {
    let rate: Option<Rate> = config::parsed_optional(per_s)?;
    let at_once = config::parsed_optional(burst)?;
    match (rate, at_once) {
        (Some(rate), Some(at_once)) => Ok(Some(rate.with_burst(at_once))),
        (None, Some(_)) => Err(InvalidSetting::new(burst, format!("needs {per_s}"))),
        (rate, None) => Ok(rate),
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_connections", &self.max_connections)
            .field("api_addr", &self.api_addr)
            .field("ops_addr", &self.ops_addr)
            .field("board_addr", &self.board_addr)
            .field("metrics_addr", &self.metrics_addr)
            .field("buckets", &self.buckets)
            .field("metrics_on_api", &self.metrics_on_api)
            .field("tls", &self.tls)
            .field("cors_origins", &self.cors_origins)
            .field("admin_tries", &self.admin_tries)
            .field("peppers", &self.peppers)
            .field("jwt", &self.jwt)
            .field("webhook_keys", &self.webhook_keys)
            .field("webhook_rules", &self.webhook_rules)
            .field("client_connections", &self.client_connections)
            .field("chaos_mode", &self.chaos_mode)
            .field("rate", &self.rate)
            .field("reads", &self.reads)
            .field("concurrent", &self.concurrent)
            .field("concurrent_per_key", &self.concurrent_per_key)
            .field("waits_per_key", &self.waits_per_key)
            .finish_non_exhaustive()
    }
}
