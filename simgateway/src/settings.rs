//! The settings, read from the environment. No other file of the package reads it.

use std::env;
use std::net::SocketAddr;

use anyhow::Context;

/// Where the gateway listens and where it keeps its books.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `GATEWAY_ADDR`: the address to listen on; port 0 takes a free one. Default `127.0.0.1:8090`.
    pub addr: SocketAddr,
    /// `GATEWAY_DATABASE_URL`: the gateway's own Postgres database, shared with nobody. Required.
    pub database_url: String,
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
        // The URL itself stays out of the message, as it may hold a password.
        anyhow::ensure!(
            database_url.starts_with("postgres://") || database_url.starts_with("postgresql://"),
            "GATEWAY_DATABASE_URL does not begin with postgres://: the gateway keeps its books in Postgres",
        );
        Ok(Settings { addr, database_url })
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

/// The value of the variable `name`. An empty one counts as not set.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => anyhow::bail!("{name} is not valid UTF-8: set it to plain text"),
    }
}
