//! The gateways of this installation, by name, as its database has them. How each is reached stands in the
//! settings of the processes.

use chrono::{DateTime, Utc};
use domain::ids::GatewayName;
use serde::Serialize;
use sqlx::PgPool;

use super::Gateway;
use crate::database::InTime as _;

/// All gateways that a merchant may have, in the order of their names.
///
/// # Errors
/// Returns the database's error.
pub async fn all(pool: &PgPool) -> sqlx::Result<Vec<GatewayName>> {
    parsed(sqlx::query_scalar!("select name from gateways order by name").fetch_all(pool).in_time().await?)
}

/// The gateways that a merchant has and that are none of these. Nobody here can ask them anything.
///
/// # Errors
/// Returns the database's error.
pub async fn without_settings(pool: &PgPool, gateways: &[Gateway]) -> sqlx::Result<Vec<GatewayName>> {
    let given: Vec<String> = gateways.iter().map(|gateway| gateway.name().to_string()).collect();
    let missing = sqlx::query_scalar!(
        "select name from gateways g
          where name <> all($1) and exists (select from merchants m where m.gateway = g.name)
          order by name",
        &given
    );
    parsed(missing.fetch_all(pool).in_time().await?)
}

/// A gateway, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// Its own id of the account that is charged into; none before it was met.
    pub account: Option<String>,
    /// Its own word for whether that is real money.
    pub environment: Option<String>,
    /// How many merchants have it.
    pub merchants: i64,
    /// Until when our copy of its journal is whole; none if it never was.
    pub whole_at: Option<DateTime<Utc>>,
}

/// All gateways that a merchant may have, in the order of their names.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "select g.name, i.account as \"account?\", i.environment as \"environment?\", c.whole_at as \"whole_at?\",
                (select count(*) from merchants m where m.gateway = g.name) as \"merchants!\"
           from gateways g
           left join gateway_identities i on i.gateway = g.name
           left join gateway_cursors c on c.gateway = g.name
          order by g.name"
    )
    .fetch_all(pool)
    .in_time()
    .await
}

fn parsed(names: Vec<String>) -> sqlx::Result<Vec<GatewayName>> {
    let parsed = names.into_iter().map(|name| name.parse());
    parsed.collect::<Result<_, _>>().map_err(|why| sqlx::Error::Decode(Box::new(why)))
}
