//! JSON Web Tokens (RFC 7519) of another issuer, by which clients of merchants may come.
//!
//! Invariant: nothing that a token says counts before a key of the issuer has verified its signature, by the
//! algorithm that this key is for. So a token chooses neither its algorithm nor its key's meaning. The
//! issuer's keys come from [`issuer`], and [`key_set`] reads them. A valid token opens the one key that its
//! merchant has for tokens ([`merchant_key`]), and of that no more than the token's own scopes.
//!
//! Nothing here can take a token back before it ends. So none may last longer than [`LONGEST`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::PgPool;

use super::auth::Presented;
use super::scope::Scope;

pub mod issuer;
mod key_set;
mod merchant_key;
pub mod settings;

use issuer::{Issuer, Unjudged};
use key_set::KeySet;
use merchant_key::MerchantKeys;
pub use settings::JwtSettings;

/// The longest time from a token's `nbf` to its `exp`.
pub const LONGEST: Duration = Duration::from_mins(15);

/// Reads tokens, and finds the keys that they open.
#[derive(Debug)]
pub struct Jwts {
    settings: JwtSettings,
    issuer: Arc<Issuer>,
    merchant_keys: MerchantKeys,
}

/// What a valid token opens.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// The merchant's key for tokens, as statements find it.
    pub key: Presented,
    /// Whether the token has the scope that the request needs.
    pub has_scope: bool,
}

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no valid token of the issuer, for the reason that the text says. Clients are not told which.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The issuer's keys are not known at the moment, so nobody can tell.
    #[error("the issuer's keys are not known at the moment")]
    Unjudged,
    /// The database's error.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Its header or its claims cannot be read.
    #[error("it cannot be read")]
    Unreadable,
    /// Its header names no key.
    #[error("its header names no key (kid)")]
    NamesNoKey,
    /// It is no token of a kind that is known here, or must be read in a way that is not.
    #[error("its header has a typ or crit that is not known here")]
    OtherKind,
    /// The issuer has no such key.
    #[error("the issuer has no such key (kid)")]
    UnknownKey,
    /// The algorithm is not that of the key, or the signature is another one.
    #[error("its signature is not that of the key that it names")]
    NotSigned,
    /// `iss` is missing or another one.
    #[error("it is of another issuer (iss)")]
    OtherIssuer,
    /// `aud` is missing or another one.
    #[error("it is meant for somebody else (aud)")]
    OtherAudience,
    /// `exp` or `nbf` is missing or no number.
    #[error("it says not both from when and until when it holds (nbf, exp)")]
    Timeless,
    /// Its time is over.
    #[error("it has expired (exp)")]
    Expired,
    /// Its time has not come.
    #[error("it does not hold yet (nbf)")]
    NotYet,
    /// It would last too long.
    #[error("it lasts longer than 15 minutes (nbf, exp)")]
    TooLong,
    /// The claim that names the merchant is missing or no text.
    #[error("it names no merchant")]
    NamesNoMerchant,
    /// There is no merchant of that name.
    #[error("there is no merchant of the name that it says")]
    NoSuchMerchant,
}

impl Jwts {
    /// Tokens by these settings, of merchants in this database.
    #[must_use]
    pub fn new(settings: JwtSettings, pool: &PgPool) -> Self {
        let issuer = Arc::new(Issuer::at(settings.jwks_url.clone()));
        Self { settings, issuer, merchant_keys: MerchantKeys::new(pool.clone()) }
    }

    /// Where the keys come from, which somebody has to keep current.
    #[must_use]
    pub fn issuer(&self) -> Arc<Issuer> {
        self.issuer.clone()
    }

    /// What this text opens, of which [`looks_like_one`] says that it is to be read as a token.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub async fn open(&self, text: &str, needs: Scope) -> Result<Opened, Refused> {
        let token = Signed::read(text)?;
        let keys = match self.issuer.keys_with(&token.kid).await {
            Ok(keys) => keys,
            Err(Unjudged::NoSuchKey) => return Err(Invalid::UnknownKey.into()),
            Err(Unjudged::Away) => return Err(Refused::Unjudged),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = self.settings.judge(&token.claims(&keys)?, now)?;
        let key = self.merchant_keys.of(&claims.merchant).await?.ok_or(Invalid::NoSuchMerchant)?;
        Ok(Opened { key: key.presented(needs), has_scope: claims.scopes.contains(&needs) })
    }
}

/// Whether a secret is to be read as a token: three parts, of which the first is a JSON object. No secret
/// that is made here is one.
#[must_use]
pub fn looks_like_one(text: &str) -> bool {
    let mut parts = text.split('.');
    let header = parts.next().and_then(object);
    header.is_some() && parts.count() == 2
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claims {
    merchant: String,
    scopes: Vec<Scope>,
}

/// A token whose signature nobody has looked at.
struct Signed<'a> {
    algorithm: String,
    kid: String,
    /// The bytes that are signed: header and claims as they came.
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// The members of a header that mean something here.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Signed<'a> {
    fn read(text: &'a str) -> Result<Self, Invalid> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Invalid::Unreadable)?;
        let (header, claims) = signed.split_once('.').ok_or(Invalid::Unreadable)?;
        let header = serde_json::from_slice(&decoded(header)?);
        let Header { alg, kid, typ, crit } = header.map_err(|_| Invalid::Unreadable)?;
        let is_known = typ.is_none_or(|typ| {
            let typ = typ.to_ascii_lowercase();
            ["jwt", "at+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ))
        });
        // What `crit` names must be understood (RFC 7515, section 4.1.11), and nothing is here.
        if !is_known || crit.is_some() {
            return Err(Invalid::OtherKind);
        }
        let kid = kid.ok_or(Invalid::NamesNoKey)?;
        Ok(Self { algorithm: alg, kid, signed, claims, signature: decoded(signature)? })
    }

    /// What it says, if one of these keys signed it.
    fn claims(&self, keys: &KeySet) -> Result<Map<String, Value>, Invalid> {
        if !keys.verify(&self.kid, &self.algorithm, self.signed.as_bytes(), &self.signature) {
            return Err(Invalid::NotSigned);
        }
        object(self.claims).ok_or(Invalid::Unreadable)
    }
}

impl JwtSettings {
    /// What the claims of a token say that was verified, if they hold now. `now` is the time since 1970.
    fn judge(&self, claims: &Map<String, Value>, now: Duration) -> Result<Claims, Invalid> {
        if text(claims, "iss") != Some(&self.issuer) {
            return Err(Invalid::OtherIssuer);
        }
        let audiences = words(claims.get("aud"), |all| vec![all]);
        if !audiences.contains(&self.audience.as_str()) {
            return Err(Invalid::OtherAudience);
        }
        self.judge_time(claims, now)?;
        let merchant = text(claims, &self.merchant_claim).ok_or(Invalid::NamesNoMerchant)?.to_owned();
        let named = claims.get("scope").or_else(|| claims.get("scp"));
        let named = words(named, |all| all.split(' ').collect());
        let scopes = named.iter().filter_map(|word| word.parse().ok());
        let scopes = scopes.filter(|scope| Scope::OF_MERCHANTS.contains(scope)).collect();
        Ok(Claims { merchant, scopes })
    }

    fn judge_time(&self, claims: &Map<String, Value>, now: Duration) -> Result<(), Invalid> {
        let seconds = |name| claims.get(name).and_then(Value::as_f64);
        let (from, until) = seconds("nbf").zip(seconds("exp")).ok_or(Invalid::Timeless)?;
        let (now, skew) = (now.as_secs_f64(), self.clock_skew.as_secs_f64());
        if now >= until + skew {
            return Err(Invalid::Expired);
        }
        if now + skew < from {
            return Err(Invalid::NotYet);
        }
        if until - from > LONGEST.as_secs_f64() { Err(Invalid::TooLong) } else { Ok(()) }
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// The words of a claim that is one text or a list of texts.
fn words<'a>(claim: Option<&'a Value>, of_one: impl Fn(&'a str) -> Vec<&'a str>) -> Vec<&'a str> {
    match claim.and_then(Value::as_str) {
        Some(one) => of_one(one),
        None => claim.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect(),
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Invalid> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Invalid::Unreadable)
}

/// The JSON object that a part of a token is.
fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&decoded(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
