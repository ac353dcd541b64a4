//! The key that tokens of a merchant open. It is made when the first of them comes.
//!
//! Invariant: no secret opens it. Its hash is random, so nobody knows a text that has it. A process learns
//! the hash only to name it in statements, and learns it again every minute. A key that was revoked stays so,
//! and each statement finds that out by itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::ids::KeyId;
use sqlx::PgPool;

use crate::database::InTime as _;
use crate::merchant::auth::Presented;
use crate::merchant::scope::Scope;

/// How long what was read of a key is taken as known.
const KNOWN_FOR: Duration = Duration::from_mins(1);

/// The key of one merchant's tokens.
#[derive(Clone, Copy)]
pub(super) struct MerchantKey {
    id: KeyId,
    hash: [u8; 32],
}

impl MerchantKey {
    /// The key as statements find it.
    pub(super) const fn presented(&self, needs: Scope) -> Presented {
        Presented::of_jwts(self.id, self.hash, needs)
    }
}

/// The keys of merchants whose tokens came, by the merchant's name. Only a merchant that exists has a place
/// here, so strangers cannot fill the memory.
pub(super) struct MerchantKeys {
    pool: PgPool,
    known: Mutex<HashMap<String, (MerchantKey, Instant)>>,
}

impl MerchantKeys {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, known: Mutex::default() }
    }

    /// The key of the merchant of that name; none if there is no such merchant.
    pub(super) async fn of(&self, merchant: &str) -> sqlx::Result<Option<MerchantKey>> {
        let known = self.known().get(merchant).copied();
        if let Some((key, _)) = known.filter(|(_, read_at)| read_at.elapsed() < KNOWN_FOR) {
            return Ok(Some(key));
        }
        let key = match find(&self.pool, merchant).await? {
            Some(key) => Some(key),
            None => make(&self.pool, merchant).await?,
        };
        match key {
            Some(key) => self.known().insert(merchant.to_owned(), (key, Instant::now())),
            None => self.known().remove(merchant),
        };
        Ok(key)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (MerchantKey, Instant)>> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MerchantKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MerchantKeys").finish_non_exhaustive()
    }
}

/// The scopes of such a key: all that a merchant's may have, as each token says which of them it has.
fn scopes() -> Vec<String> {
    Scope::OF_MERCHANTS.iter().map(|it| it.as_str().to_owned()).collect()
}

/// The key, if it was made with all scopes that there are today.
async fn find(pool: &PgPool, merchant: &str) -> sqlx::Result<Option<MerchantKey>> {
    let row = sqlx::query!(
        "select k.id, k.secret_hash from api_keys k join merchants m on m.id = k.merchant_id
          where m.name = $1 and k.is_of_jwts and $2 <@ k.scopes",
        merchant,
        &scopes()
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(row.and_then(|row| read(row.id, &row.secret_hash)))
}

/// Makes the key, or gives it the scopes that were added since. None if there is no such merchant.
async fn make(pool: &PgPool, merchant: &str) -> sqlx::Result<Option<MerchantKey>> {
    let id = KeyId::generate();
    let row = sqlx::query!(
        "insert into api_keys (id, merchant_id, name, prefix, secret_hash, scopes, is_of_jwts)
         select $1, id, 'JWT', $2, $3, $4, true from merchants where name = $5
             on conflict (merchant_id) where is_of_jwts do update set scopes = excluded.scopes
         returning id, secret_hash",
        id.uuid(),
        id.to_string(),
        &rand::random::<[u8; 32]>()[..],
        &scopes(),
        merchant
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(row.and_then(|row| read(row.id, &row.secret_hash)))
}

/// A key as it is stored. The table's checks see to the length of the hash.
fn read(id: uuid::Uuid, hash: &[u8]) -> Option<MerchantKey> {
    Some(MerchantKey { id: id.into(), hash: hash.try_into().ok()? })
}
