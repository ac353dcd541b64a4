//! Merchants: who posts payments, and to whom the money is owed.
//!
//! This wing may use `platform` and `database`. [`name`] keeps two merchants from having names that people
//! would take for one another. Keys: [`secret`] has their text, [`keys`] makes and ends them, and [`auth`]
//! says whose key a request brought. [`jwt`] reads what another issuer says in place of a secret.

use domain::ids::{GatewayName, MerchantId};
use sqlx::PgPool;

use crate::database::InTime as _;
use crate::platform::text;

pub mod auth;
pub mod jwt;
pub mod keys;
pub mod limits;
pub mod pepper;
pub mod scope;
pub mod secret;
pub mod usage;

/// A business that posts payments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// The id, of which the gateway keys of its payments are made.
    pub id: MerchantId,
    /// The name, which no other merchant has.
    pub name: String,
    /// Where its payments are charged, for life.
    pub gateway: GatewayName,
}

/// Whether a merchant of that name may have been forgotten with its charges. There is none of that name, and
/// charges of forgotten payments are not adopted. A new id would mean new keys at the gateway, so a client
/// that repeats a request would be charged once more.
///
/// # Errors
/// Returns the database's error.
pub async fn may_be_forgotten(pool: &PgPool, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "select not exists (select from merchants where name = $1)
                and exists (select from orphans where adopted_by is null) as \"may_be!\"",
        name
    )
    .fetch_one(pool)
    .await
}

/// Why a merchant cannot be made under a name.
#[derive(Debug, thiserror::Error)]
pub enum Unnamable {
    /// It is no name.
    #[error("the merchant's name {0:?} cannot be used: {1}")]
    NoName(String, &'static str),
    /// There is one that people would take for it.
    #[error(
        "the merchant {0:?} exists: say exactly that name if it is meant, and else one that differs in more than case and blanks"
    )]
    Alike(String),
    /// The database's error.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The name under which a merchant is found or made, for what a person gave. One that exists is found by
/// exactly its name, also where that would be refused today.
///
/// # Errors
/// There is no merchant of exactly that name, and none may be made: see [`Unnamable`].
pub async fn name(pool: &PgPool, given: &str) -> Result<String, Unnamable> {
    if find(pool, given).await?.is_some() {
        return Ok(given.to_owned());
    }
    let folded = text::folded(given);
    let names: Vec<String> =
        sqlx::query_scalar("select name from merchants order by name").fetch_all(pool).in_time().await?;
    let composed = text::name(given);
    if let Ok(name) = &composed
        && names.contains(name)
    {
        return Ok(name.clone());
    }
    if let Some(alike) = names.into_iter().find(|it| !folded.is_empty() && text::folded(it) == folded) {
        return Err(Unnamable::Alike(alike));
    }
    composed.map_err(|why| Unnamable::NoName(given.to_owned(), why))
}

/// The merchant of that name under that id, made at `gateway` if there is none. So a merchant that a restored
/// database lost comes back. None if the name or the id is another merchant's.
///
/// # Errors
/// See [`find_or_create_at`].
pub async fn find_or_create_as(
    pool: &PgPool,
    id: MerchantId,
    name: &str,
    gateway: &GatewayName,
) -> sqlx::Result<Option<Merchant>> {
    insert(pool, id, name, gateway).await?;
    Ok(find(pool, name).await?.filter(|found| found.id == id))
}

/// The merchant of that name, made at the default gateway if there is none.
///
/// # Errors
/// See [`find_or_create_at`].
pub async fn find_or_create(pool: &PgPool, name: &str) -> sqlx::Result<Merchant> {
    find_or_create_at(pool, name, &GatewayName::default()).await
}

/// The merchant of that name, made at `gateway` if there is none.
///
/// # Errors
/// The name is empty or longer than 255 characters, the gateway is none of this installation's, or the
/// database's own error. `RowNotFound` if another merchant was made at the same moment whose name people
/// would take for this one: [`name`] says which.
pub async fn find_or_create_at(pool: &PgPool, name: &str, gateway: &GatewayName) -> sqlx::Result<Merchant> {
    insert(pool, MerchantId::generate(), name, gateway).await?;
    find(pool, name).await?.ok_or(sqlx::Error::RowNotFound)
}

/// Makes a merchant, unless the name or the id is taken, or the name of one that was made since names are
/// compared by the database is alike.
async fn insert(pool: &PgPool, id: MerchantId, name: &str, gateway: &GatewayName) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into merchants (id, name, gateway, folded) values ($1, $2, $3, nullif($4, '')) on conflict do nothing",
        id.uuid(),
        name,
        gateway.as_str(),
        text::folded(name)
    )
    .execute(pool)
    .await
    .map(drop)
}

/// The merchant of that name; none if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn find(pool: &PgPool, name: &str) -> sqlx::Result<Option<Merchant>> {
    let row = sqlx::query!("select id, name, gateway from merchants where name = $1", name);
    let Some(row) = row.fetch_optional(pool).await? else { return Ok(None) };
    let gateway = row.gateway.parse().map_err(|why| sqlx::Error::Decode(Box::new(why)))?;
    Ok(Some(Merchant { id: row.id.into(), name: row.name, gateway }))
}
