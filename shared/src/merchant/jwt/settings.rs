//! Which tokens count, as the environment says.

use std::time::Duration;

use hyper::Uri;

use crate::platform::config::{self, InvalidSetting};

/// The longest allowance for clocks that differ.
const SKEW_MAX: Duration = Duration::from_mins(5);

/// The issuer whose tokens count, and how they are read; each field names its variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// `JWT_ISSUER`: what `iss` must be, to the letter.
    pub issuer: String,
    /// `JWKS_URL`: where the issuer publishes its keys. Whoever can change them on the way can be any
    /// merchant, so they come over TLS, or from this machine.
    pub jwks_url: Uri,
    /// `JWT_AUDIENCE`: what `aud` must be or contain.
    pub audience: String,
    /// `JWT_MERCHANT_CLAIM`: the claim that has the merchant's name.
    pub merchant_claim: String,
    /// `JWT_CLOCK_SKEW_S`: how far the issuer's clock may be from ours, in whole seconds.
    pub clock_skew: Duration,
}

impl JwtSettings {
    /// The defaults for this issuer.
    #[must_use]
    pub fn new(issuer: String, jwks_url: Uri) -> Self {
        Self {
            issuer,
            jwks_url,
            audience: "payonce".to_owned(),
            merchant_claim: "merchant".to_owned(),
            clock_skew: Duration::from_secs(30),
        }
    }

    /// Reads the environment. None where no issuer is set.
    ///
    /// # Errors
    /// A variable that cannot be read, or one of the two that are needed alone.
    pub fn from_env() -> Result<Option<Self>, InvalidSetting> {
        let (issuer, url) = match (config::optional("JWT_ISSUER"), config::optional("JWKS_URL")) {
            (Some(issuer), Some(url)) => (issuer, url),
            (Some(_), None) => return Err(InvalidSetting::new("JWT_ISSUER", "needs JWKS_URL")),
            (None, Some(_)) => return Err(InvalidSetting::new("JWKS_URL", "needs JWT_ISSUER")),
            (None, None) => return Ok(None),
        };
        let default = Self::new(issuer, keys_at(&url)?);
        let skew = config::parsed("JWT_CLOCK_SKEW_S", default.clock_skew.as_secs())?;
        if skew > SKEW_MAX.as_secs() {
            let why = format!("must be {} at most", SKEW_MAX.as_secs());
            return Err(InvalidSetting::new("JWT_CLOCK_SKEW_S", why));
        }
        Ok(Some(Self {
            audience: config::parsed("JWT_AUDIENCE", default.audience)?,
            merchant_claim: config::parsed("JWT_MERCHANT_CLAIM", default.merchant_claim)?,
            clock_skew: Duration::from_secs(skew),
            ..default
        }))
    }
}

fn keys_at(text: &str) -> Result<Uri, InvalidSetting> {
    let invalid = |why: &str| InvalidSetting::new("JWKS_URL", format!("{text:?} {why}"));
    let url: Uri = text.parse().map_err(|_| invalid("is no URL"))?;
    let host = url.host().unwrap_or_default();
    let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match url.scheme_str() {
        Some("https") if !host.is_empty() => Ok(url),
        Some("http") if is_here => Ok(url),
        Some("http") => Err(invalid(
            "must be https: whoever can change the keys on the way can be any merchant; only from this machine may they \
             come without TLS",
        )),
        _ => Err(invalid("is no https URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in [
            "https://id.example/.well-known/jwks.json",
            "http://127.0.0.1:8080/jwks",
            "http://localhost/jwks",
            "http://[::1]:80/jwks",
        ] {
            assert!(keys_at(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example/jwks",
            "http://127.0.0.1.example/",
            "ftp://id.example/",
            "/jwks",
            "",
            "https://",
        ] {
            assert!(keys_at(bad).is_err(), "{bad}");
        }
    }
}
