//! Merchants: who posts payments, and to whom the money is owed.

use sqlx::PgPool;

use crate::ids::MerchantId;

/// A merchant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Its id.
    pub id: MerchantId,
    /// Its unique name.
    pub name: String,
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
