//! The secrets of endpoints. We sign with them, so they are kept, sealed under a key outside the database.
//!
//! Invariant: neither a secret nor the key is stored or logged in the clear. A mark tells which key a secret
//! is sealed under.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::EndpointId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

use crate::platform::config::{self, InvalidSetting};

/// The bytes of a secret: as many as a SHA-256 has.
const SECRET_BYTES: usize = 32;

/// What stands before a secret, by Standard Webhooks 1.0.0.
const PREFIX: &str = "whsec_";

/// The key that secrets are sealed under, and the one that it replaces.
#[derive(Clone)]
pub struct SealingKeys {
    keys: Vec<([u8; 32], String)>,
}

/// Why a text is no key. It never shows the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "give one key of 64 hex digits, which `openssl rand -hex 32` makes; or two, the first for new secrets, with a comma between"
)]
pub struct NoSealingKey;

/// Why a secret cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key here opens the endpoint's secret: WEBHOOK_SECRET_KEY is another one")]
pub struct Sealed;

/// A secret, by which deliveries are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl SealingKeys {
    /// Reads this variable, or the file that the other one names; none if neither is set.
    ///
    /// # Errors
    /// What they hold is no key.
    pub fn from_env(name: &str, file: &str) -> Result<Option<Self>, InvalidSetting> {
        let keys = config::secret(name, file)?.map(|text| Self::read(&text)).transpose();
        keys.map_err(|why| InvalidSetting::new(name, why))
    }

    /// The text of a key that follows from another secret: for who tries things out and has not made one.
    #[must_use]
    pub fn following_from(secret: &str) -> String {
        hex::encode(Sha256::new_with_prefix("webhooks").chain_update(secret).finalize())
    }

    /// Reads one key, or two with a comma between. The first is that of new secrets.
    ///
    /// # Errors
    /// The text is none.
    pub fn read(text: &str) -> Result<Self, NoSealingKey> {
        let keys = text.split(',').map(|text| {
            let key: [u8; 32] = hex::decode(text.trim()).ok()?.try_into().ok()?;
            let mark = hex::encode(Sha256::new_with_prefix("mark of a key").chain_update(key).finalize());
            Some((key, mark.get(..8)?.to_owned()))
        });
        let keys: Vec<_> = keys.collect::<Option<_>>().ok_or(NoSealingKey)?;
        if keys.len() > 2 { Err(NoSealingKey) } else { Ok(Self { keys }) }
    }

    /// The marks of all keys that are known here.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        self.keys.iter().map(|(_, mark)| mark.clone()).collect()
    }

    /// Seals the secret of that number, of this endpoint and no other. Answers the mark of the key, too.
    ///
    /// # Errors
    /// There is no key, which cannot be.
    pub fn seal(&self, secret: &Secret, of: EndpointId, number: i32) -> Result<(Vec<u8>, String), Sealed> {
        let (key, mark) = self.keys.first().ok_or(Sealed)?;
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.0.to_vec();
        aead(key)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), about(of, number), &mut sealed)
            .map_err(|_| Sealed)?;
        Ok(([&nonce[..], &sealed].concat(), mark.clone()))
    }

    /// Opens what [`Self::seal`] sealed under the key of that mark.
    ///
    /// # Errors
    /// No such key is known here, or it is not what was sealed.
    pub fn open(&self, sealed: &[u8], mark: &str, of: EndpointId, number: i32) -> Result<Secret, Sealed> {
        let (key, _) = self.keys.iter().find(|(_, known)| known == mark).ok_or(Sealed)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Sealed)?;
        let mut sealed = sealed.to_vec();
        let opened = aead(key)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), about(of, number), &mut sealed)
            .map_err(|_| Sealed)?;
        <[u8; SECRET_BYTES]>::try_from(&*opened).map(Secret).map_err(|_| Sealed)
    }
}

fn aead(key: &[u8; 32]) -> Result<LessSafeKey, Sealed> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| Sealed)
}

fn about(of: EndpointId, number: i32) -> Aad<String> {
    Aad::from(format!("{of} {number}"))
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.marks()).finish()
    }
}

impl Secret {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// As the merchant is shown it, once.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// The signature `v1` of a delivery, by Standard Webhooks 1.0.0.
    ///
    /// # Errors
    /// HMAC takes no key of that length. It takes all.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> Result<String, Sealed> {
        let keyed = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| Sealed)?;
        let signed = keyed.chain_update(format!("{id}.{timestamp}.{body}")).finalize().into_bytes();
        Ok(format!("v1,{}", STANDARD.encode(signed)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const TWO: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_secret_is_opened_by_its_key_for_its_endpoint_and_number_alone() {
        let (one, both) =
            (SealingKeys::read(ONE).unwrap(), SealingKeys::read(&format!("{TWO}, {ONE}")).unwrap());
        let (endpoint, secret) = (EndpointId::generate(), Secret::generate());
        let (sealed, mark) = one.seal(&secret, endpoint, 1).unwrap();
        assert_eq!(both.open(&sealed, &mark, endpoint, 1), Ok(secret.clone()));
        assert_eq!(one.open(&sealed, &mark, endpoint, 2), Err(Sealed));
        assert_eq!(one.open(&sealed, &mark, EndpointId::generate(), 1), Err(Sealed));
        assert_eq!(SealingKeys::read(TWO).unwrap().open(&sealed, &mark, endpoint, 1), Err(Sealed));
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert_eq!(one.open(&other, &mark, endpoint, 1), Err(Sealed), "byte {at}");
        }
        assert!(!sealed.windows(8).any(|part| part == &secret.0[..8]));
        for wrong in ["", &ONE[2..], &format!("{ONE},"), &format!("{ONE},{TWO},{ONE}"), "zz"] {
            assert!(SealingKeys::read(wrong).is_err(), "{wrong}");
        }
    }

    /// Computed by the published libraries for Python and for JavaScript, which agree.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let secret = Secret(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(secret.shown(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let signed = secret.sign("evt_1", 1_796_000_000, r#"{"a":1}"#).unwrap();
        assert_eq!(signed, "v1,fxlNM4gxryC/rwLGMghUXPf2VSGDCTem8+8cPXwrcJ8=");
    }
}
