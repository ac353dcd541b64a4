//! Keys: made, listed, given another secret, and ended. A secret is known only at the moment at which it is
//! made.
//!
//! Each of these is one statement, so that a key never stands there by halves.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use domain::ids::{KeyId, MerchantId};
use sqlx::PgPool;

use super::auth::{Owner, scopes, sha256};
use super::limits::StoredLimit;
use super::pepper::Peppers;
use super::scope::Scope;
use super::secret;

/// A secret that was just made: the only moment at which it is known.
#[derive(Clone)]
pub struct NewKey {
    /// The id of its key.
    pub id: KeyId,
    /// The secret that the client sends.
    pub secret: String,
    /// From when on the key opens nothing; none where it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Whose key it is to be.
    pub owner: Owner,
    /// The name that people give it.
    pub name: &'a str,
    /// What it is to open.
    pub scopes: &'a [Scope],
    /// How long it is to open anything; none without end.
    pub expires_in: Option<Duration>,
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The id, by which the key is revoked and which its secret names.
    pub id: KeyId,
    /// The merchant whose key it is; none where it is an operator's.
    pub merchant_id: Option<MerchantId>,
    /// The unique name of that merchant.
    pub merchant_name: Option<String>,
    /// The operator whose key it is; none where it is a merchant's.
    pub operator: Option<String>,
    /// The name that people gave the key.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// The first characters of a secret that names no key; else the id once more.
    pub prefix: String,
    /// The mark of the pepper under which its secret is stored; none for a secret of before.
    pub pepper: Option<String>,
    /// When the key was made.
    pub created_at: DateTime<Utc>,
    /// From when on the key opens nothing; none where it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Until when the secret before opens as much; none where there was no other.
    pub prior_until: Option<DateTime<Utc>>,
    /// The last day, by UTC, on which an API was asked with it.
    pub last_used_on: Option<NaiveDate>,
    /// Since when the key opens nothing; none while it does.
    pub revoked_at: Option<DateTime<Utc>>,
    /// How many requests that may change something it may make; none is the default of the settings.
    pub writes: Option<StoredLimit>,
    /// The same of requests that only read.
    pub reads: Option<StoredLimit>,
}

/// Makes a key for a merchant, with the scopes of merchants and without an end.
///
/// # Errors
/// See [`create`].
pub async fn create_for(
    pool: &PgPool,
    peppers: &Peppers,
    merchant: MerchantId,
    name: &str,
) -> sqlx::Result<NewKey> {
    let owner = Owner::Merchant(merchant);
    create(pool, peppers, &Wanted { owner, name, scopes: Scope::OF_MERCHANTS, expires_in: None }).await
}

/// Makes a key.
///
/// # Errors
/// There is no such merchant, the scopes are not those of its owner, or the database's own error.
pub async fn create(pool: &PgPool, peppers: &Peppers, wanted: &Wanted<'_>) -> sqlx::Result<NewKey> {
    let id = KeyId::generate();
    let secret = secret::generate(id);
    let (merchant, operator) = match &wanted.owner {
        Owner::Merchant(merchant) => (Some(merchant.uuid()), None),
        Owner::Operator(name) => (None, Some(name)),
    };
    let scopes: Vec<String> = wanted.scopes.iter().map(|it| it.as_str().to_owned()).collect();
    let expires_at = sqlx::query_scalar!(
        "insert into api_keys (id, merchant_id, operator, name, scopes, prefix, secret_hash, pepper, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + make_interval(secs => $9))
         returning expires_at",
        id.uuid(),
        merchant,
        operator,
        wanted.name,
        &scopes,
        secret::shown(&secret),
        &peppers.hashes(&secret).0[..],
        peppers.mark(),
        wanted.expires_in.map(|it| it.as_secs_f64())
    )
    .fetch_one(pool)
    .await?;
    Ok(NewKey { id, secret, expires_at })
}

/// All keys, oldest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<KeySummary>> {
    let rows = sqlx::query!(
        "select k.id, k.merchant_id, m.name as \"merchant_name?\", k.operator, k.name, k.scopes, k.prefix, k.pepper,
                k.created_at, k.expires_at, k.prior_until, k.last_used_on, k.revoked_at,
                k.writes_per_s, k.writes_burst, k.reads_per_s, k.reads_burst
           from api_keys k
           left join merchants m on m.id = k.merchant_id
          order by k.id"
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| KeySummary {
            id: row.id.into(),
            merchant_id: row.merchant_id.map(MerchantId::from),
            merchant_name: row.merchant_name,
            operator: row.operator,
            name: row.name,
            scopes: scopes(&row.scopes),
            prefix: row.prefix,
            pepper: row.pepper,
            created_at: row.created_at,
            expires_at: row.expires_at,
            prior_until: row.prior_until,
            last_used_on: row.last_used_on,
            revoked_at: row.revoked_at,
            writes: StoredLimit::of(row.writes_per_s, row.writes_burst),
            reads: StoredLimit::of(row.reads_per_s, row.reads_burst),
        })
        .collect())
}

/// How many keys open nothing for want of their pepper, though they are neither revoked nor expired.
///
/// # Errors
/// Returns the database's error.
pub async fn under_other_peppers(pool: &PgPool, peppers: &Peppers) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select count(*) as \"count!\" from api_keys
          where pepper <> all ($1) and revoked_at is null and (expires_at is null or expires_at > now())",
        &peppers.marks()
    )
    .fetch_one(pool)
    .await
}

/// Ends a key. Answers false if there is no such key. Ending it twice keeps the first time.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn revoke(pool: &PgPool, id: KeyId) -> sqlx::Result<bool> {
    let revoked = sqlx::query!(
        "update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1",
        id.uuid()
    )
    .execute(pool)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// What came of giving a key another secret.
#[derive(Debug)]
pub enum Rotated {
    /// The new secret, and until when the one before opens as much.
    Done(NewKey, DateTime<Utc>),
    /// There is no such key.
    NoSuchKey,
    /// It was revoked or has expired.
    Ended,
    /// The secret before the present one opens as much until then, and would end at once.
    TwoAlready(DateTime<Utc>),
    /// It is the key of `API_KEY`, which has the secret that stands there.
    OfEnvironment,
    /// It is what the tokens of a merchant open, and has no secret.
    OfJwts,
}

/// Gives a key another secret. The one that it had opens as much for `overlap`, and then ends by itself. With
/// no overlap it ends at once, and so does one before it.
///
/// # Errors
/// The database's error. The new secret is lost then; the call may be repeated with no overlap.
pub async fn rotate(pool: &PgPool, peppers: &Peppers, id: KeyId, overlap: Duration) -> sqlx::Result<Rotated> {
    let secret = secret::generate(id);
    let rotated = sqlx::query!(
        "update api_keys
            set prior_hash = secret_hash, prior_until = clock_timestamp() + make_interval(secs => $2::float8),
                secret_hash = $3, prefix = $4, pepper = $5
          where id = $1 and revoked_at is null and (expires_at is null or expires_at > now()) and not is_seeded
            and not is_of_jwts and (prior_until is null or prior_until <= now() or $2::float8 = 0)
         returning prior_until as \"prior_until!\", expires_at",
        id.uuid(),
        overlap.as_secs_f64(),
        &peppers.hashes(&secret).0[..],
        secret::shown(&secret),
        peppers.mark()
    )
    .fetch_optional(pool)
    .await?;
    match rotated {
        Some(row) => Ok(Rotated::Done(NewKey { id, secret, expires_at: row.expires_at }, row.prior_until)),
        None => why_not_rotated(pool, id).await,
    }
}

async fn why_not_rotated(pool: &PgPool, id: KeyId) -> sqlx::Result<Rotated> {
    let key = sqlx::query!(
        "select is_seeded, is_of_jwts, prior_until,
                revoked_at is not null or coalesce(expires_at <= now(), false) as \"has_ended!\"
           from api_keys where id = $1",
        id.uuid()
    );
    Ok(match key.fetch_optional(pool).await? {
        None => Rotated::NoSuchKey,
        Some(key) if key.has_ended => Rotated::Ended,
        Some(key) if key.is_seeded => Rotated::OfEnvironment,
        Some(key) if key.is_of_jwts => Rotated::OfJwts,
        // It was so a moment ago, when the key was not changed.
        Some(key) => Rotated::TwoAlready(key.prior_until.unwrap_or_default()),
    })
}

/// What the database has of the key that the environment brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// It opens what it should.
    Opens,
    /// A person ended it, or it is the former secret of another key.
    Ended,
}

/// Makes sure that a merchant has a key with this very secret. The same again changes nothing, and what was
/// revoked stays so.
///
/// # Errors
/// There is no such merchant, or the database's own error.
pub async fn seed(pool: &PgPool, merchant: MerchantId, text: &str) -> sqlx::Result<Seeded> {
    let hash = &sha256(text)[..];
    sqlx::query!(
        "insert into api_keys (id, merchant_id, name, prefix, secret_hash, is_seeded)
         select $1, $2, 'API_KEY', $3, $4, true
          where not exists (select from api_keys where prior_hash = $4)
             on conflict do nothing",
        KeyId::generate().uuid(),
        merchant.uuid(),
        secret::shown(text),
        hash
    )
    .execute(pool)
    .await?;
    let opens = sqlx::query_scalar!(
        "select exists (select from key_of(null, $1, $1) where merchant_id = $2) as \"opens!\"",
        hash,
        merchant.uuid()
    );
    Ok(if opens.fetch_one(pool).await? { Seeded::Opens } else { Seeded::Ended })
}
