//! The door: whether the gateway answers at all, and whether it is the one that this installation knows. Its
//! two reads are about no payment, so neither needs a claim.
//!
//! Invariant: reading changes nothing at the gateway, and an answer that breaks the contract is no gateway's.

use std::fmt;

use domain::ids::GatewayName;
use domain::outcome::{Failed, FailureKind, Health, is_storable};
use serde::Deserialize;
use sqlx::PgPool;

use super::wire::{Call, Exchange, Limits};
use super::{ANSWER_BYTES_MAX, Gateway};
use crate::database::InTime as _;

/// The identity that a gateway gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// Its own id of the account that is charged into.
    pub account: String,
    /// Whether the account is for real money: the gateway's own word, such as `live` or `test`.
    pub environment: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {:?} ({:?})", self.account, self.environment)
    }
}

/// Why the door is not open.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The gateway did not answer as the contract says.
    #[error(transparent)]
    Gateway(#[from] Failed),
    /// Our own database did not answer, so it is not known which gateway to expect.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Gateway {
    /// Asks who the gateway is, compares that with what this database knows, and reads a row of its journal.
    ///
    /// The first gateway that answers is the known one from then on. Its journal says only whether it is
    /// well: a gateway that did not say who it is stays outside, however well its journal reads.
    ///
    /// # Errors
    /// The gateway does not answer, or is another one; or our database does not answer.
    pub async fn knock(&self, pool: &PgPool) -> Result<(), Closed> {
        let name = self.fetch(self.adapter.account()).await;
        let named = self.compare(pool, &name).await?;
        if named.as_ref().is_err_and(|failed| failed.kind.health() == Health::LockedOut) {
            return Ok(named?);
        }
        match self.adapter.is_well(&self.fetch(self.adapter.journal(0, 1)).await) {
            Err(failed) if failed.kind.health() == Health::Silent => Err(failed.into()),
            // A journal has no name in it, so a gateway that has not said who it is may be anybody.
            Ok(_) | Err(_) => Ok(named?),
        }
    }

    /// Asks who the gateway is, and compares that with what this database knows.
    ///
    /// # Errors
    /// See [`Gateway::knock`].
    pub async fn identify(&self, pool: &PgPool) -> Result<(), Closed> {
        let name = self.fetch(self.adapter.account()).await;
        Ok(self.compare(pool, &name).await??)
    }

    /// Makes sure that the gateway is no other than the known one. A gateway that says nothing may be it.
    ///
    /// # Errors
    /// It is another gateway, or our database does not answer.
    pub async fn is_known(&self, pool: &PgPool) -> Result<(), Closed> {
        let name = self.fetch(self.adapter.account()).await;
        self.compare(pool, &name).await.map(drop)
    }

    /// Compares an answer with the known gateway. The outer error says that it is another one, the inner one
    /// that it did not answer.
    async fn compare(&self, pool: &PgPool, answer: &Exchange) -> Result<Result<(), Failed>, Closed> {
        let stranger = |why: String| Closed::Gateway(Failed::new(FailureKind::NotTheGateway, why));
        let identity = match self.adapter.identity(answer) {
            Ok(Some(identity)) => identity,
            Ok(None) => match known(pool, &self.name).await? {
                None if self.must_say_who_it_is => {
                    let why = "it does not say who it is, and beside others it must";
                    return Err(stranger(why.to_owned()));
                }
                None => return Ok(Ok(())),
                Some(known) => {
                    return Err(stranger(format!("it does not say that it is {known}, which is known")));
                }
            },
            Err(failed) => return Ok(Err(failed)),
        };
        if !is_storable(&identity.account) || !is_storable(&identity.environment) {
            return Err(stranger("its account or environment is no word that can be kept".to_owned()));
        }
        let known = match remember(pool, &self.name, &identity).await? {
            Remembered::As(known) => known,
            Remembered::Elsewhere(name) => {
                return Err(stranger(format!("it is {identity}, which is known as the gateway {name}")));
            }
        };
        if known == identity {
            return Ok(Ok(()));
        }
        Err(stranger(format!(
            "it is {identity}, where {known} is known; if that is meant: `payonce gateway adopt {}`",
            self.name
        )))
    }

    /// One exchange about nothing in particular.
    async fn fetch(&self, call: Call) -> Exchange {
        self.wire.exchange(call, "", Limits { time: self.timeout, answer_bytes: ANSWER_BYTES_MAX }).await
    }
}

/// The gateway that this database knows under a name; none before one has said who it is.
///
/// # Errors
/// Returns the database's error.
pub async fn known(pool: &PgPool, name: &GatewayName) -> sqlx::Result<Option<Identity>> {
    sqlx::query_as!(
        Identity,
        "select account, environment from gateway_identities where gateway = $1",
        name.as_str()
    )
    .fetch_optional(pool)
    .in_time()
    .await
}

/// What this database knows under a name, after it was told of an identity.
enum Remembered {
    As(Identity),
    /// The identity is known, under this other name: one account has one name, or its charges would be looked
    /// up and compared under the other.
    Elsewhere(String),
}

/// The gateway that this database knows under a name. If it knows none, it is this one from now on.
async fn remember(pool: &PgPool, name: &GatewayName, identity: &Identity) -> sqlx::Result<Remembered> {
    if let Some(known) = known(pool, name).await? {
        return Ok(Remembered::As(known));
    }
    sqlx::query!(
        "insert into gateway_identities (gateway, account, environment) values ($1, $2, $3) on conflict do nothing",
        name.as_str(),
        identity.account,
        identity.environment
    )
    .execute(pool)
    .in_time()
    .await?;
    if let Some(known) = known(pool, name).await? {
        return Ok(Remembered::As(known));
    }
    named(pool, identity).await?.map(Remembered::Elsewhere).ok_or(sqlx::Error::RowNotFound)
}

/// The name under which an identity is known; none if it is not.
async fn named(pool: &PgPool, identity: &Identity) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "select gateway from gateway_identities where account = $1 and environment = $2",
        identity.account,
        identity.environment
    )
    .fetch_optional(pool)
    .in_time()
    .await
}

/// Makes the gateway at the door the known one, in place of any other: an operator has moved to another
/// account.
///
/// # Errors
/// The gateway does not say who it is, is known under another name, or does not answer; or our database does
/// not answer.
pub async fn adopt(gateway: &Gateway, pool: &PgPool) -> Result<Identity, Closed> {
    let exchange = gateway.fetch(gateway.adapter.account()).await;
    let Some(identity) = gateway.adapter.identity(&exchange)? else {
        return Err(Failed::new(FailureKind::Unexpected, "this gateway does not say who it is").into());
    };
    if let Some(name) = named(pool, &identity).await?.filter(|name| name != gateway.name.as_str()) {
        let why = format!("it is {identity}, which is known as the gateway {name}");
        return Err(Failed::new(FailureKind::NotTheGateway, why).into());
    }
    sqlx::query!(
        "insert into gateway_identities (gateway, account, environment) values ($1, $2, $3)
             on conflict (gateway) do update
            set account = excluded.account, environment = excluded.environment, known_since = clock_timestamp()",
        gateway.name.as_str(),
        identity.account,
        identity.environment
    )
    .execute(pool)
    .in_time()
    .await?;
    Ok(identity)
}
