//! API keys: a merchant's secret, kept only as its hash.

use std::collections::HashMap;
use std::fmt;

use chrono::{DateTime, Utc};
use domain::ids::{KeyId, MerchantId};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use super::limits::{KeyLimits, StoredLimit};
use crate::database::batch::Work;
use crate::database::{InTime as _, Lend, Seat};

/// The beginning of every secret, by which people and secret scanners know what they have found.
const PREFIX: &str = "payonce_sk_";

/// How many characters of a secret are kept for people to tell keys apart.
const SHOWN: usize = PREFIX.len() + 6;

/// A key that was just made: the only moment at which its secret is known.
#[derive(Clone)]
pub struct NewKey {
    /// The id, by which the key is revoked.
    pub id: KeyId,
    /// The secret that the client sends.
    pub secret: String,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The id, by which the key is revoked.
    pub id: KeyId,
    /// The merchant whose key it is.
    pub merchant_id: MerchantId,
    /// The unique name of that merchant.
    pub merchant_name: String,
    /// The name that people gave the key.
    pub name: String,
    /// The first characters of its secret.
    pub prefix: String,
    /// When the key was made.
    pub created_at: DateTime<Utc>,
    /// Since when the key opens nothing; none while it does.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Its own limit of requests that may change something; none is the default.
    pub writes: Option<StoredLimit>,
    /// Its own limit of requests that only read; none is the default.
    pub reads: Option<StoredLimit>,
}

/// A secret's SHA-256, by which its key is found. A secret has 256 random bits, so a slow hash would add
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a secret, or of any text that came in its place.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// A number that two secrets hardly share.
    pub(crate) fn number(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The hash as it is stored.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

/// A new random secret: 256 bits, in hex.
#[must_use]
pub fn generate_secret() -> String {
    format!("{PREFIX}{}", hex::encode(rand::rng().random::<[u8; 32]>()))
}

/// The part of a secret that may be shown. Of a text that is no secret of ours nothing is shown: it may be
/// somebody else's.
#[must_use]
pub fn shown(secret: &str) -> &str {
    secret.get(..SHOWN).filter(|shown| shown.starts_with(PREFIX)).unwrap_or("no key of ours")
}

/// Makes a key for a merchant.
///
/// # Errors
/// There is no such merchant, or the database's own error.
pub async fn create_key(pool: &PgPool, merchant: MerchantId, name: &str) -> sqlx::Result<NewKey> {
    let key = NewKey { id: KeyId::generate(), secret: generate_secret() };
    sqlx::query!(
        "insert into api_keys (id, merchant_id, name, prefix, secret_hash) values ($1, $2, $3, $4, $5)",
        key.id.uuid(),
        merchant.uuid(),
        name,
        shown(&key.secret),
        SecretHash::of(&key.secret).bytes()
    )
    .execute(pool)
    .await?;
    Ok(key)
}

/// All keys, oldest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list_keys(pool: &PgPool) -> sqlx::Result<Vec<KeySummary>> {
    let rows = sqlx::query!(
        "select k.id, m.name as merchant_name, k.name, k.prefix, k.created_at, k.revoked_at, k.merchant_id,
                k.writes_per_s, k.writes_burst, k.reads_per_s, k.reads_burst
           from api_keys k
           join merchants m on m.id = k.merchant_id
          order by k.id"
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| KeySummary {
            id: row.id.into(),
            merchant_id: row.merchant_id.into(),
            merchant_name: row.merchant_name,
            name: row.name,
            prefix: row.prefix,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
            writes: StoredLimit::of(row.writes_per_s, row.writes_burst),
            reads: StoredLimit::of(row.reads_per_s, row.reads_burst),
        })
        .collect())
}

/// Ends a key. Answers false if there is no such key. Ending it twice keeps the first time.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn revoke_key(pool: &PgPool, id: KeyId) -> sqlx::Result<bool> {
    let revoked = sqlx::query!(
        "update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1",
        id.uuid()
    )
    .execute(pool)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// The caller of the API, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The id of the key.
    pub key: KeyId,
    /// The merchant whose key it is.
    pub merchant: MerchantId,
    /// The limits that are stored with the key.
    pub limits: KeyLimits,
}

/// The callers with these secrets, in the same order; none for a secret that is unknown or was revoked. Keys
/// are found by hash, so the time that it takes says nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn find_callers(on: &impl Lend, secrets: &[SecretHash]) -> sqlx::Result<Vec<Option<Caller>>> {
    let hashes: Vec<_> = secrets.iter().map(|secret| secret.bytes()).collect();
    let mut connection = on.lend().await?;
    let found = sqlx::query!(
        "select id, secret_hash, merchant_id, writes_per_s, writes_burst, reads_per_s, reads_burst
           from api_keys where secret_hash = any($1) and revoked_at is null",
        &hashes
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    let by_hash: HashMap<_, _> = connection
        .back(found)?
        .into_iter()
        .map(|key| {
            let limits = KeyLimits {
                writes: StoredLimit::of(key.writes_per_s, key.writes_burst).and_then(StoredLimit::rate),
                reads: StoredLimit::of(key.reads_per_s, key.reads_burst).and_then(StoredLimit::rate),
            };
            let caller = Caller { key: key.id.into(), merchant: key.merchant_id.into(), limits };
            (key.secret_hash, caller)
        })
        .collect();
    Ok(hashes.iter().map(|hash| by_hash.get(hash).copied()).collect())
}

/// Finds the callers of many requests at once. The database is asked for every request, so that a revoked key
/// is refused from then on.
pub struct Authenticating {
    /// The connection to the keys.
    pub seat: Seat,
}

impl Work for Authenticating {
    type Item = SecretHash;
    /// None if the secret is unknown or was revoked.
    type Answer = Option<Caller>;
    type Error = sqlx::Error;

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, secrets: &[SecretHash]) -> sqlx::Result<Vec<Option<Caller>>> {
        find_callers(&self.seat, secrets).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_only_its_first_characters_are_shown_and_of_any_other_word_none() {
        let secret = generate_secret();
        assert_eq!(shown(&secret), &secret[..17]);
        for other in ["", "payonce_sk_1234", "hunter2hunter2hunter2", "pässwörd-pässwörd-pässwörd"] {
            assert_eq!(shown(other), "no key of ours", "{other}");
        }
    }
}
