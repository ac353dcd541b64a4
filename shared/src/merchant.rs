//! Merchants: who posts payments, and to whom the money is owed.
//!
//! May use `platform` and `database`.

use domain::ids::MerchantId;
use sqlx::PgPool;

pub mod auth;

/// A merchant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Its id.
    pub id: MerchantId,
    /// Its unique name.
    pub name: String,
}

/// Whether there is no merchant of that name, and one may have been forgotten with its charges: a new id would have new keys at the
/// gateway, and whoever repeats a request would be charged once more.
///
/// # Errors
/// The database's.
pub async fn may_be_forgotten(pool: &PgPool, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "select not exists (select from merchants where name = $1)
                and exists (select from orphans where adopted_by is null) as \"may_be!\"",
        name
    )
    .fetch_one(pool)
    .await
}

/// The merchant of that name under that id, made if there is none: one that a restored database lost comes back.
///
/// # Errors
/// As [`find_or_create`]. None where the name or the id is another merchant's.
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
/// The name is empty or longer than 255 characters, or the database's own.
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
