//! The settings of the API, which its environment gives.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use shared::platform::config::{self, InvalidSetting};
use shared::platform::listener::TlsFiles;
use shared::platform::rate::Rate;

use crate::admin_key;
use crate::cors::Origins;

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
    /// `API_CONNECTIONS`: the most clients' connections to the API at a time.
    pub client_connections: usize,
    /// `CHAOS_MODE`: whether a client may ask, by a header, for a failure after its payment was recorded.
    pub chaos_mode: bool,
    /// `API_RATE_PER_S` and `API_RATE_BURST`: the requests that an API key may make. None sets no limit.
    pub rate: Option<Rate>,
}

impl Settings {
    /// The defaults, for this database and this admin key.
    #[must_use]
    pub fn new(database_url: String, admin_key: String) -> Self {
        Self {
            database_url,
            max_connections: 20,
            api_addr: (Ipv4Addr::LOCALHOST, 8080).into(),
            ops_addr: (Ipv4Addr::LOCALHOST, 8081).into(),
            board_addr: None,
            metrics_addr: (Ipv4Addr::LOCALHOST, 9460).into(),
            metrics_on_api: false,
            tls: None,
            cors_origins: Origins::default(),
            admin_key,
            admin_keys: Vec::new(),
            client_connections: 4096,
            chaos_mode: false,
            rate: None,
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
        Self::from_env_at(database_url, admin_key)
    }

    /// Reads the environment, but for the database and the nameless admin key.
    ///
    /// # Errors
    /// A variable that cannot be read.
    pub fn from_env_at(database_url: String, admin_key: String) -> Result<Self, InvalidSetting> {
        let named = config::optional("ADMIN_KEYS").map(|text| admin_key::named(&text, &admin_key));
        let default = Self::new(database_url, admin_key);
        Ok(Self {
            admin_keys: named.transpose()?.unwrap_or_default(),
            max_connections: connections_from_env(default.max_connections)?,
            api_addr: config::parsed("API_ADDR", default.api_addr)?,
            ops_addr: config::parsed("OPS_ADDR", default.ops_addr)?,
            board_addr: config::parsed_optional("BOARD_ADDR")?,
            metrics_addr: config::parsed("METRICS_ADDR", default.metrics_addr)?,
            metrics_on_api: config::parsed("METRICS_ON_API", default.metrics_on_api)?,
            tls: tls_from_env()?,
            cors_origins: config::parsed("CORS_ORIGINS", default.cors_origins)?,
            client_connections: client_connections_from_env(default.client_connections)?,
            chaos_mode: config::parsed("CHAOS_MODE", default.chaos_mode)?,
            rate: rate_from_env()?,
            ..default
        })
    }
}

fn connections_from_env(default: u32) -> Result<u32, InvalidSetting> {
    let connections = config::parsed("DATABASE_CONNECTIONS", default)?;
    let fewest = crate::SEATS + 1;
    if connections < fewest {
        return Err(InvalidSetting::new("DATABASE_CONNECTIONS", format!("an API needs at least {fewest}")));
    }
    Ok(connections)
}

fn client_connections_from_env(default: usize) -> Result<usize, InvalidSetting> {
    match config::parsed("API_CONNECTIONS", default)? {
        0 => Err(InvalidSetting::new("API_CONNECTIONS", "must be at least 1")),
        connections => Ok(connections),
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

fn rate_from_env() -> Result<Option<Rate>, InvalidSetting> {
    let rate: Option<Rate> = config::parsed_optional("API_RATE_PER_S")?;
    let burst = config::parsed_optional("API_RATE_BURST")?;
    match (rate, burst) {
        (Some(rate), Some(burst)) => Ok(Some(rate.with_burst(burst))),
        (None, Some(_)) => Err(InvalidSetting::new("API_RATE_BURST", "needs API_RATE_PER_S")),
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
            .field("metrics_on_api", &self.metrics_on_api)
            .field("tls", &self.tls)
            .field("cors_origins", &self.cors_origins)
            .field("client_connections", &self.client_connections)
            .field("chaos_mode", &self.chaos_mode)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}
