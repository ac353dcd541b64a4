//! The steps of `payonce restored` and `payonce moved`: a database whose past may have come back is made one that can be gone on
//! with.
//!
//! Invariants: nothing is accepted or claimed from the first step to the last, whoever is killed in between; each step may be
//! repeated; and the last one, which opens the doors, is one transaction.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::{GATEWAY, PaymentId};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::orphans::{self, Sum, Unknown, Which, may_read_all};
use super::timeline::Unaccompanied;
use super::{Identity, read, seen};
use crate::database::{durable, millis};
use crate::gateway::Gateway;
use crate::gateway::books::{Bounds, Unread};
use crate::operations::reconciliation::copy::{Copied, copy, cursor};
use crate::queue;

/// Payments in one statement.
const PAGE: i64 = 1_000;

/// A journal that takes longer is read on by the next try.
const BOUNDS: Bounds = Bounds { pages: usize::MAX, time: Duration::from_hours(12) };

/// What somebody began who closed the doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// A past came back.
    Restoring,
    /// It stands in another place, as it was.
    Moving,
}

/// How the reason begins that a move wrote, so that another one goes on with it.
const MOVING: &str = "it is being moved";

/// Closes the doors: nothing is accepted or claimed until the last step. Answers why they were closed before, where that was
/// not for the same.
///
/// # Errors
/// The database's.
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
    let statement = sqlx::query!("update installation set must_restore = $1", why).execute(pool);
    durable("close_doors", statement).await?;
    Ok(None)
}

/// Leaves them closed for that reason, where a move cannot go on.
///
/// # Errors
/// The database's.
pub async fn leave_closed(pool: &PgPool, why: &str) -> sqlx::Result<()> {
    let statement = sqlx::query!("update installation set must_restore = $1", why).execute(pool);
    durable("close_doors", statement).await.map(drop)
}

/// What is known of the gateway's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Books {
    /// They were read to their end.
    Whole,
    /// They were not, for that reason.
    Partly(String),
}

/// Reads the gateway's books from where the copy ends to their end.
///
/// # Errors
/// The database's.
pub async fn read_books(pool: &PgPool, gateway: &Gateway) -> sqlx::Result<Books> {
    let from = cursor(pool).await?;
    let read = copy(pool, gateway, &mut Unaccompanied, &from, BOUNDS).await?;
    Ok(match read {
        Copied::Whole => Books::Whole,
        Copied::Unread(why @ Unread::NotOffered(_)) => Books::Partly(why.to_string()),
        Copied::Unread(why) => Books::Partly(why.to_string()),
        Copied::Partly | Copied::TakenOver => Books::Partly("they are too long for one reading".to_owned()),
    })
}

/// Until when our copy of the gateway's books is whole: what was charged later may be unknown here.
///
/// # Errors
/// The database's.
pub async fn whole_until(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    let whole_at = sqlx::query_scalar!("select whole_at from gateway_cursors where gateway = $1", GATEWAY);
    Ok(whole_at.fetch_optional(pool).await?.flatten())
}

/// The charges of payments that are forgotten here, of which nobody knows yet.
///
/// # Errors
/// The database's.
pub async fn unknown(pool: &PgPool) -> sqlx::Result<Vec<Unknown>> {
    orphans::unknown(pool, Which::NewsAfter(i64::MIN)).await
}

/// Keeps all charges of payments that are forgotten here, with a break each. Answers how many have a key that is a payment's id:
/// no payment gets such a key any more, so that none adopts them.
///
/// # Errors
/// The database's.
pub async fn keep_orphans(pool: &PgPool) -> sqlx::Result<usize> {
    let found = orphans::unknown(pool, Which::All).await?;
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, "0").await?;
    orphans::keep(&mut transaction, &found).await?;
    durable("keep_orphans", transaction.commit()).await?;
    Ok(found.iter().filter(|it| it.key.parse::<PaymentId>().is_ok()).count())
}

/// Who restores, into which epoch, and how long a claim of before may still have charged.
#[derive(Debug, Clone)]
pub struct Restoring {
    /// Who.
    pub by: String,
    /// The epoch that begins.
    pub epoch: i32,
    /// A lease.
    pub lease: Duration,
    /// Whether this is a copy beside the original.
    pub is_copy: bool,
}

/// Makes every payment that is not over one that is looked at before anything else; in a copy, one that is held for good.
/// `tell` hears how many that are so far.
///
/// # Errors
/// The database's; what was done stays done.
pub async fn doubt_all(pool: &PgPool, restoring: &Restoring, mut tell: impl FnMut(u64)) -> sqlx::Result<()> {
    let mut after = Uuid::nil();
    let mut done = 0;
    while let Some(page) = page(pool, restoring, after).await? {
        after = page.last;
        restore_page(pool, restoring, &page).await?;
        done += page.ids.len() as u64;
        tell(done);
    }
    if restoring.is_copy {
        hold_all(pool, restoring).await?;
    }
    Ok(())
}

/// Payments as they were found.
struct Page {
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    last: Uuid,
}

/// The next payments that are not over and have not been restored in this epoch. One whose events run ahead of it is passed over:
/// nothing moves it any more.
async fn page(pool: &PgPool, restoring: &Restoring, after: Uuid) -> sqlx::Result<Option<Page>> {
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, "0").await?;
    let rows = sqlx::query!(
        "select id, version from payments p
          where id > $1 and terminal_at is null
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

/// Holds what is not over, page by page, until nothing is left.
async fn hold_all(pool: &PgPool, restoring: &Restoring) -> sqlx::Result<()> {
    let evidence = json!({ "copy": true, "by": restoring.by });
    loop {
        let rows = sqlx::query!(
            "select id, version from payments p where due_at is not null
                and not exists (select from payment_events e where e.payment_id = p.id and e.version > p.version)
              order by due_at limit $1",
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

/// Takes back what people had asked for and nobody has carried out: they saw another state. Answers how many decisions and
/// corrections that were.
///
/// # Errors
/// The database's.
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

/// Payments of one kind and currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What they were when the past came back: a status, `in doubt`, `voiding`, `held`.
    pub was: String,
    /// Which currency.
    pub currency: String,
    /// How many.
    pub count: i64,
    /// What they owe together.
    pub amount: Decimal,
}

/// What there is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Payments that were not over, and are looked at first.
    pub doubted: Vec<Found>,
    /// Payments that were over.
    pub over: Vec<Found>,
    /// Charges of payments that are forgotten.
    pub orphans: Vec<Sum>,
}

/// Counts what there is.
///
/// # Errors
/// The database's.
pub async fn inventory(pool: &PgPool, epoch: i32) -> sqlx::Result<Inventory> {
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, "0").await?;
    let doubted = sqlx::query_as!(
        Found,
        "select case when p.held_reason is not null and was.from_status is distinct from 'pending'
                          and not coalesce(was.is_copy, false) then 'held'
                     when p.void_started_at is not null then 'voiding'
                     when was.from_status = 'pending' then 'pending'
                     else 'processing' end as \"was!\",
                p.currency, count(*) as \"count!\", sum(p.amount) as \"amount!\"
           from payments p
          cross join lateral (
             select e.from_status, exists (select from payment_events h
                                            where h.payment_id = e.payment_id and h.version = e.version + 1
                                              and h.type = 'held' and h.evidence ? 'copy') as is_copy
               from payment_events e
              where e.payment_id = p.id and e.type = 'restored' and (e.evidence ->> 'epoch')::int = $1
              limit 1) was
          where p.terminal_at is null
          group by 1, 2 order by 1, 2",
        epoch
    )
    .fetch_all(&mut *transaction)
    .await?;
    let over = sqlx::query_as!(
        Found,
        "select status as \"was!\", currency, count(*) as \"count!\", sum(amount) as \"amount!\"
           from payments where terminal_at is not null group by 1, 2 order by 1, 2"
    )
    .fetch_all(&mut *transaction)
    .await?;
    let orphans = orphans::sums(&mut transaction).await?;
    transaction.rollback().await?;
    Ok(Inventory { doubted, over, orphans })
}

/// The last step: the past that came back is the present, and the doors open.
///
/// # Errors
/// The database's; then they stay closed.
pub async fn open_doors(pool: &PgPool, restoring: &Restoring) -> sqlx::Result<()> {
    let seen = seen(pool).await?;
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, "0").await?;
    if restoring.is_copy {
        // What the original knows of its gateway says nothing about the one that this copy will be given.
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
    durable("open_doors", transaction.commit()).await
}

/// The last step of a move: the place where the database stands is the known one. The epoch goes on.
///
/// # Errors
/// The database's; then the doors stay closed.
pub async fn settle_in(pool: &PgPool) -> sqlx::Result<Identity> {
    let seen = seen(pool).await?;
    let statement = sqlx::query!(
        "update installation
            set returned_at = clock_timestamp(), key_scheme = 2, system_identifier = $1, database_oid = $2, timeline = $3,
                must_restore = null",
        seen.system_identifier,
        seen.database_oid,
        seen.timeline
    )
    .execute(pool);
    durable("settle_in", statement).await?;
    Ok(seen)
}
