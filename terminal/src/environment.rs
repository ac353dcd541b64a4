//! The environment: the one table of the names of all settings, and the reading of a setting's value.
//!
//! The table is `.env.example`. A variable that is no setting but nearly has the name of one is refused: it
//! was meant for us and would do nothing. Variables of everybody else are left alone.

use std::env;

mod nearly;

/// Every setting there is, each with its default and what it is for.
pub const EXAMPLE: &str = include_str!("../../.env.example");

/// Variables of test builds, which the example does not name.
const OF_TESTS: &[&str] = &["PAYONCE_FAULTS", "PAYONCE_TEST_KEEP"];

/// Names by which similar systems call a setting of ours.
const ALIASES: &[(&str, &str)] = &[("DB_URL", "DATABASE_URL"), ("APP_API_KEY", "API_KEY")];

/// Settings of similar systems that mean nothing here, each with the reason.
const ELSEWHERE: &[(&str, &str)] = &[
    ("CACHE_TTL", "is no setting: nothing is cached here, and every answer comes from PostgreSQL"),
    (
        "IDEMPOTENCY_TTL_SECONDS",
        "is no setting: keys never expire here, and the same Idempotency-Key is the same payment for ever",
    ),
];

const NO_REDIS: &str = "is no setting: Payonce needs no Redis, its queue and its keys are in PostgreSQL";

/// A variable by which no program starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why, and what is meant perhaps.
    pub why: String,
}

/// The names of all settings.
pub fn settings() -> impl Iterator<Item = &'static str> {
    let names =
        EXAMPLE.lines().filter_map(|line| line.trim_start_matches('#').split_once('=').map(|(name, _)| name));
    names.filter(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// The value of a setting, by its own name or by an alias; none if it is unset or empty.
#[must_use]
pub fn value(name: &str) -> Option<String> {
    let aliases = ALIASES.iter().filter(|(_, of)| *of == name);
    value_of(name).or_else(|| aliases.map(|(alias, _)| *alias).find_map(value_of))
}

/// Whether a file of settings may name this.
///
/// # Errors
/// It is no setting.
pub fn check_name(name: &str) -> Result<(), Refused> {
    if is_known(name) {
        return Ok(());
    }
    let why = meant_for_us(name).unwrap_or_else(|| "is no setting; .env.example lists them all".to_owned());
    Err(Refused { name: name.to_owned(), why })
}

/// Looks through the environment of this process.
///
/// # Errors
/// A variable nearly has the name of a setting, is a setting of another system, or contradicts its alias.
pub fn check() -> Result<(), Refused> {
    env::vars_os().try_for_each(|(name, value)| match (name.to_str(), value.to_str()) {
        (Some(name), Some(value)) => check_variable(name, value),
        (Some(name), None) if is_known(name) => {
            Err(Refused { name: name.to_owned(), why: "is not valid UTF-8".to_owned() })
        }
        _ => Ok(()),
    })?;
    ALIASES.iter().try_for_each(|(alias, name)| match (value_of(alias), value_of(name)) {
        (Some(one), Some(other)) if one != other => Err(Refused {
            name: (*alias).to_owned(),
            why: format!("is another name of {name}, which has another value: unset one of them"),
        }),
        _ => Ok(()),
    })
}

fn value_of(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Refuses one variable of the environment. An empty one says nothing, as that of a setting does.
fn check_variable(name: &str, value: &str) -> Result<(), Refused> {
    if value.is_empty() || is_known(name) || OF_OTHERS.contains(&name) || is_of_kubernetes(name) {
        return Ok(());
    }
    meant_for_us(name).map_or(Ok(()), |why| Err(Refused { name: name.to_owned(), why }))
}

fn is_known(name: &str) -> bool {
    settings().any(|known| known == name)
        || OF_TESTS.contains(&name)
        || ALIASES.iter().any(|(alias, _)| *alias == name)
}

/// Why a name that is no setting was meant for us all the same, and what to do; none if nothing says so.
fn meant_for_us(name: &str) -> Option<String> {
    let elsewhere = ELSEWHERE.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
    let elsewhere = elsewhere.or_else(|| name.starts_with("REDIS_").then_some(NO_REDIS)).map(str::to_owned);
    let nearly = || nearly::meant(name, settings()).map(|it| format!("is no setting; did you mean {it}?"));
    elsewhere.or_else(nearly)
}

/// Names of others that nearly are ours: OpenSSL, and what follows it, reads the certificates to trust there.
const OF_OTHERS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Whether Kubernetes may have set it, to tell of a service: one called `api`, `gateway` or `redis` has such
/// names for its addresses.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> String {
        check_variable(name, "x").unwrap_err().why
    }

    #[test]
    fn a_variable_that_nearly_has_the_name_of_a_setting_is_refused_with_that_name() {
        for (name, meant) in [
            ("API_RATE_PERS", "API_RATE_PER_S"),
            ("WORKER_CONCURENCY", "WORKER_CONCURRENCY"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("GATEWAY_ULR", "GATEWAY_URL"),
            ("RETIRES", "RETRIES"),
        ] {
            assert_eq!(refused(name), format!("is no setting; did you mean {meant}?"), "{name}");
        }
    }

    #[test]
    fn variables_of_everybody_else_are_left_alone() {
        for name in [
            "PATH",
            "HOME",
            "USER",
            "LANG",
            "TZ",
            "PWD",
            "SHLVL",
            "HOSTNAME",
            "RUST_LOG",
            "RUST_LIB",
            "RUST_BACKTRACE",
            "PGBIN",
            "PGHOST",
            "PGPORT",
            "PGDATA",
            "DOCKER_HOST",
            "LOG_LEVEL",
            "API_PORT",
            "API_PORT_8080_TCP",
            "API_PORT_8080_TCP_ADDR",
            "WORKER_SERVICE_HOST",
            "GATEWAY",
            "GATEWAY_PORT",
            "API_SERVICE_PORT_HTTP",
            "REDIS_SERVICE_HOST",
            "REDIS_PORT",
            "REDIS_PORT_6379_TCP",
            "METRICS_PORT",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NIX_SSL_CERT_FILE",
            "API_URL",
            "ADMIN_TOKEN",
        ] {
            assert_eq!(check_variable(name, "x"), Ok(()), "{name}");
        }
        assert_eq!(check_variable("API_RATE_PERS", ""), Ok(()), "an empty variable is not set");
    }

    #[test]
    fn every_setting_and_alias_is_known_and_a_setting_of_another_system_has_its_reason() {
        assert!(settings().count() > 40);
        for name in settings().chain(["DB_URL", "APP_API_KEY", "PAYONCE_FAULTS"]) {
            assert_eq!(check_variable(name, "x"), Ok(()), "{name}");
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, says) in [
            ("REDIS_URL", "needs no Redis"),
            ("REDIS_HOST", "needs no Redis"),
            ("IDEMPOTENCY_TTL_SECONDS", "never expire"),
            ("CACHE_TTL", "nothing is cached"),
        ] {
            assert!(refused(name).contains(says), "{name}");
            assert!(check_name(name).unwrap_err().why.contains(says), "{name}");
        }
        for (alias, of) in ALIASES {
            assert!(settings().any(|it| it == *of) && settings().all(|it| it != *alias), "{alias}");
        }
    }
}
