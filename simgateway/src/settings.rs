//! The settings, read from the environment. No other file of the package reads it.

use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use terminal::dsn;

/// Where the gateway listens and where it keeps its books.
#[derive(Clone)]
pub struct Settings {
    /// `GATEWAY_ADDR`: the address to listen on; port 0 takes a free one. Default `127.0.0.1:8090`.
    pub addr: SocketAddr,
    /// `GATEWAY_DATABASE_URL`: the gateway's own Postgres database, shared with nobody. Required.
    pub database_url: String,
    /// `GATEWAY_API_KEY`, or the file that `GATEWAY_API_KEY_FILE` names: the bearer key that every caller
    /// must have. None lets everybody in.
    pub api_key: Option<ApiKey>,
}

const DEFAULT_ADDR: &str = "127.0.0.1:8090";

impl Settings {
    /// Reads the settings; the error says which variable is wrong and what to put there.
    ///
    /// # Errors
    /// A variable is missing or unreadable.
    pub fn from_env() -> anyhow::Result<Settings> {
        let addr = variable("GATEWAY_ADDR")?.unwrap_or_else(|| DEFAULT_ADDR.to_owned());
        let addr = addr.parse().with_context(|| {
            format!("GATEWAY_ADDR is `{addr}`: set it to an address and a port, such as {DEFAULT_ADDR}")
        })?;
        let database_url = variable("GATEWAY_DATABASE_URL")?.context(
            "GATEWAY_DATABASE_URL is not set: point it at the gateway's own database, \
             such as postgres://postgres@127.0.0.1:5432/gateway",
        )?;
        let database_url = dsn::checked(&database_url)
            .map_err(|why| anyhow::anyhow!("GATEWAY_DATABASE_URL cannot be used: {why}"))?;
        Ok(Settings { addr, database_url, api_key: api_key()?.as_deref().map(ApiKey::new) })
    }
}

/// The URL holds a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, api_key, database_url: _ } = self;
        f.debug_struct("Settings").field("addr", addr).field("api_key", api_key).finish_non_exhaustive()
    }
}

/// The key that callers must have. Its words stay out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// The key.
    #[must_use]
    pub fn new(key: &str) -> ApiKey {
        ApiKey(key.into())
    }

    /// Whether a caller with this `Authorization` header has it.
    pub(crate) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        authorization == Some(format!("Bearer {}", self.0).as_bytes())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Readable text, for people.
    Text,
}

impl LogFormat {
    /// `LOG_FORMAT`. None where it is not set.
    pub(crate) fn from_env() -> anyhow::Result<Option<LogFormat>> {
        match variable("LOG_FORMAT")?.as_deref() {
            None => Ok(None),
            Some("json") => Ok(Some(LogFormat::Json)),
            Some("text") => Ok(Some(LogFormat::Text)),
            Some(other) => anyhow::bail!("LOG_FORMAT is `{other}`: set it to json or text"),
        }
    }
}

fn api_key() -> anyhow::Result<Option<String>> {
    let key = variable("GATEWAY_API_KEY")?;
    let Some(path) = variable("GATEWAY_API_KEY_FILE")? else { return Ok(key) };
    anyhow::ensure!(
        key.is_none(),
        "GATEWAY_API_KEY and GATEWAY_API_KEY_FILE are both set: unset one of them"
    );
    let held = std::fs::read_to_string(&path)
        .with_context(|| format!("GATEWAY_API_KEY_FILE: cannot read {path}"))?;
    let held = held.trim();
    anyhow::ensure!(!held.is_empty(), "GATEWAY_API_KEY_FILE: {path} is empty");
    Ok(Some(held.to_owned()))
}

/// The value of `name`; an empty one counts as not set.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => anyhow::bail!("{name} is not valid UTF-8: set it to plain text"),
    }
}
