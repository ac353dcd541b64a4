//! URLs of databases: what is refused before anything reads them.
//!
//! Invariant: what is refused is told without a word of the URL. It holds a password, and in a URL that is
//! written wrongly nobody can say where the password ends. So a URL is only read, and its host, port and
//! database only told, where no part of a password can have been taken for one of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

/// How a URL is written.
const FORM: &str = "postgres://user:password@host:5432/payonce";

const NO_URL: &str =
    "it is no URL that begins with postgres:// (its words are kept back, as it may hold a password)";

const NOT_CODED: &str = "a / ? # or @ stands where none can: in the password or user name write %2F, %3F, %23 and %40 \
     (the words of the URL are kept back)";

/// The parameters behind the question mark that somebody here reads: the driver, or the choice of hosts.
const PARAMETERS: &[&str] = &[
    "application_name",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "target_session_attrs",
    "user",
];

/// The values of `sslmode`. The driver quotes any other, which may be the rest of a password.
const SSL_MODES: &[&str] = &["allow", "disable", "prefer", "require", "verify-ca", "verify-full"];

/// Whether somebody reads this parameter. The driver logs the others with their values, among them a password
/// whose name is misspelt.
#[must_use]
pub fn is_parameter(name: &str) -> bool {
    PARAMETERS.contains(&name) || name.starts_with("options[")
}

/// The URL, without parameters that nobody reads.
///
/// # Errors
/// It is no URL of Postgres, or a password in it may have been written as it is. The text says what to
/// write, and nothing of the URL.
pub fn checked(url: &str) -> Result<String, String> {
    let told = |why: &str| format!("{why}; the form is {FORM}");
    let begins = ["postgres://", "postgresql://"].iter().find(|begin| url.starts_with(**begin));
    let rest = begins.and_then(|begin| url.get(begin.len()..)).ok_or_else(|| told(NO_URL))?;
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let (authority, path) = before.split_once('/').unwrap_or((before, ""));
    let query_has_one = query.is_some_and(|query| query.contains('@'));
    let is_torn = url.contains('#')
        || url.chars().any(char::is_control)
        || path.contains(['@', '/'])
        || (query_has_one && !authority.contains('@'));
    if is_torn {
        return Err(told(NOT_CODED));
    }
    let (scheme, _) = url.split_at(url.len() - rest.len());
    let used: Vec<&str> = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| is_parameter(pair.split('=').next().unwrap_or_default()))
        .collect();
    let is_no_mode = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((*pair, ""));
        ["sslmode", "ssl-mode"].contains(&name) && !SSL_MODES.contains(&value.to_ascii_lowercase().as_str())
    };
    if used.iter().any(is_no_mode) {
        return Err(told(&format!("sslmode is none of {}", SSL_MODES.join(", "))));
    }
    let query = if used.is_empty() { String::new() } else { format!("?{}", used.join("&")) };
    Ok(format!("{scheme}{before}{query}"))
}

/// Where a database listens.
#[derive(Debug, Clone)]
pub struct Place {
    host: String,
    socket: Option<PathBuf>,
    port: u16,
}

impl Place {
    /// A host, or the directory of a socket.
    #[must_use]
    pub fn new(host: &str, socket: Option<&PathBuf>, port: u16) -> Self {
        let as_directory = host.starts_with('/').then(|| Path::new(host).to_owned());
        let socket = socket.cloned().or(as_directory);
        Self { host: host.trim_matches(['[', ']']).to_owned(), socket, port }
    }

    /// Knocks, and goes away. A pool of connections goes on trying, and then only says that its time is over.
    ///
    /// # Errors
    /// Nobody listens there. The text says where, and what refused.
    pub async fn reach(&self, patience: Duration) -> Result<(), String> {
        let knock = async {
            match &self.socket {
                Some(directory) => {
                    UnixStream::connect(directory.join(format!(".s.PGSQL.{}", self.port))).await.map(drop)
                }
                None => TcpStream::connect((self.host.as_str(), self.port)).await.map(drop),
            }
        };
        match tokio::time::timeout(patience, knock).await {
            Ok(done) => done.map_err(|why| format!("{}: {why}", self.name())),
            Err(_) => Err(self.is_silent(patience)),
        }
    }

    /// What to say of a server from which nothing comes.
    #[must_use]
    pub fn is_silent(&self, patience: Duration) -> String {
        format!("{} does not answer within {} s", self.name(), patience.as_secs())
    }

    fn name(&self) -> String {
        let host = self.socket.as_ref().map_or_else(|| self.host.clone(), |it| it.display().to_string());
        format!("{host}:{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn a_url_that_is_written_wrongly_is_refused_without_a_word_of_it() {
        for url in [
            "postgres:user:secret@host/db",
            "user:secret@host/db",
            "host=h user=u password=secret",
            "mysql://user:secret@host/db",
            "postgres://user:12/secret@host/db",
            "postgres://user:12#secret@host/db",
            "postgres://user:12?secret@host/db",
            "postgres://user:a@b/secret@host/db",
            "postgres://user:12/secret/@host/db",
            "postgres://user:se\ncret@host/db",
            "postgres://user:x@host/db?sslmode=secret",
            "",
        ] {
            let why = checked(url).unwrap_err();
            assert!(!why.contains("secret") && !why.contains("cret@") && !why.contains("12"), "{url}: {why}");
            assert!(why.contains("postgres://user:password@host:5432/payonce"), "{why}");
        }
    }

    #[test]
    fn a_url_that_is_written_well_stays_as_it_is_but_for_parameters_that_nobody_reads() {
        for url in [
            "postgres://u@localhost",
            "postgresql://u:p%2Fq@a:1,b:2/d?target_session_attrs=any",
            "postgres:///d?host=/run/pg&user=me&password=it",
            "postgres://u:p@q@a/d?application_name=x@y",
            "postgres://u@[::1]:5432/d?options[search_path]=public",
        ] {
            assert_eq!(checked(url).as_deref(), Ok(url));
        }
        assert_eq!(
            checked("postgres://u@a/d?pasword=secret&sslmode=disable&x").as_deref(),
            Ok("postgres://u@a/d?sslmode=disable")
        );
    }
}
