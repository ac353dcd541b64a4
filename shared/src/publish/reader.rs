//! The one reader of public events: the next ones after a place.
//!
//! Invariant: what is above the oldest transaction that still runs is not told yet. So whatever is told later
//! stands after it, and a reader that goes on from its last event misses nothing.

use chrono::{DateTime, Utc};
use domain::ids::MerchantId;
use domain::public_event::EventId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::InTime as _;

/// A public event, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id, which is its place.
    pub id: EventId,
    /// The version of the object's public event before; none if this is the first one.
    pub previous_version: Option<i32>,
    /// The kind of object: `payment`.
    pub kind: String,
    /// What it tells: `payment.succeeded`.
    pub event_type: String,
    /// Which renderer makes its bytes.
    pub renderer: i16,
    /// When it happened, by the database's clock.
    pub at: DateTime<Utc>,
}

/// What a reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The next events.
    Events(Events),
    /// The place is gone: the system came back without the event there. Reading goes on after this event, the
    /// last one that both know. None says that it goes on from the beginning.
    Lost(Option<EventId>),
}

/// The next events after a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Those that are wanted, oldest first.
    pub wanted: Vec<Stored>,
    /// The last event that was looked at, whether wanted or not; none if there is none after the place.
    /// Where the page is full, reading goes on after its last event all the same.
    pub reached: Option<EventId>,
    /// Whether more may follow at once.
    pub has_more: bool,
}

/// The most events that are looked at for one page.
const LOOK: i64 = 1_000;

/// The events of a merchant that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The event after which they stand; none from the beginning.
    pub after: Option<EventId>,
    /// Only events of these types; none for all.
    pub types: Option<Vec<String>>,
    /// The most of them.
    pub limit: i64,
}

/// The columns of a place, for SQL. The transaction goes as text, since it may have all 64 bits.
pub(super) struct Columns {
    pub(super) epoch: i64,
    pub(super) tx: String,
    pub(super) object: Uuid,
    pub(super) version: i32,
}

impl Columns {
    pub(super) fn of(id: EventId) -> Self {
        Self {
            epoch: i64::from(id.epoch),
            tx: id.tx.to_string(),
            object: id.object,
            version: i32::try_from(id.version).unwrap_or(i32::MAX),
        }
    }
}

/// The id of these columns. None where they are none, which the checks of the table exclude.
pub(super) fn id(epoch: i64, tx: &str, object: Uuid, version: i32) -> Option<EventId> {
    Some(EventId {
        epoch: epoch.try_into().ok()?,
        tx: tx.parse().ok()?,
        object,
        version: version.try_into().ok()?,
    })
}

/// The same, where all of them are null or none is.
fn any_id(
    epoch: Option<i64>,
    tx: Option<String>,
    object: Option<Uuid>,
    version: Option<i32>,
) -> Option<EventId> {
    id(epoch?, &tx?, object?, version?)
}

/// The next events of `merchant` after an event that was told, which must still be there.
///
/// # Errors
/// Returns the database's error.
pub async fn next(pool: &PgPool, merchant: MerchantId, wanted: &Wanted) -> sqlx::Result<Page> {
    let (events, is_there) = look(pool, merchant, wanted).await?;
    match wanted.after {
        Some(lost) if !is_there => Ok(Page::Lost(common(pool, merchant, lost).await?)),
        Some(_) | None => Ok(Page::Events(events)),
    }
}

/// The next events of `merchant` beyond a place that the database itself remembers.
///
/// # Errors
/// Returns the database's error.
pub async fn beyond(pool: &PgPool, merchant: MerchantId, wanted: &Wanted) -> sqlx::Result<Events> {
    look(pool, merchant, wanted).await.map(|(events, _)| events)
}

/// The next events, and whether the place is that of one that was told.
async fn look(pool: &PgPool, merchant: MerchantId, wanted: &Wanted) -> sqlx::Result<(Events, bool)> {
    let after = wanted.after.map(Columns::of);
    let rows = sqlx::query_file!(
        "queries/public_events.sql",
        merchant.uuid(),
        after.as_ref().map(|it| it.epoch),
        after.as_ref().map(|it| it.tx.as_str()),
        after.as_ref().map(|it| it.object),
        after.as_ref().map(|it| it.version),
        wanted.types.as_deref(),
        LOOK,
        wanted.limit
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let (mut reached, mut is_cut, mut stored) = (None, false, Vec::with_capacity(rows.len()));
    let is_there = rows.first().is_some_and(|row| row.is_there);
    for row in rows {
        is_cut = row.looked_at >= LOOK;
        reached = any_id(row.reached_epoch, row.reached_tx, row.reached_object, row.reached_version);
        let at = any_id(row.epoch, row.tx, row.object, row.version);
        let (Some(id), Some(kind), Some(event_type)) = (at, row.kind, row.event_type) else { continue };
        let (Some(renderer), Some(at)) = (row.renderer, row.at) else { continue };
        stored.push(Stored { id, previous_version: row.previous_version, kind, event_type, renderer, at });
    }
    let is_full = i64::try_from(stored.len()).is_ok_and(|events| events >= wanted.limit);
    let reached = if is_full { stored.last().map(|last: &Stored| last.id) } else { reached };
    Ok((Events { wanted: stored, reached, has_more: is_full || is_cut }, is_there))
}

/// The last event that a reader who lost its place is sure to know. Of an epoch that is known here, all that
/// stands before the place was told before it. Of one that is not, nobody knows what its past had.
async fn common(pool: &PgPool, merchant: MerchantId, lost: EventId) -> sqlx::Result<Option<EventId>> {
    let place = Columns::of(lost);
    let row = sqlx::query!(
        r#"select epoch, tx::text as "tx!", object, version from public_events
            where merchant_id = $1 and exists (select from event_epochs where epoch = $2)
              and (epoch, tx, object, version) < ($2, $3::text::xid8, $4, $5)
            order by epoch desc, tx desc, object desc, version desc limit 1"#,
        merchant.uuid(),
        place.epoch,
        place.tx,
        place.object,
        place.version
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(row.and_then(|row| id(row.epoch, &row.tx, row.object, row.version)))
}

/// The newest event of each of these merchants that may be told.
///
/// # Errors
/// Returns the database's error.
pub async fn newest(pool: &PgPool, merchants: &[Uuid]) -> sqlx::Result<Vec<(Uuid, EventId)>> {
    let rows = sqlx::query!(
        r#"select m.id as "merchant!", e.epoch, e.tx::text as "tx!", e.object, e.version
             from unnest($1::uuid[]) as m (id)
            cross join lateral (
                  select p.epoch, p.tx, p.object, p.version from public_events p
                   where p.merchant_id = m.id
                     and (p.epoch, p.tx) < ((select max(epoch) from event_epochs), pg_snapshot_xmin(pg_current_snapshot()))
                   order by p.epoch desc, p.tx desc, p.object desc, p.version desc limit 1) as e"#,
        merchants
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let places = rows.into_iter();
    Ok(places
        .filter_map(|row| Some((row.merchant, id(row.epoch, &row.tx, row.object, row.version)?)))
        .collect())
}

/// One event of `merchant`; none if there is no such one, or none that may be told yet.
///
/// # Errors
/// Returns the database's error.
pub async fn one(pool: &PgPool, merchant: MerchantId, wanted: EventId) -> sqlx::Result<Option<Stored>> {
    let place = Columns::of(wanted);
    let row = sqlx::query!(
        r#"select previous_version, kind, type as event_type, renderer, at from public_events
            where merchant_id = $1 and epoch = $2 and tx = $3::text::xid8 and object = $4 and version = $5
              and (epoch, tx) < ((select max(epoch) from event_epochs), pg_snapshot_xmin(pg_current_snapshot()))"#,
        merchant.uuid(),
        place.epoch,
        place.tx,
        place.object,
        place.version
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(row.map(|row| Stored {
        id: wanted,
        previous_version: row.previous_version,
        kind: row.kind,
        event_type: row.event_type,
        renderer: row.renderer,
        at: row.at,
    }))
}
