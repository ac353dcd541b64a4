//! A gateway that is named for the first time.
//!
//! Invariant: before a merchant can have it, its journal was read to its end. A past that came back may have
//! forgotten that it was ever named, together with what it charged: those charges are orphans then, and a
//! client that repeats its request is not charged again.

use domain::ids::GatewayName;
use sqlx::PgPool;

use super::orphans::{self, Which};
use super::read;
use super::timeline::Unaccompanied;
use crate::database::durable;
use crate::gateway::Gateway;
use crate::gateway::books::{Bounds, Unread};
use crate::gateway::door::Closed;
use crate::gateway::names;
use crate::operations::reconciliation::copy::{Copied, copy, cursor};

/// Why a gateway is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum NotTakenUp {
    /// Older programs may be at work, which know one gateway.
    #[error("older programs may be at work, which know one gateway: run `payonce migrate --finish` first")]
    MigrationUnfinished,
    /// The gateway is away, or another one than the known one.
    #[error("the gateway does not say that it is the one: {0}")]
    Closed(#[from] Closed),
    /// Its journal could not be read to its end.
    #[error("its journal was not read to its end, so that what it charged may be unknown here: {0}")]
    Unread(String),
    /// The database's error.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Makes a gateway one that merchants can have. Answers whether it was none before.
///
/// # Errors
/// See [`NotTakenUp`]. What was read of its journal stays read.
pub async fn take_up(pool: &PgPool, gateway: &Gateway, bounds: Bounds) -> Result<bool, NotTakenUp> {
    let name = gateway.name();
    if names::all(pool).await?.contains(name) {
        return Ok(false);
    }
    if read(pool).await?.key_scheme == 1 {
        return Err(NotTakenUp::MigrationUnfinished);
    }
    gateway.identify(pool).await?;
    let from = cursor(pool, name).await?;
    match copy(pool, gateway, &mut Unaccompanied, &from, bounds).await? {
        Copied::Whole | Copied::Unread(Unread::NotOffered(_)) => {}
        Copied::Unread(why) => return Err(NotTakenUp::Unread(why.to_string())),
        Copied::Partly | Copied::TakenOver => return Err(NotTakenUp::Unread("it is long".to_owned())),
    }
    let found = orphans::unknown(pool, name, Which::All).await?;
    let mut transaction = pool.begin().await?;
    orphans::keep(&mut transaction, name, &found).await?;
    insert(&mut transaction, name).await?;
    durable("take_up_gateway", transaction.commit()).await?;
    Ok(true)
}

async fn insert(connection: &mut sqlx::PgConnection, name: &GatewayName) -> sqlx::Result<()> {
    sqlx::query!("insert into gateways (name) values ($1) on conflict do nothing", name.as_str())
        .execute(connection)
        .await
        .map(drop)
}
