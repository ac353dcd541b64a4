//! The keys of an issuer, as it publishes them (JWKS, RFC 7517).
//!
//! Invariant: each key verifies by one algorithm, which follows from what kind of key it is. A public key is
//! never taken as the secret of an HMAC, and nothing is verified by `none`.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// The keys of one issuer that can be used here.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

struct Key {
    kid: String,
    material: Material,
}

enum Material {
    Ed25519(Vec<u8>),
    /// The point, uncompressed.
    P256(Vec<u8>),
    /// Modulus and exponent, without zeros in front.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

/// Why a document is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKeySet {
    #[error("it is no set of keys (RFC 7517)")]
    Unreadable,
    #[error("it has no key with a kid for EdDSA, ES256 or RS256")]
    Empty,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The members of a key that mean something here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads a published set. A key that is not for signatures, or of a kind that is not known here, is left
    /// out.
    pub(super) fn read(document: &[u8]) -> Result<Self, NoKeySet> {
        let document: Document = serde_json::from_slice(document).map_err(|_| NoKeySet::Unreadable)?;
        let keys: Vec<Key> = document.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(NoKeySet::Empty) } else { Ok(Self(keys)) }
    }

    /// Whether there is a key of that id.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid == kid)
    }

    /// Whether a key of that id, whose algorithm is called so, made this signature.
    pub(super) fn verify(&self, kid: &str, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        let of_kid = self.0.iter().filter(|key| key.kid == kid);
        of_kid
            .filter(|key| key.material.algorithms().contains(&algorithm))
            .any(|key| key.material.has_signed(signed, signature))
    }
}

impl Key {
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|all| all.iter().any(|it| it == "verify"));
        let material = Material::read(&jwk).filter(|it| {
            is_for_signatures && jwk.alg.as_deref().is_none_or(|alg| it.algorithms().contains(&alg))
        })?;
        Some(Self { kid: jwk.kid?, material })
    }
}

impl Material {
    fn read(jwk: &Jwk) -> Option<Self> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => bytes(jwk.x.as_ref(), 32).map(Self::Ed25519),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(jwk.x.as_ref(), 32)?, bytes(jwk.y.as_ref(), 32)?);
                Some(Self::P256([&[4], &x[..], &y].concat()))
            }
            ("RSA", _) => {
                let whole = |member: Option<&String>| {
                    let bytes = BASE64_URL_SAFE_NO_PAD.decode(member?).ok()?;
                    Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>())
                };
                let (n, e) = (whole(jwk.n.as_ref())?, whole(jwk.e.as_ref())?);
                // From 2,048 to 8,192 bits, as the algorithm below takes them.
                let is_strong = (256..=1024).contains(&n.len()) && !e.is_empty();
                is_strong.then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
            }
            _ => None,
        }
    }

    /// The names of the one algorithm by which it verifies. `EdDSA` has a second one since RFC 9864.
    const fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Ed25519(_) => &["EdDSA", "Ed25519"],
            Self::P256(_) => &["ES256"],
            Self::Rsa(_) => &["RS256"],
        }
    }

    fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
            Self::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed, signature)
            }
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature),
        };
        verified.is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A member of exactly so many bytes.
fn bytes(member: Option<&String>, length: usize) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(member?).ok().filter(|bytes| bytes.len() == length)
}
