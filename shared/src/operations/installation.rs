//! Which database this installation knows as its own, and whether the one at hand is it.
//!
//! A backup that is loaded, a copy, and a server that took over without the last commits bring back a past.
//! In it payments and keys are missing that the gateway remembers. A process that went on with such a
//! database as if nothing had happened would charge twice. So each process asks before it does anything, and
//! the database itself refuses claims (`may_claim()` in SQL).
//!
//! Read in this order:
//! - [`verdict`]: what is allowed in which database, pure;
//! - [`timeline`]: how a server that took over is accepted;
//! - [`orphans`]: charges of payments that are forgotten;
//! - [`restore`]: the steps of `payonce restored`, and [`inventory`]: what is there after them;
//! - [`release`]: what a person does afterwards;
//! - [`newcomer`]: a gateway that is named for the first time.
//!
//! Invariant: a database that differs from the known one is never taken for it. It becomes the known one only
//! if no payment could be missing, or after a person or the gateway's books have said so.

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable};

pub mod inventory;
pub mod newcomer;
pub mod orphans;
pub mod release;
pub mod restore;
pub mod timeline;
pub mod verdict;

pub use verdict::{Refused, Verdict};

/// The identity of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's own number; none if it may not be read.
    pub system_identifier: Option<String>,
    /// The database's number in the cluster.
    pub database_oid: i64,
    /// How often a server of this cluster took over, or was restored to a point in time.
    pub timeline: i32,
}

/// What the database says of the installation that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The installation's own id.
    pub id: Uuid,
    /// The number of this past: one more with each that came back.
    pub epoch: i32,
    /// 1: the gateway's key of a new payment is its id. 2: the key is derived.
    pub key_scheme: i16,
    /// When the last return of a past, or of another server, was accepted.
    pub returned_at: Option<DateTime<Utc>>,
    /// The database that the installation knows; none until a process has seen one.
    pub known: Option<Identity>,
    /// Why nothing is claimed or accepted until a person has run `payonce restored`.
    pub must_restore: Option<String>,
    /// Whether this row stands where it was written, and was not loaded or copied.
    pub is_as_written: bool,
    /// Whether nothing could have been forgotten: there is no payment and no account, and no gateway was ever
    /// met.
    pub is_empty: bool,
}

/// Reads the installation's row.
///
/// # Errors
/// Returns the database's error.
pub async fn read(pool: &PgPool) -> sqlx::Result<Installation> {
    let row = sqlx::query!(
        "select id, epoch, key_scheme, returned_at, system_identifier, database_oid, timeline, must_restore,
                xmin::text::bigint = written_xid as \"is_as_written!\",
                not exists (select from payments) and not exists (select from accounts)
                and not exists (select from gateway_identities) and not exists (select from gateway_cursors) as \"is_empty!\"
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

/// Asks the server which database this is.
///
/// # Errors
/// Returns the database's error.
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
    /// The database is not the known one.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database did not answer.
    #[error("cannot find out which database this is: {0}")]
    Database(#[from] sqlx::Error),
}

/// Makes sure that this is the known database. Each process calls it at its start, before anything else. The
/// first process writes down which database it is. So does any process as long as nothing could have been
/// forgotten.
///
/// # Errors
/// It is another database, and the error says what to do; or the database does not answer.
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

/// Writes down which database this is, unless another process was faster, which the next look shows.
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

/// Whether the payment is this installation's. In a copy, payments that came with it are the original's.
///
/// # Errors
/// Returns the database's error.
pub async fn owns(pool: &PgPool, payment: PaymentId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "select exists (select from payments where id = $1 and created_at >= (select own_since from installation)) as \"owns!\"",
        payment.uuid()
    )
    .fetch_one(pool)
    .in_time()
    .await
}

/// Why nothing is accepted; none while payments are accepted.
///
/// # Errors
/// Returns the database's error.
pub async fn closed(pool: &PgPool) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select must_restore from installation").fetch_one(pool).in_time().await
}

/// Gives new payments derived keys at the gateway from now on. It is for the time when the last process that
/// knows none is gone. Answers false if it was so before.
///
/// # Errors
/// Returns the database's error.
pub async fn finish_migration(pool: &PgPool) -> sqlx::Result<bool> {
    let statement =
        sqlx::query!("update installation set key_scheme = 2 where key_scheme = 1").execute(pool).in_time();
    Ok(durable("finish_migration", statement).await?.rows_affected() == 1)
}
