//! An issuer of JWTs of a test's own, with the host of its keys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::Impostor;

/// What it says of itself.
pub const ISSUER: &str = "https://id.example";

/// An issuer. When it is dropped, its host is away.
#[derive(Debug)]
pub struct Issuer {
    host: Impostor,
    published: Arc<Mutex<Published>>,
}

#[derive(Debug)]
struct Published {
    keys: Vec<Value>,
    reads: usize,
}

/// A key by which it signs.
#[derive(Debug)]
pub struct SigningKey {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Issuer {
    /// Starts one, which publishes these keys.
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let keys = keys.iter().map(|key| key.published()).collect();
        let published = Arc::new(Mutex::new(Published { keys, reads: 0 }));
        let shown = published.clone();
        let host = Impostor::start(move |_| {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.reads += 1;
            json!({ "keys": shown.keys })
        });
        Self { host: host.await, published }
    }

    /// The settings of an API that takes its tokens.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        [("JWT_ISSUER", ISSUER.to_owned()), ("JWKS_URL", format!("{}/jwks", self.host.url))]
    }

    /// Publishes these keys, and no others any more.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.published().keys = keys.iter().map(|key| key.published()).collect();
    }

    /// How often its keys were read.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.published().reads
    }

    fn published(&self) -> std::sync::MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SigningKey {
    /// A new key of this id.
    ///
    /// # Panics
    /// The system has no random numbers.
    #[must_use]
    pub fn new(kid: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("a key");
        Self { kid: kid.to_owned(), pair }
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.kid, "typ": "JWT" });
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = encoded(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn published(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": encoded(self.pair.public_key()) })
    }
}

/// The claims of a token that holds for some minutes, of this merchant and with these scopes.
#[must_use]
pub fn claims(merchant: &str, scope: &str) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    json!({ "iss": ISSUER, "aud": "payonce", "nbf": now - 10, "exp": now + 600, "merchant": merchant, "scope": scope })
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
