//! API keys: a merchant's secret, kept only as its hash.

use std::collections::HashMap;
use std::fmt;

use chrono::{DateTime, Utc};
use domain::ids::{KeyId, MerchantId};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::database::batch::Work;
use crate::database::{InTime as _, Lend, Seat};

/// What every secret begins with, so that people and secret scanners know what they have found.
const PREFIX: &str = "payonce_sk_";

/// How many characters of a secret are kept for people to tell keys apart.
const SHOWN: usize = PREFIX.len() + 6;

/// A key just made: the only moment at which its secret is known.
#[derive(Clone)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// What the client sends.
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
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// What that one is called.
    pub merchant_name: String,
    /// What people call it.
    pub name: String,
    /// The first characters of its secret.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it opens nothing; none while it does.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A secret's hash, by which its key is found: SHA-256. A secret has 256 random bits, so a slow hash would add nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of a secret, or of whatever came in its place.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// As it is stored.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

/// A new random secret: 256 bits, in hex.
#[must_use]
pub fn generate_secret() -> String {
    format!("{PREFIX}{}", hex::encode(rand::rng().random::<[u8; 32]>()))
}

/// What may be shown of a secret. Of anything that is no secret of ours nothing: it may be somebody else's.
#[must_use]
pub fn shown(secret: &str) -> &str {
    secret.get(..SHOWN).filter(|shown| shown.starts_with(PREFIX)).unwrap_or("no key of ours")
}

/// Makes a key for a merchant.
///
/// # Errors
/// No such merchant, or the database's own.
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
/// The database's.
pub async fn list_keys(pool: &PgPool) -> sqlx::Result<Vec<KeySummary>> {
    let rows = sqlx::query!(
        "select k.id, m.name as merchant_name, k.name, k.prefix, k.created_at, k.revoked_at, k.merchant_id
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
        })
        .collect())
}

/// Ends a key. Answers false where there is no such key; ending it twice keeps the first time.
///
/// # Errors
/// The database's.
pub async fn revoke_key(pool: &PgPool, id: KeyId) -> sqlx::Result<bool> {
    let revoked = sqlx::query!(
        "update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1",
        id.uuid()
    )
    .execute(pool)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// With which key.
    pub key: KeyId,
    /// Whose key it is.
    pub merchant: MerchantId,
}

/// Whose secrets they are, in their order; none for one that is unknown or was revoked. Found by hash, so the time it takes
/// says nothing.
///
/// # Errors
/// The database's.
pub async fn find_callers(on: &impl Lend, secrets: &[SecretHash]) -> sqlx::Result<Vec<Option<Caller>>> {
    let hashes: Vec<_> = secrets.iter().map(|secret| secret.bytes()).collect();
    let mut connection = on.lend().await?;
    let found = sqlx::query!(
        "select id, secret_hash, merchant_id from api_keys where secret_hash = any($1) and revoked_at is null",
        &hashes
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    let by_hash: HashMap<_, _> = connection
        .back(found)?
        .into_iter()
        .map(|key| (key.secret_hash, Caller { key: key.id.into(), merchant: key.merchant_id.into() }))
        .collect();
    Ok(hashes.iter().map(|hash| by_hash.get(hash).copied()).collect())
}

/// Finding out whose secrets they are, for many requests at once. The database is asked for every request, so that a key
/// which was revoked is refused from then on.
pub struct Authenticating {
    /// Where the keys are.
    pub seat: Seat,
}

impl Work for Authenticating {
    type Item = SecretHash;
    /// None where it is unknown or was revoked.
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
