//! How each gateway is reached, how often it is asked, and when it is given up on: by variables where there
//! is one gateway, by the file that `GATEWAYS` names where there are several.
//!
//! Invariant: a file and `GATEWAY_URL` are never mixed, so that nobody wonders which of them counts. What the
//! file does not say of a gateway is as the variables say.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use domain::decide::{Policy, Profile};
use domain::ids::GatewayName;
use serde::Deserialize;

use super::{ApiKey, Gateway};
use crate::platform::config::{self, InvalidSetting};
use crate::platform::rate::Rate;

/// All that one gateway is asked by; each field names its variable, and its key in the file.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The name in our books: `default`, or the heading of its part of the file.
    pub name: GatewayName,
    /// `GATEWAY_URL`, `url`: where it answers.
    pub url: String,
    /// `GATEWAY_API_KEY` or `GATEWAY_API_KEY_FILE`, `api_key` or `api_key_file`: what it gets with every
    /// call.
    pub key: Option<ApiKey>,
    /// `WORKER_CONCURRENCY`, `concurrency`: calls at a time, of each worker.
    pub concurrency: usize,
    /// `BREAKER_FAILURES`, `breaker_failures`: how many payments in a row it must fail to stop the claims, if
    /// they are of several merchants.
    pub breaker_failures: usize,
    /// `BREAKER_OPEN_MS`, `breaker_open_ms`: how long claims then stop before the door is read, and one
    /// payment is tried.
    pub breaker_open: Duration,
    /// `GATEWAY_RATE_PER_S`, `rate_per_s`: calls in a second, of each worker. None sets no limit.
    pub rate: Option<Rate>,
    /// `GATEWAY_TIMEOUT_MS` (`timeout_ms`), `VISIBILITY_MS`, `DOUBT_DEADLINE_MS`, `RETRIES`, `BACKOFF_MS`,
    /// `BACKOFF_MAX_MS`, `BACKOFF_MULTIPLIER`, `VERIFY_WAITS_MS`, `PAYMENT_MAX_AGE_MS`; and what the gateway
    /// can do: `GATEWAY_HONOURS_KEYS`, `GATEWAY_KEY_RETENTION_MS`, `GATEWAY_LOOKUP_SUPPORTED`,
    /// `GATEWAY_VOID_SUPPORTED`. The keys are the same words, small and without the first one.
    pub policy: Policy,
}

/// The gateways that the environment describes.
///
/// # Errors
/// It describes none, or a setting cannot be used.
pub fn from_env() -> Result<Vec<GatewaySettings>, InvalidSetting> {
    let settings = from_env_if_any()?;
    if settings.is_empty() {
        // One gateway is what most need, so that is what the error asks for.
        config::required("GATEWAY_URL", "http://127.0.0.1:8090")?;
    }
    Ok(settings)
}

/// The gateways that the environment describes; empty if it describes none.
///
/// # Errors
/// A setting cannot be used.
pub fn from_env_if_any() -> Result<Vec<GatewaySettings>, InvalidSetting> {
    let url = config::optional("GATEWAY_URL");
    let Some(path) = config::optional("GATEWAYS") else {
        let Some(url) = url else { return Ok(Vec::new()) };
        return Ok(vec![GatewaySettings::from_env_at(url)?]);
    };
    for variable in ["GATEWAY_URL", "GATEWAY_API_KEY", "GATEWAY_API_KEY_FILE"] {
        if config::optional(variable).is_some() {
            let why = format!("is set, and so is {variable}: {path} says it for each gateway, so unset that");
            return Err(InvalidSetting::new("GATEWAYS", why));
        }
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|why| InvalidSetting::new("GATEWAYS", format_args!("cannot read {path:?}: {why}")))?;
    from_file(&text, &GatewaySettings::from_env_at(String::new())?)
}

/// The gateways of a file. What it does not say is as in `otherwise`.
fn from_file(text: &str, otherwise: &GatewaySettings) -> Result<Vec<GatewaySettings>, InvalidSetting> {
    let invalid = |why: &dyn Display| InvalidSetting::new("GATEWAYS", why);
    // Without the line itself, which may have our key.
    let entries: BTreeMap<GatewayName, Entry> = toml::from_str(text).map_err(|why| {
        let at =
            why.span().and_then(|span| text.get(..span.start)).map_or(0, |before| before.lines().count());
        invalid(&format_args!("about line {}: {}", at.max(1), why.message()))
    })?;
    if entries.is_empty() {
        return Err(invalid(&"names no gateway; for example: [default] and below it url = \"https://…\""));
    }
    entries.into_iter().map(|(name, entry)| entry.settings(name, otherwise)).collect()
}

/// The gateways with these settings, each ready to be asked.
///
/// # Errors
/// An URL is none.
pub fn gateways(settings: &[GatewaySettings]) -> Result<Vec<Gateway>, InvalidSetting> {
    settings.iter().map(|one| one.gateway(settings.len() > 1)).collect()
}

impl GatewaySettings {
    /// The defaults, for the gateway at this URL, if it is the only one.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            name: GatewayName::default(),
            url,
            key: None,
            concurrency: 256,
            breaker_failures: 5,
            breaker_open: Duration::from_mins(1),
            rate: None,
            policy: Policy::default(),
        }
    }

    /// What the variables say, for the gateway at this URL.
    ///
    /// # Errors
    /// A variable cannot be read, or contradicts another.
    pub fn from_env_at(url: String) -> Result<Self, InvalidSetting> {
        let default = Self::new(url);
        let settings = Self {
            key: ApiKey::from_env()?,
            concurrency: config::parsed("WORKER_CONCURRENCY", default.concurrency)?,
            breaker_failures: config::parsed("BREAKER_FAILURES", default.breaker_failures)?,
            breaker_open: config::millis("BREAKER_OPEN_MS", default.breaker_open)?,
            rate: config::parsed_optional("GATEWAY_RATE_PER_S")?,
            policy: policy_from_env(default.policy)?,
            ..default
        };
        settings.check(|field, why| InvalidSetting::new(&variable(field), why))?;
        Ok(settings)
    }

    /// The gateway itself. One of several must say who it is.
    ///
    /// # Errors
    /// The URL is none.
    pub fn gateway(&self, is_one_of_several: bool) -> Result<Gateway, InvalidSetting> {
        let Self { name, url, key, policy, .. } = self;
        let gateway = Gateway::new(name.clone(), url, key.clone(), policy.gateway_timeout)?;
        Ok(if is_one_of_several { gateway.that_must_say_who_it_is() } else { gateway })
    }

    /// Refuses what cannot work. `invalid` makes the error of a key of the file.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self, invalid: impl Fn(&str, &str) -> InvalidSetting) -> Result<(), InvalidSetting> {
        let Self { policy, .. } = self;
        for (field, duration) in [
            ("timeout_ms", policy.gateway_timeout),
            ("backoff_ms", policy.backoff_initial),
            ("breaker_open_ms", self.breaker_open),
            ("verify_waits_ms", policy.verify_waits.iter().min().copied().unwrap_or_default()),
        ] {
            if duration.is_zero() {
                return Err(invalid(field, "must be more than zero"));
            }
        }
        if policy.backoff_initial > policy.backoff_max {
            return Err(invalid("backoff_max_ms", "must not be less than the first wait"));
        }
        if !(1.0..=10.0).contains(&policy.backoff_multiplier) {
            return Err(invalid("backoff_multiplier", "must be from 1 to 10"));
        }
        for (field, count) in [("concurrency", self.concurrency), ("breaker_failures", self.breaker_failures)]
        {
            if !(1..=10_000).contains(&count) {
                return Err(invalid(field, "must be from 1 to 10000"));
            }
        }
        Ok(())
    }
}

/// The variable that says the same as a key of the file.
#[must_use]
pub fn variable(field: &str) -> String {
    match field {
        "timeout_ms" => "GATEWAY_TIMEOUT_MS".to_owned(),
        "concurrency" => "WORKER_CONCURRENCY".to_owned(),
        same => same.to_uppercase(),
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

/// The language that a gateway speaks.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Language {
    /// That of the simulated gateway: `docs/GATEWAYS.md`.
    #[default]
    Simulated,
}

/// One gateway, as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    adapter: Language,
    url: String,
    api_key: Option<String>,
    api_key_file: Option<String>,
    concurrency: Option<usize>,
    breaker_failures: Option<usize>,
    breaker_open_ms: Option<u64>,
    rate_per_s: Option<f64>,
    timeout_ms: Option<u64>,
    visibility_ms: Option<u64>,
    doubt_deadline_ms: Option<u64>,
    retries: Option<u32>,
    backoff_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
    backoff_multiplier: Option<f64>,
    verify_waits_ms: Option<Vec<u64>>,
    payment_max_age_ms: Option<u64>,
    honours_keys: Option<bool>,
    key_retention_ms: Option<u64>,
    lookup_supported: Option<bool>,
    void_supported: Option<bool>,
}

impl Entry {
    fn settings(
        self,
        name: GatewayName,
        otherwise: &GatewaySettings,
    ) -> Result<GatewaySettings, InvalidSetting> {
        let Language::Simulated = self.adapter;
        let invalid = |field: &str, why: &dyn Display| {
            InvalidSetting::new("GATEWAYS", format_args!("[{name}] {field}: {why}"))
        };
        let millis = |field: &str, given: Option<u64>, otherwise: Duration| {
            config::no_longer_than_a_year(given.map_or(otherwise, Duration::from_millis))
                .map_err(|why| invalid(field, &why))
        };
        let key = match self.api_key_file {
            None => self.api_key,
            Some(_) if self.api_key.is_some() => {
                return Err(invalid("api_key_file", &"is given, and so is api_key: keep one of them"));
            }
            Some(path) => Some(config::held_by(&path).map_err(|why| invalid("api_key_file", &why))?),
        };
        let rate = self.rate_per_s.map(|rate| rate.to_string().parse::<Rate>()).transpose();
        let usual = &otherwise.policy;
        let waits = self.verify_waits_ms.map(|waits| waits.into_iter().map(Duration::from_millis).collect());
        let settings = GatewaySettings {
            url: self.url,
            key: key.map(|key| ApiKey::new(&key)).transpose().map_err(|why| invalid("api_key", &why))?,
            concurrency: self.concurrency.unwrap_or(otherwise.concurrency),
            breaker_failures: self.breaker_failures.unwrap_or(otherwise.breaker_failures),
            breaker_open: millis("breaker_open_ms", self.breaker_open_ms, otherwise.breaker_open)?,
            rate: rate.map_err(|why| invalid("rate_per_s", &why))?.or(otherwise.rate),
            policy: Policy {
                max_retries: self.retries.unwrap_or(usual.max_retries),
                backoff_initial: millis("backoff_ms", self.backoff_ms, usual.backoff_initial)?,
                backoff_max: millis("backoff_max_ms", self.backoff_max_ms, usual.backoff_max)?,
                backoff_multiplier: self.backoff_multiplier.unwrap_or(usual.backoff_multiplier),
                gateway_timeout: millis("timeout_ms", self.timeout_ms, usual.gateway_timeout)?,
                visibility: millis("visibility_ms", self.visibility_ms, usual.visibility)?,
                doubt_deadline: millis("doubt_deadline_ms", self.doubt_deadline_ms, usual.doubt_deadline)?,
                max_age: millis("payment_max_age_ms", self.payment_max_age_ms, usual.max_age)?,
                verify_waits: waits.unwrap_or_else(|| usual.verify_waits.clone()),
                profile: Profile {
                    honours_keys: self.honours_keys.unwrap_or(usual.profile.honours_keys),
                    key_retention: millis(
                        "key_retention_ms",
                        self.key_retention_ms,
                        usual.profile.key_retention,
                    )?,
                    looks_up: self.lookup_supported.unwrap_or(usual.profile.looks_up),
                    voids: self.void_supported.unwrap_or(usual.profile.voids),
                },
            },
            name: name.clone(),
        };
        settings.check(|field, why| invalid(field, &why))?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests;
