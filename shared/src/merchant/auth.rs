//! Whose key a request brought.
//!
//! Invariant: nothing is remembered of keys. Each statement that serves a merchant finds the key itself, by
//! the function `key_of`, so a revoked or expired key opens nothing from the next request on, at every
//! process. A secret is compared as its hash under the pepper, so the time that it takes says nothing about
//! what is stored.

use std::fmt;

use domain::ids::{KeyId, MerchantId};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::limits::{KeyLimits, StoredLimit};
use super::pepper::Peppers;
use super::scope::Scope;
use super::secret;
use crate::database::batch::Work;
use crate::database::{InTime as _, Lend, Seat};

/// A secret as a request brought it, and what it is to open.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Presented {
    /// The key that the secret names.
    named: Option<KeyId>,
    /// Its hash under the pepper of new keys; the SHA-256 of a secret that names no key.
    hash: [u8; 32],
    /// Its hash under the other pepper, or the same once more.
    other_hash: [u8; 32],
    needs: Scope,
}

impl Presented {
    /// Reads what a client sent. None if it is garbled, and so surely no key.
    #[must_use]
    pub fn read(text: &str, peppers: &Peppers, needs: Scope) -> Option<Self> {
        let named = secret::named(text).ok()?;
        let (hash, other_hash) = match named {
            Some(_) => peppers.hashes(text),
            None => (sha256(text), sha256(text)),
        };
        Some(Self { named, hash, other_hash, needs })
    }

    /// The key of a merchant's JWTs, whose hash is in the database, and no text has it.
    pub(super) const fn of_jwts(key: KeyId, hash: [u8; 32], needs: Scope) -> Self {
        Self { named: Some(key), hash, other_hash: hash, needs }
    }

    /// The id of the key, where the secret names it.
    #[must_use]
    pub const fn named(&self) -> Option<KeyId> {
        self.named
    }

    /// The scope that a key must have for this request.
    #[must_use]
    pub const fn needs(&self) -> Scope {
        self.needs
    }

    /// A number by which secrets take turns.
    pub(crate) fn number(&self) -> u64 {
        self.hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// What tells secrets apart.
    pub(super) const fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("named", &self.named)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// The hash of a secret that names no key. Such a secret is random or long, so a slow hash would add nothing.
pub(super) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Secrets as statements take them: the arguments of `key_of`, a column each.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) named: Vec<Option<Uuid>>,
    pub(crate) hashes: Vec<Vec<u8>>,
    pub(crate) other_hashes: Vec<Vec<u8>>,
}

impl Columns {
    pub(crate) fn push(&mut self, presented: &Presented) {
        self.named.push(presented.named.map(KeyId::uuid));
        self.hashes.push(presented.hash.to_vec());
        self.other_hashes.push(presented.other_hash.to_vec());
    }

    pub(crate) fn of<'a>(all: impl IntoIterator<Item = &'a Presented>) -> Self {
        let mut columns = Self::default();
        all.into_iter().for_each(|presented| columns.push(presented));
        columns
    }
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A merchant's.
    Merchant(MerchantId),
    /// An operator's, by name.
    Operator(String),
}

/// The key that a secret opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The id of the key.
    pub key: KeyId,
    /// Whose key it is.
    pub owner: Owner,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// The limits that are stored with the key.
    pub limits: KeyLimits,
}

/// The merchant who calls the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The id of the key.
    pub key: KeyId,
    /// The merchant whose key it is.
    pub merchant: MerchantId,
    /// The limits that are stored with the key.
    pub limits: KeyLimits,
}

impl Holder {
    /// The merchant whose key this is, if the key has that scope.
    #[must_use]
    pub fn caller(&self, needs: Scope) -> Option<Caller> {
        match self.owner {
            Owner::Merchant(merchant) if self.scopes.contains(&needs) => {
                Some(Caller { key: self.key, merchant, limits: self.limits })
            }
            Owner::Merchant(_) | Owner::Operator(_) => None,
        }
    }

    /// The name of the operator whose key this is, if the key has that scope.
    #[must_use]
    pub fn operator(&self, needs: Scope) -> Option<&str> {
        match &self.owner {
            Owner::Operator(name) if self.scopes.contains(&needs) => Some(name),
            Owner::Merchant(_) | Owner::Operator(_) => None,
        }
    }
}

/// The keys that these secrets open, in the same order; none for a secret that is unknown, was revoked or has
/// expired.
///
/// # Errors
/// Returns the database's error.
pub async fn find_callers(on: &impl Lend, secrets: &[Presented]) -> sqlx::Result<Vec<Option<Holder>>> {
    let columns = Columns::of(secrets);
    let mut connection = on.lend().await?;
    let found = sqlx::query!(
        "select k.n as \"n!\", a.key_id as \"key!\", a.merchant_id, a.operator, a.scopes as \"scopes!\",
                l.writes_per_s, l.writes_burst, l.reads_per_s, l.reads_burst
           from unnest($1::uuid[], $2::bytea[], $3::bytea[]) with ordinality as k (named, hash, other_hash, n)
          cross join lateral key_of(k.named, k.hash, k.other_hash) as a
           join api_keys l on l.id = a.key_id",
        &columns.named as &[Option<Uuid>],
        &columns.hashes,
        &columns.other_hashes
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    let mut holders = vec![None; secrets.len()];
    for row in connection.back(found)? {
        let owner = match (row.merchant_id, row.operator) {
            (Some(merchant), _) => Owner::Merchant(merchant.into()),
            (None, Some(name)) => Owner::Operator(name),
            (None, None) => continue,
        };
        let limits = KeyLimits {
            writes: StoredLimit::of(row.writes_per_s, row.writes_burst).and_then(StoredLimit::rate),
            reads: StoredLimit::of(row.reads_per_s, row.reads_burst).and_then(StoredLimit::rate),
        };
        let holder = Holder { key: row.key.into(), owner, scopes: scopes(&row.scopes), limits };
        if let Some(place) = usize::try_from(row.n - 1).ok().and_then(|n| holders.get_mut(n)) {
            *place = Some(holder);
        }
    }
    Ok(holders)
}

/// Scopes as they are stored. A word of a later version opens nothing here.
pub(super) fn scopes(words: &[String]) -> Vec<Scope> {
    words.iter().filter_map(|word| word.parse().ok()).collect()
}

/// Finds the keys of many requests at once.
pub struct Authenticating {
    /// The connection to the keys.
    pub seat: Seat,
}

impl Authenticating {
    /// One that asks by a connection of this pool.
    #[must_use]
    pub fn by(pool: &PgPool) -> Self {
        Self { seat: Seat::new(pool.clone()) }
    }
}

impl Work for Authenticating {
    type Item = Presented;
    /// None if the secret is unknown, was revoked or has expired.
    type Answer = Option<Holder>;
    type Error = sqlx::Error;

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, secrets: &[Presented]) -> sqlx::Result<Vec<Option<Holder>>> {
        find_callers(&self.seat, secrets).await
    }
}
