//! `DATABASE_URL` as libpq reads it: one or several hosts, of which one takes writes.
//!
//! Invariant: each host has all that the URL says but the others' names, and what is told of a host names
//! that host only.

use std::fmt;
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use terminal::dsn;

use super::Error;

/// One place where the database may be.
#[derive(Clone)]
pub(super) struct Host {
    /// How to connect there.
    pub(super) options: PgConnectOptions,
    /// Host and port, or the socket's directory and port: without user and password.
    pub(super) name: String,
}

impl Host {
    pub(super) fn of(options: PgConnectOptions) -> Self {
        // A plain connection: a pooler may refuse this parameter.
        let options = options.extra_float_digits(None);
        let host = match options.get_socket() {
            Some(directory) => directory.display().to_string(),
            None => options.get_host().to_owned(),
        };
        Self { name: format!("{host}:{}", options.get_port()), options }
    }

    /// The name of the database there, which is the user's name where the URL names none.
    pub(super) fn database(&self) -> &str {
        self.options.get_database().unwrap_or_else(|| self.options.get_username())
    }
}

/// The driver's options would show the password.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// All hosts of a URL, in its order, such as
/// `postgres://user@a:5432,b:5433/payonce?target_session_attrs=read-write`. The list may stand in
/// `?host=a,b&port=5432,5433` too.
///
/// # Errors
/// The text is no URL of a database, or asks for a server that takes no writes.
pub(super) fn parse(url: &str) -> Result<Vec<Host>, Error> {
    let invalid = |why: &dyn fmt::Display| Error::Url(why.to_string());
    let url =
        dsn::checked(url).map_err(|why| invalid(&format_args!("{why}, with hosts separated by commas")))?;
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, places) = match authority.rsplit_once('@') {
        Some((user, places)) => (format!("{user}@"), places),
        None => (String::new(), authority),
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = Query::of(query).map_err(|why| invalid(&why))?;
    let places: Vec<&str> = places.split(',').collect();
    let several = query.hosts.len().max(places.len());
    let one_for_each = |given: usize| given <= 1 || given == several;
    if !one_for_each(query.hosts.len()) || !one_for_each(query.ports.len()) || !one_for_each(places.len()) {
        return Err(invalid(&"it must name as many ports as hosts, or one for all of them"));
    }
    let of_each = |given: &[String], at: usize| given.get(if given.len() > 1 { at } else { 0 }).cloned();
    (0..several)
        .map(|at| {
            let place = places.get(if places.len() > 1 { at } else { 0 }).copied().unwrap_or_default();
            // Not every program reads a URL with a user and no host, even if the query names the host.
            let place = if place.is_empty() && !query.hosts.is_empty() { "localhost" } else { place };
            let mut pairs = query.others.clone();
            pairs.extend(of_each(&query.hosts, at).map(|host| ("host".to_owned(), host)));
            pairs.extend(of_each(&query.ports, at).map(|port| ("port".to_owned(), port)));
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            let url = format!("{scheme}://{user}{place}{path}?{query}");
            PgConnectOptions::from_str(&url).map(Host::of).map_err(|why| invalid(&why))
        })
        .collect()
}

/// The part of a URL behind its question mark.
#[derive(Default)]
struct Query {
    hosts: Vec<String>,
    ports: Vec<String>,
    others: Vec<(String, String)>,
}

impl Query {
    fn of(query: &str) -> Result<Self, String> {
        let list = |value: &str| value.split(',').map(str::to_owned).collect();
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "host" => read.hosts = list(&value),
                "port" => read.ports = list(&value),
                // Payonce writes, and asks each host itself whether it may.
                "target_session_attrs" if matches!(&*value, "read-write" | "primary" | "any") => {}
                "target_session_attrs" => {
                    let why =
                        "target_session_attrs asks for a server that may take no writes: use read-write";
                    return Err(why.to_owned());
                }
                // Each host has a limit of ours.
                "connect_timeout" => {}
                _ => read.others.push((name.into_owned(), value.into_owned())),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(url: &str) -> Vec<String> {
        let hosts = parse(url).unwrap();
        assert!(
            hosts.iter().all(|host| host.options.get_username() == "u" && host.database() == "d"),
            "{hosts:?}"
        );
        hosts.into_iter().map(|host| host.name).collect()
    }

    #[test]
    fn a_url_names_one_host_or_several_as_libpq_reads_it() {
        for (url, expected) in [
            ("postgres://u:p@a/d", vec!["a:5432"]),
            (
                "postgres://u:p@a:5433,b,[::1]:5434/d?target_session_attrs=read-write",
                vec!["a:5433", "b:5432", "::1:5434"],
            ),
            ("postgres://u:p,q@a:1,b:2/d?sslmode=disable", vec!["a:1", "b:2"]),
            ("postgres://u:p@/d?host=a,b&port=5432,5433", vec!["a:5432", "b:5433"]),
            ("postgres://u@localhost/d?host=/run/pg,/run/other&port=7", vec!["/run/pg:7", "/run/other:7"]),
        ] {
            assert_eq!(
                names(url).iter().map(|name| name.replace(['[', ']'], "")).collect::<Vec<_>>(),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn a_url_that_cannot_be_meant_says_what_to_write() {
        for (url, says) in [
            ("a:5432/d", "postgres://user"),
            ("postgres:u:secret@a/d", "postgres://user"),
            ("postgres://u:12/secret@a/d", "%2F"),
            ("postgres://u@a,b/d?target_session_attrs=standby", "use read-write"),
            ("postgres://u@/d?host=a,b,c&port=1,2", "as many ports as hosts"),
            ("postgres://u@a:none/d", "port"),
        ] {
            let why = parse(url).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains("secret"), "{url}: {why}");
        }
    }

    #[test]
    fn no_password_is_told() {
        let host = &parse("postgres://u:secret@a,b/d").unwrap()[1];
        assert_eq!(host.to_string(), "b:5432");
        assert!(!format!("{host:?}").contains("secret"), "{host:?}");
    }
}
