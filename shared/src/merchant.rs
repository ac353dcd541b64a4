//! Merchants: who posts payments, and to whom the money is owed.
//!
//! This wing may use `platform` and `database`.

use domain::ids::MerchantId;
use sqlx::PgPool;

pub mod auth;

/// A business that posts payments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// The id, of which the gateway keys of its payments are made.
    pub id: MerchantId,
    /// The name, which no other merchant has.
    pub name: String,
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

/// The merchant of that name under that id, made if there is none. So a merchant that a restored database
/// lost comes back. None if the name or the id is another merchant's.
///
/// # Errors
/// See [`find_or_create`].
pub async fn find_or_create_as(pool: &PgPool, id: MerchantId, name: &str) -> sqlx::Result<Option<Merchant>> {
    sqlx::query!("insert into merchants (id, name) values ($1, $2) on conflict do nothing", id.uuid(), name)
        .execute(pool)
        .await?;
    let found =
        sqlx::query_scalar!("select name from merchants where id = $1", id.uuid()).fetch_optional(pool);
    let is_so = found.await?.is_some_and(|found| found == name);
    Ok(is_so.then(|| Merchant { id, name: name.to_owned() }))
}

/// The merchant of that name, made if there is none.
///
/// # Errors
/// The name is empty or longer than 255 characters, or the database's own error.
pub async fn find_or_create(pool: &PgPool, name: &str) -> sqlx::Result<Merchant> {
    sqlx::query!(
        "insert into merchants (id, name) values ($1, $2) on conflict on constraint merchants_name_unique do nothing",
        MerchantId::generate().uuid(),
        name
    )
    .execute(pool)
    .await?;
    let id = sqlx::query_scalar!("select id from merchants where name = $1", name).fetch_one(pool).await?;
    Ok(Merchant { id: id.into(), name: name.to_owned() })
}
