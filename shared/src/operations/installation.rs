//! Which database this installation knows as its own, and whether the one at hand is it.
//!
//! A backup that is loaded, a copy, and a server that took over without the last commits bring back a past in which payments
//! and keys are missing that the gateway remembers. Whoever goes on with such a database as if nothing had happened charges
//! twice. So each process asks before it does anything, and the database itself refuses claims (`may_claim()` in SQL).
//!
//! Read in this order: [`verdict`] (what is allowed where, pure), [`timeline`] (how a server that took over is accepted),
//! [`orphans`] (charges of payments that are forgotten), [`restore`] (the steps of `payonce restored`), [`release`] (what a person
//! does afterwards).
//!
//! Invariant: what differs from what is known is never taken for the same: it is written down anew only where no payment
//! could be missing, or after a person, or the gateway's books, have said so.
//!

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable};

pub mod orphans;
pub mod release;
pub mod restore;
pub mod timeline;
pub mod verdict;

pub use verdict::{Refused, Verdict};

/// Which database that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's own number; none where it may not be read.
    pub system_identifier: Option<String>,
    /// The database's number in it.
    pub database_oid: i64,
    /// How often a server of this cluster took over, or was restored to a point in time.
    pub timeline: i32,
}

/// What the database says of the installation that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its own.
    pub id: Uuid,
    /// Which past this is: one more with each that came back.
    pub epoch: i32,
    /// 1: the gateway's key of a new payment is its id. 2: it is derived.
    pub key_scheme: i16,
    /// When the last return of a past, or of another server, was accepted.
    pub returned_at: Option<DateTime<Utc>>,
    /// The database that it knows; none until a process has seen it.
    pub known: Option<Identity>,
    /// Why nothing is claimed or accepted until a person has run `payonce restored`.
    pub must_restore: Option<String>,
    /// Whether this row stands where it was written, and was not loaded or copied.
    pub is_as_written: bool,
    /// Whether there is nothing that could have been forgotten: no payment, and no gateway was ever met.
    pub is_empty: bool,
}

/// Reads the installation's row.
///
/// # Errors
/// The database's.
pub async fn read(pool: &PgPool) -> sqlx::Result<Installation> {
    let row = sqlx::query!(
        "select id, epoch, key_scheme, returned_at, system_identifier, database_oid, timeline, must_restore,
                xmin::text::bigint = written_xid as \"is_as_written!\",
                not exists (select from payments) and not exists (select from gateway_identities)
                and not exists (select from gateway_cursors) as \"is_empty!\"
           from installation"
    )
    .fetch_one(pool)
    .in_time()
    .await?;
    let known = row.database_oid.zip(row.timeline);
    Ok(Installation {
        id: row.id,
        epoch: row.epoch,
        key_scheme: row.key_scheme,
        returned_at: row.returned_at,
        known: known.map(|(database_oid, timeline)| Identity {
            system_identifier: row.system_identifier,
            database_oid,
            timeline,
        }),
        must_restore: row.must_restore,
        is_as_written: row.is_as_written,
        is_empty: row.is_empty,
    })
}

/// Asks the server who it is.
///
/// # Errors
/// The database's.
pub async fn seen(pool: &PgPool) -> sqlx::Result<Identity> {
    let here = sqlx::query!(
        "select oid::bigint as \"database_oid!\",
                ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as \"timeline!\",
                has_function_privilege('pg_control_system()', 'execute') as \"tells_all!\"
           from pg_database where datname = current_database()"
    )
    .fetch_one(pool)
    .in_time()
    .await?;
    let system_identifier = if here.tells_all {
        let number =
            sqlx::query_scalar!("select system_identifier::text as \"number!\" from pg_control_system()");
        Some(number.fetch_one(pool).in_time().await?)
    } else {
        None
    };
    Ok(Identity { system_identifier, database_oid: here.database_oid, timeline: here.timeline })
}

/// Why a process must not use this database.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// It is not the one that is known.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It did not answer.
    #[error("cannot find out which database this is: {0}")]
    Database(#[from] sqlx::Error),
}

/// Asks whether this is the database that is known. The first process writes down which it is; so does any as long as there is
/// nothing that could have been forgotten. For a process that starts, before it does anything else.
///
/// # Errors
/// It is another one, which says what to do; or the database does not answer.
pub async fn admit(pool: &PgPool) -> Result<Installation, NotAdmitted> {
    loop {
        let seen = seen(pool).await?;
        let installation = read(pool).await?;
        match verdict::judge(&installation, &seen) {
            Verdict::New => identify(pool, &installation, &seen).await?,
            Verdict::Refused(why) => return Err(why.into()),
            Verdict::Known | Verdict::Ahead => {
                warn(&installation);
                return Ok(installation);
            }
        }
    }
}

/// Writes down which database it is, unless another process was faster, which the next look shows.
async fn identify(pool: &PgPool, installation: &Installation, seen: &Identity) -> sqlx::Result<()> {
    let known = installation.known.as_ref();
    let statement = sqlx::query!(
        "update installation
            set system_identifier = $1, database_oid = $2, timeline = $3
          where database_oid is not distinct from $4 and timeline is not distinct from $5",
        seen.system_identifier,
        seen.database_oid,
        seen.timeline,
        known.map(|known| known.database_oid),
        known.map(|known| known.timeline)
    )
    .execute(pool)
    .in_time();
    durable("identify", statement).await.map(drop)
}

fn warn(installation: &Installation) {
    if let Some(why) = &installation.must_restore {
        tracing::error!(
            event = "must_restore",
            why,
            "nothing is accepted or claimed until `payonce restored` has run"
        );
    }
}

/// Whether the payment is this installation's. In a copy, what came with it is the original's.
///
/// # Errors
/// The database's.
pub async fn owns(pool: &PgPool, payment: PaymentId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "select exists (select from payments where id = $1 and created_at >= (select own_since from installation)) as \"owns!\"",
        payment.uuid()
    )
    .fetch_one(pool)
    .in_time()
    .await
}

/// Why nothing is accepted; none where it is.
///
/// # Errors
/// The database's.
pub async fn closed(pool: &PgPool) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select must_restore from installation").fetch_one(pool).in_time().await
}

/// New payments have derived keys at the gateway from now on. For when the last process that knows none is gone. Answers
/// false where it was so before.
///
/// # Errors
/// The database's.
pub async fn finish_migration(pool: &PgPool) -> sqlx::Result<bool> {
    let statement =
        sqlx::query!("update installation set key_scheme = 2 where key_scheme = 1").execute(pool).in_time();
    Ok(durable("finish_migration", statement).await?.rows_affected() == 1)
}
