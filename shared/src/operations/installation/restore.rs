//! The steps of `payonce restored` and `payonce moved`, by which a database whose past may have come back is
//! made usable again.
//!
//! Invariants: nothing is accepted or claimed from the first step to the last, even if the command is killed
//! in between. Each step may be repeated. The last one, which opens the doors, is one transaction. These
//! steps write payments by statements of their own in `shared/queries`, each with its event.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::orphans::{self, Unknown, Which, may_read_all};
use super::timeline::Unaccompanied;
use super::{Identity, read, seen};
use crate::database::{durable, millis};
use crate::gateway::Gateway;
use crate::gateway::books::Bounds;
use crate::gateway::names;
use crate::operations::reconciliation::copy::{Copied, copy, cursor};
use crate::queue;

/// Payments in one statement.
const PAGE: i64 = 1_000;

/// The limits of one reading of the journal. The next try goes on from there.
const BOUNDS: Bounds = Bounds { pages: usize::MAX, time: Duration::from_hours(12) };

/// The command that closed the doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// `payonce restored`: a past came back.
    Restoring,
    /// `payonce moved`: the database stands in another place, as it was.
    Moving,
}

/// The beginning of the reason that a move writes, by which a later move knows it and goes on.
const MOVING: &str = "it is being moved";

/// Closes the doors: nothing is accepted or claimed until the last step. A move answers why they were closed
/// before, if that was for something else, and then closes nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn close_doors(pool: &PgPool, doing: Doing, by: &str) -> sqlx::Result<Option<String>> {
    let before = read(pool).await?.must_restore;
    let why = match doing {
        Doing::Restoring => format!("`payonce restored` was begun by {by} and has not ended: run it again"),
        Doing::Moving => {
            if let Some(other) = before.filter(|why| !why.starts_with(MOVING)) {
                return Ok(Some(other));
            }
            format!("{MOVING} by {by}, and that has not ended: run `payonce moved` again")
        }
    };
    // Transaction ids may begin anew here, so what is told from now on is of another epoch of public events.
    let statement =
        sqlx::query!("update installation set must_restore = $1, moves = moves + 1", why).execute(pool);
    durable("close_doors", statement).await?;
    Ok(None)
}

/// Leaves the doors closed for that reason, if a move cannot go on.
///
/// # Errors
/// Returns the database's error.
pub async fn leave_closed(pool: &PgPool, why: &str) -> sqlx::Result<()> {
    let statement = sqlx::query!("update installation set must_restore = $1", why).execute(pool);
    durable("close_doors", statement).await.map(drop)
}

/// How far the gateway's books were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Books {
    /// They were read to their end.
    Whole,
    /// They were not read to their end; the text is the reason.
    Partly(String),
}

/// Reads the gateways' books from where the copies end to their end: those of all gateways that have a
/// merchant, or that are given.
///
/// # Errors
/// Returns the database's error.
pub async fn read_books(pool: &PgPool, gateways: &[Gateway]) -> sqlx::Result<Books> {
    if let Some(missing) = names::without_settings(pool, gateways).await?.first() {
        return Ok(Books::Partly(format!("GATEWAYS says nothing of {missing}")));
    }
    for gateway in gateways {
        let from = cursor(pool, gateway.name()).await?;
        let why = match copy(pool, gateway, &mut Unaccompanied, &from, BOUNDS).await? {
            Copied::Whole => continue,
            Copied::Unread(why) => why.to_string(),
            Copied::Partly | Copied::TakenOver => "they are too long for one reading".to_owned(),
        };
        let name = gateway.name();
        return Ok(Books::Partly(if name.is_default() { why } else { format!("{name}: {why}") }));
    }
    Ok(Books::Whole)
}

/// Until when our copies of the gateways' books are whole: a later charge may be unknown here. None if one of
/// a gateway with merchants never was.
///
/// # Errors
/// Returns the database's error.
pub async fn whole_until(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select case when count(*) = count(c.whole_at) then min(c.whole_at) end
           from gateways g
           left join gateway_cursors c on c.gateway = g.name
          where c.gateway is not null or exists (select from merchants m where m.gateway = g.name)"
    )
    .fetch_one(pool)
    .await
}

/// The charges of payments that are forgotten here, and that are not known as orphans yet.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown(pool: &PgPool) -> sqlx::Result<Vec<Unknown>> {
    let mut found = Vec::new();
    for gateway in names::all(pool).await? {
        found.extend(orphans::unknown(pool, &gateway, Which::NewsAfter(i64::MIN)).await?);
    }
    Ok(found)
}

/// Keeps all charges of payments that are forgotten here, with a break each. Answers how many of them have a
/// payment's id as their key. No new payment gets such a key any more, so that none adopts them.
///
/// # Errors
/// Returns the database's error.
pub async fn keep_orphans(pool: &PgPool) -> sqlx::Result<usize> {
    let mut keys_of_ids = 0;
    for gateway in names::all(pool).await? {
        let found = orphans::unknown(pool, &gateway, Which::All).await?;
        let mut transaction = pool.begin().await?;
        may_read_all(&mut transaction, "0").await?;
        orphans::keep(&mut transaction, &gateway, &found).await?;
        durable("keep_orphans", transaction.commit()).await?;
        keys_of_ids += found.iter().filter(|it| it.key.parse::<PaymentId>().is_ok()).count();
    }
    Ok(keys_of_ids)
}

/// The terms of one `payonce restored`.
#[derive(Debug, Clone)]
pub struct Restoring {
    /// The person who restores.
    pub by: String,
    /// The number of the epoch that begins.
    pub epoch: i32,
    /// How long a claim made before may still have charged.
    pub lease: Duration,
    /// Whether this is a copy beside the original.
    pub is_copy: bool,
}

/// Makes every payment that is not over one that is looked at before anything else. In a copy each of them is
/// then held for good. `tell` hears how many payments so far.
///
/// # Errors
/// The database's error. What was done stays done.
pub async fn doubt_all(pool: &PgPool, restoring: &Restoring, mut tell: impl FnMut(u64)) -> sqlx::Result<()> {
    let mut after = Uuid::nil();
    let mut done = 0;
    while let Some(page) = page(pool, restoring, after).await? {
        after = page.last;
        restore_page(pool, restoring, &page).await?;
        done += page.ids.len() as u64;
        tell(done);
    }
    doubt_refunds(pool, restoring).await?;
    if restoring.is_copy {
        hold_all(pool, restoring).await?;
    }
    Ok(())
}

/// Has each refund that is not over looked up before anything is sent: it may have been made since. Repeated,
/// it marks only those that it had not marked in this epoch. A refund of a copy is asked about by nobody.
async fn doubt_refunds(pool: &PgPool, restoring: &Restoring) -> sqlx::Result<()> {
    let statement = sqlx::query_file!(
        "queries/operation_restore.sql",
        restoring.epoch,
        restoring.by,
        millis(restoring.lease)
    )
    .fetch_one(pool);
    durable("doubt_refunds", statement).await.map(drop)
}

/// Payments as they were found.
struct Page {
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    last: Uuid,
}

/// The next payments that are not over and have not been restored in this epoch. One in review waits for a
/// person, whose approval has the gateway asked first. A payment whose events run
/// ahead of it is passed over: nothing moves it any more.
async fn page(pool: &PgPool, restoring: &Restoring, after: Uuid) -> sqlx::Result<Option<Page>> {
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, "0").await?;
    let rows = sqlx::query!(
        "select id, version from payments p
          where id > $1 and terminal_at is null and status <> 'in_review'
            and not exists (select from payment_events e
                             where e.payment_id = p.id
                               and (e.version > p.version
                                    or e.type = 'restored' and (e.evidence ->> 'epoch')::int = $2))
          order by id limit $3",
        after,
        restoring.epoch,
        PAGE
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    let last = rows.last().map(|row| row.id);
    let (ids, versions) = rows.into_iter().map(|row| (row.id, row.version)).unzip();
    Ok(last.map(|last| Page { ids, versions, last }))
}

async fn restore_page(pool: &PgPool, restoring: &Restoring, page: &Page) -> sqlx::Result<()> {
    let jobs = queue::jobs_for(page.ids.iter().map(|&id| id.into()));
    let statement = sqlx::query_file!(
        "queries/payment_restore.sql",
        &page.ids,
        &page.versions,
        &jobs.ids,
        &jobs.bodies,
        millis(restoring.lease),
        restoring.epoch,
        restoring.by,
        queue::PAYMENTS
    )
    .fetch_one(pool);
    durable("doubt_all", statement).await.map(drop)
}

/// Holds the payments that are not over, page by page, until none is left.
async fn hold_all(pool: &PgPool, restoring: &Restoring) -> sqlx::Result<()> {
    let evidence = json!({ "copy": true, "by": restoring.by });
    loop {
        let rows = sqlx::query!(
            "select p.id, p.version
               from gateways g
              cross join lateral (
                    select id, version, due_at from payments due
                     where gateway = g.name and due_at is not null
                       and not exists (select from payment_events e
                                        where e.payment_id = due.id and e.version > due.version)
                     order by due_at limit $1) p",
            PAGE
        )
        .fetch_all(pool)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        let (ids, versions): (Vec<Uuid>, Vec<i32>) =
            rows.into_iter().map(|row| (row.id, row.version)).unzip();
        let statement =
            sqlx::query_file!("queries/payment_restore_hold.sql", &ids, &versions, evidence).fetch_one(pool);
        durable("hold_all", statement).await?;
    }
}

/// Takes back the decisions and corrections that people had asked for and no worker has carried out: the
/// people saw another state. Answers how many of each.
///
/// # Errors
/// Returns the database's error.
pub async fn withdraw_all(pool: &PgPool, by: &str) -> sqlx::Result<(u64, u64)> {
    let why = format!("{by}: the database was restored; look, and ask again");
    let mut transaction = pool.begin().await?;
    let decisions = sqlx::query!(
        "update decisions set ended_at = clock_timestamp(), outcome = 'withdrawn', refusal = $1 where ended_at is null",
        why
    )
    .execute(&mut *transaction)
    .await?;
    let corrections = sqlx::query!(
        "update corrections set ended_at = clock_timestamp(), outcome = 'withdrawn', refusal = $1 where ended_at is null",
        why
    )
    .execute(&mut *transaction)
    .await?;
    durable("withdraw_all", transaction.commit()).await?;
    Ok((decisions.rows_affected(), corrections.rows_affected()))
}

/// The last step: the past that came back is the present, and the doors open.
///
/// # Errors
/// The database's error. The doors then stay closed.
pub async fn open_doors(pool: &PgPool, restoring: &Restoring) -> sqlx::Result<()> {
    let seen = seen(pool).await?;
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, "0").await?;
    if restoring.is_copy {
        // What the original knows of its gateway says nothing about the one that this copy will get.
        sqlx::query!("delete from gateway_identities").execute(&mut *transaction).await?;
        sqlx::query!("delete from gateway_cursors").execute(&mut *transaction).await?;
        sqlx::query!("truncate gateway_effects").execute(&mut *transaction).await?;
        sqlx::query!(
            "with new as (select gen_random_uuid() as id)
             update installation
                set id = new.id, key_space = new.id::text, own_since = clock_timestamp()
               from new"
        )
        .execute(&mut *transaction)
        .await?;
    }
    sqlx::query!(
        "update installation
            set epoch = $1, epoch_began_at = clock_timestamp(), returned_at = clock_timestamp(), key_scheme = 2,
                system_identifier = $2, database_oid = $3, timeline = $4, must_restore = null",
        restoring.epoch,
        seen.system_identifier,
        seen.database_oid,
        seen.timeline
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!("select event_epoch() as begun").fetch_one(&mut *transaction).await?;
    durable("open_doors", transaction.commit()).await
}

/// The last step of a move: the place where the database stands is the known one. The epoch goes on.
///
/// # Errors
/// The database's error. The doors then stay closed.
pub async fn settle_in(pool: &PgPool) -> sqlx::Result<Identity> {
    let seen = seen(pool).await?;
    let statement = sqlx::query!(
        "update installation
            set returned_at = clock_timestamp(), key_scheme = 2, system_identifier = $1, database_oid = $2, timeline = $3,
                must_restore = null
           from (select event_epoch() as begun offset 0) as events
          where events.begun is not null",
        seen.system_identifier,
        seen.database_oid,
        seen.timeline
    )
    .execute(pool);
    durable("settle_in", statement).await?;
    Ok(seen)
}
