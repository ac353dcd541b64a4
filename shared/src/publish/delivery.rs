//! One round of deliveries to one endpoint: take it, send what is due and what is new, write what came of it.
//!
//! Invariants: one worker at a time sends to an endpoint, by a lease that outlasts everything it still sends.
//! No transaction is open meanwhile. Events of one object are sent in the order of its versions: a later one
//! waits until the earlier one was taken or given up. What was sent by a worker that died is sent again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::ids::{EndpointId, MerchantId};
use domain::public_event::EventId;
use futures::StreamExt as _;
use futures::stream;
use rand::RngExt as _;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::dial::{Came, Delivery, Dialler};
use super::reader::{self, Columns, Stored, Wanted};
use super::render::{NotRendered, Told, render};
use super::seal::{SealingKeys, Secret};
use crate::database::{InTime as _, durable, millis};

mod settle;

use settle::Rows;

/// How long an endpoint is one worker's. It outlasts [`LAST_START`], a delivery and the statements.
const LEASE: Duration = Duration::from_mins(1);

/// After this time nothing more is sent in a round.
const LAST_START: Duration = Duration::from_secs(20);

/// The most deliveries to one endpoint at a time.
const SLOTS: usize = 8;

/// The most events of a round.
const ROUND: i64 = 100;

/// While as many deliveries of an endpoint are pending, no new event is sent to it.
const PENDING_MAX: i64 = 1_000;

/// The waits before each try after the first, by Standard Webhooks. After the last one it is given up.
const WAITS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];

/// How deliveries are made.
#[derive(Clone)]
pub struct Sender {
    /// The database.
    pub pool: PgPool,
    /// What opens the endpoints' secrets.
    pub keys: SealingKeys,
    /// What sends.
    pub dialler: Dialler,
    /// How many rounds use the database at a time. The connections are those of payments, too.
    pub turns: Arc<Semaphore>,
    /// How much faster than by the schedule a try comes again: 1 but in tests.
    pub haste: u32,
}

/// An endpoint that was taken for one round.
#[derive(Debug, Clone)]
pub struct Taken {
    id: EndpointId,
    merchant: MerchantId,
    url: String,
    types: Option<Vec<String>>,
    cursor: EventId,
    misses: i32,
    pending: i64,
    token: Uuid,
    /// The moment before the database was asked for it.
    asked_at: Instant,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// The deliveries that were taken.
    pub delivered: usize,
    /// The tries that failed.
    pub failed: usize,
    /// Whether the endpoint was disabled by it.
    pub is_disabled: bool,
}

/// An event to send, and how often that was tried.
struct Due {
    told: Told,
    tries: i32,
}

/// What became of an event in a round.
enum Done {
    /// It was sent.
    Sent(Due, Came, Duration),
    /// It was not: an earlier one of its object failed, or the round's time was over.
    Waits(Due),
}

/// Takes as many endpoints at most for which there is something to send.
///
/// # Errors
/// Returns the database's error.
pub async fn take(sender: &Sender, at_most: usize) -> sqlx::Result<Vec<Taken>> {
    let asked_at = Instant::now();
    let statement = sqlx::query_file!(
        "queries/webhook_claim.sql",
        &sender.keys.marks(),
        i64::try_from(at_most).unwrap_or(i64::MAX),
        millis(LEASE) as f64,
        PENDING_MAX
    )
    .fetch_all(&sender.pool)
    .in_time();
    let rows = durable("take_endpoints", statement).await?;
    let taken = rows.into_iter().filter_map(|row| {
        Some(Taken {
            id: row.id.into(),
            merchant: row.merchant_id.into(),
            url: row.url,
            types: row.types,
            cursor: reader::id(row.epoch, &row.tx, row.object, row.version)?,
            misses: row.misses,
            pending: row.pending,
            token: row.lease_token,
            asked_at,
        })
    });
    Ok(taken.collect())
}

/// One round of an endpoint that was taken.
///
/// # Errors
/// The database's error, or an event is newer than this program. Then the lease ends by itself.
pub async fn round(sender: &Sender, taken: &Taken) -> Result<Round, NotRendered> {
    let is_probe = taken.misses > 0;
    let turn = sender.turns.acquire().await;
    let mut due = due(sender, taken, if is_probe { 1 } else { SLOTS as i64 }).await?;
    let retried: HashSet<Uuid> = due.iter().map(|it| it.told.event.id.object).collect();
    let (new, mut cursor) =
        if taken.pending < PENDING_MAX { new(sender, taken).await? } else { (vec![], None) };
    let objects: Vec<Uuid> = new.iter().map(|told| told.event.id.object).collect();
    let blocked = waiting(&sender.pool, taken.id, &objects).await?;
    let mut waits = Vec::new();
    let (mut is_probed, mut written) = (false, None);
    for told in new {
        let object = told.event.id.object;
        let place = told.event.id;
        if blocked.contains(&object) || retried.contains(&object) {
            waits.push(Done::Waits(Due { told, tries: 0 }));
        } else if !is_probe || !is_probed {
            is_probed = true;
            due.push(Due { told, tries: 0 });
        } else {
            // A probe sends one new event, of another object than what it tries again. The cursor stays
            // before the next one.
            cursor = written;
            break;
        }
        written = Some(place);
    }
    let secrets = secrets(sender, taken).await?;
    drop(turn);
    let mut done = send(sender, taken, &secrets, due).await;
    done.extend(waits);
    let _turn = sender.turns.acquire().await;
    settle(sender, taken, cursor, done).await.map_err(NotRendered::from)
}

/// Deliveries that are due again, of each object the earliest one alone.
async fn due(sender: &Sender, taken: &Taken, limit: i64) -> Result<Vec<Due>, NotRendered> {
    let rows = sqlx::query!(
        r#"select d.epoch, d.tx::text as "tx!", d.object, d.version, d.tries, p.previous_version, p.kind, p.type as event_type,
                  p.renderer, p.at
             from webhook_deliveries d
             join public_events p on p.object = d.object and p.version = d.version
            where d.endpoint_id = $1 and d.status = 'pending' and d.due_at <= clock_timestamp()
              and not exists (select from webhook_deliveries b
                               where b.endpoint_id = d.endpoint_id and b.object = d.object and b.version < d.version
                                 and b.status = 'pending')
            order by d.due_at limit $2"#,
        taken.id.uuid(),
        limit
    )
    .fetch_all(&sender.pool)
    .in_time()
    .await?;
    let mut tries = HashMap::new();
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(id) = reader::id(row.epoch, &row.tx, row.object, row.version) else { continue };
        tries.insert(id, row.tries);
        events.push(Stored {
            id,
            previous_version: row.previous_version,
            kind: row.kind,
            event_type: row.event_type,
            renderer: row.renderer,
            at: row.at,
        });
    }
    let told = render(&sender.pool, taken.merchant, events).await?;
    let due =
        told.into_iter().map(|told| Due { tries: tries.get(&told.event.id).copied().unwrap_or(0), told });
    Ok(due.collect())
}

/// The next events that the endpoint wants, and the place up to which they were looked at.
async fn new(sender: &Sender, taken: &Taken) -> Result<(Vec<Told>, Option<EventId>), NotRendered> {
    // Who wants some types is sent what tries the endpoint all the same.
    let types = taken.types.clone().map(|types| [types, vec![TEST.to_owned()]].concat());
    let wanted = Wanted { after: Some(taken.cursor), types, limit: ROUND };
    let found = reader::beyond(&sender.pool, taken.merchant, &wanted).await?;
    let count = found.wanted.len();
    let told = render(&sender.pool, taken.merchant, found.wanted).await?;
    let is_cut = told.len() < count;
    let reached = if is_cut { told.last().map(|last| last.event.id) } else { found.reached };
    Ok((told.into_iter().filter(|told| is_for(taken.id, &told.event)).collect(), reached))
}

/// The type of an event by which one endpoint is tried.
const TEST: &str = "webhook_endpoint.test";

/// Whether an event is for this endpoint: of an endpoint's own events it gets the tests, and others the rest.
fn is_for(endpoint: EndpointId, event: &Stored) -> bool {
    let is_own = event.kind == "webhook_endpoint" && event.id.object == endpoint.uuid();
    event.kind != "webhook_endpoint" || is_own == (event.event_type == TEST)
}

/// Those of these objects of which a delivery to the endpoint is pending.
async fn waiting(pool: &PgPool, endpoint: EndpointId, objects: &[Uuid]) -> sqlx::Result<HashSet<Uuid>> {
    let found = sqlx::query_scalar!(
        "select distinct object from webhook_deliveries where endpoint_id = $1 and status = 'pending' and object = any($2)",
        endpoint.uuid(),
        objects
    );
    Ok(found.fetch_all(pool).in_time().await?.into_iter().collect())
}

/// The secrets that sign at the moment, newest first.
async fn secrets(sender: &Sender, taken: &Taken) -> sqlx::Result<Vec<Secret>> {
    let rows = sqlx::query!(
        "select number, sealed, mark from webhook_secrets
          where endpoint_id = $1 and (expires_at is null or expires_at > clock_timestamp()) order by number desc limit 4",
        taken.id.uuid()
    );
    let rows = rows.fetch_all(&sender.pool).in_time().await?;
    let opened = rows.iter().map(|row| sender.keys.open(&row.sealed, &row.mark, taken.id, row.number));
    Ok(opened.filter_map(Result::ok).collect())
}

/// Sends these, some at a time, and those of one object one after the other.
async fn send(sender: &Sender, taken: &Taken, secrets: &[Secret], due: Vec<Due>) -> Vec<Done> {
    let mut of_objects: Vec<(Uuid, Vec<Due>)> = Vec::new();
    let mut at: HashMap<Uuid, usize> = HashMap::new();
    for it in due {
        let object = it.told.event.id.object;
        let place = *at.entry(object).or_insert_with(|| {
            of_objects.push((object, Vec::new()));
            of_objects.len() - 1
        });
        if let Some((_, of_object)) = of_objects.get_mut(place) {
            of_object.push(it);
        }
    }
    let sent = stream::iter(
        of_objects.into_iter().map(|(_, of_object)| in_order(sender, taken, secrets, of_object)),
    );
    sent.buffer_unordered(SLOTS).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

async fn in_order(sender: &Sender, taken: &Taken, secrets: &[Secret], of_object: Vec<Due>) -> Vec<Done> {
    let (mut done, mut is_held_up) = (Vec::new(), false);
    for due in of_object {
        if is_held_up || taken.asked_at.elapsed() > LAST_START {
            is_held_up = true;
            done.push(Done::Waits(due));
            continue;
        }
        let began = Instant::now();
        let Some(delivery) = signed(secrets, &due.told) else {
            is_held_up = true;
            done.push(Done::Waits(due));
            continue;
        };
        let came = sender.dialler.send(&taken.url, &delivery).await;
        is_held_up = !came.is_success();
        done.push(Done::Sent(due, came, began.elapsed()));
    }
    done
}

/// The delivery of an event, signed by every secret that is valid.
fn signed(secrets: &[Secret], told: &Told) -> Option<Delivery> {
    let id = told.event.id.to_string();
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs().try_into().ok()?;
    let body = told.body.get().to_owned();
    let signatures = secrets.iter().map(|secret| secret.sign(&id, timestamp, &body).ok());
    let signature = signatures.collect::<Option<Vec<_>>>()?.join(" ");
    (!signature.is_empty()).then_some(Delivery { id, timestamp, signature, body })
}

/// Writes what came of a round, and gives the endpoint back.
async fn settle(
    sender: &Sender,
    taken: &Taken,
    cursor: Option<EventId>,
    done: Vec<Done>,
) -> sqlx::Result<Round> {
    let rows = Rows::of(done, sender.haste);
    let cursor = cursor.map(Columns::of);
    let statement = rows.write(&sender.pool, taken, cursor);
    let is_disabled = durable("settle_round", statement).await?;
    Ok(Round { delivered: rows.delivered, failed: rows.failed, is_disabled: is_disabled == Some(true) })
}

/// When a delivery that failed is tried again after so many tries; none if it is given up.
fn wait_after(tries: i32, asked: Option<Duration>, haste: u32) -> Option<Duration> {
    let wait = WAITS.get(usize::try_from(tries).ok()?.checked_sub(1)?)?;
    let wait = wait.mul_f64(rand::rng().random_range(0.8..1.2)) / haste.max(1);
    Some(asked.map_or(wait, |asked| asked.max(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_eight_times_over_a_day_and_later_where_the_receiver_asks_for_it() {
        let waits: Vec<_> = (1..=8).map(|tries| wait_after(tries, None, 1)).collect();
        for (wait, by_schedule) in waits.iter().zip(WAITS) {
            let wait = wait.unwrap();
            assert!(wait >= by_schedule.mul_f64(0.8) && wait <= by_schedule.mul_f64(1.2), "{wait:?}");
        }
        assert_eq!(waits[7], None);
        let hour = Duration::from_hours(1);
        assert_eq!(wait_after(1, Some(hour), 1), Some(hour));
        assert!(wait_after(4, Some(Duration::from_secs(1)), 1).unwrap() > hour);
    }
}
