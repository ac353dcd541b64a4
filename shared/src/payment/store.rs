//! Reads of payments and their history. One function per query; nothing here writes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::idempotency::{CREATE_PAYMENT, Key};
use domain::ids::{MerchantId, PaymentId};
use domain::request::{Accepted, Remembered};
use domain::status::PaymentStatus;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Event, Payment};
use crate::database::batch::Work;
use crate::database::watermark::Looked;
use crate::database::{InTime as _, Lend, Seat};
use crate::merchant::auth::SecretHash;

/// No statement that makes a payment due takes longer: by then it is visible.
const LATE: TimeDelta = TimeDelta::seconds(6);

/// A question for a payment.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Which one.
    pub id: PaymentId,
    /// The API key that came with the question, which says who asks.
    pub api_key: SecretHash,
}

/// The payments that are asked for, in the order of the questions; none where there is no such payment of that merchant, or the
/// API key is unknown or was revoked.
///
/// # Errors
/// The database's.
pub async fn find(on: &impl Lend, asked: &[Asked]) -> sqlx::Result<Vec<Option<Payment>>> {
    let ids: Vec<Uuid> = asked.iter().map(|asked| asked.id.uuid()).collect();
    let api_keys: Vec<Vec<u8>> = asked.iter().map(|asked| asked.api_key.bytes()).collect();
    let mut connection = on.lend().await?;
    let found = sqlx::query_as(include_str!("../../queries/payment_find.sql"))
        .bind(ids)
        .bind(api_keys)
        .fetch_all(&mut *connection)
        .in_time()
        .await;
    let mut payments = vec![None; asked.len()];
    let found: Vec<Found> = connection.back(found)?;
    for Found { n, payment } in found {
        if let Some(place) = usize::try_from(n - 1).ok().and_then(|n| payments.get_mut(n)) {
            *place = Some(payment);
        }
    }
    Ok(payments)
}

/// The answer to the `n`th question.
#[derive(sqlx::FromRow)]
struct Found {
    n: i64,
    #[sqlx(flatten)]
    payment: Payment,
}

/// Reading payments for many requests at once.
pub struct Reading {
    /// Where they are.
    pub seat: Seat,
}

impl Work for Reading {
    type Item = Asked;
    type Answer = Option<Payment>;
    type Error = sqlx::Error;

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, asked: &[Asked]) -> sqlx::Result<Vec<Option<Payment>>> {
        find(&self.seat, asked).await
    }
}

/// Which payments to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these.
    pub status: Option<PaymentStatus>,
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Only later ones.
    pub created_after: Option<DateTime<Utc>>,
    /// Only those that come after this one in the list, so older ones.
    pub starting_after: Option<PaymentId>,
    /// At most so many.
    pub limit: i64,
}

/// The merchant's payments, newest first.
///
/// # Errors
/// The database's.
pub async fn list(pool: &PgPool, merchant: MerchantId, filter: &Filter) -> sqlx::Result<Vec<Payment>> {
    // Not prepared: a plan from when there were few payments would read and sort all of them.
    sqlx::query_as(include_str!("../../queries/payment_list.sql"))
        .persistent(false)
        .bind(merchant.uuid())
        .bind(filter.status.map(PaymentStatus::as_str))
        .bind(&filter.customer_id)
        .bind(filter.created_after.unwrap_or(DateTime::UNIX_EPOCH))
        .bind(filter.starting_after.map_or(Uuid::max(), PaymentId::uuid))
        .bind(filter.created_after.map_or(Uuid::nil(), earlier_id))
        .bind(filter.limit)
        .fetch_all(pool)
        .in_time()
        .await
}

/// An id below that of every payment accepted at or after `at`. Ids carry the time of the API's clock, which may differ
/// from the database's by as much as a day before a payment is missed.
fn earlier_id(at: DateTime<Utc>) -> Uuid {
    let millis = (at - TimeDelta::days(1)).timestamp_millis();
    Uuid::from_u128(u128::from(millis.max(0).unsigned_abs()) << 80)
}

/// What a key of the merchant's stands for, about that customer; none if it is free.
///
/// # Errors
/// The database's.
pub async fn remembered(
    pool: &PgPool,
    merchant: MerchantId,
    customer_id: &str,
    key: &Key,
) -> sqlx::Result<Option<Remembered>> {
    let row = sqlx::query!(
        "select k.fingerprint, k.renderer, p.id, p.customer_id, p.amount, p.currency, p.payment_method, p.description,
                p.metadata, p.created_at
           from idempotency_keys k
           join payments p on p.id = k.payment_id
          where k.merchant_id = $1 and k.operation = $2 and k.customer_id = $3 and k.key = $4",
        merchant.uuid(),
        CREATE_PAYMENT,
        customer_id,
        key.as_str()
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(row.map(|row| Remembered {
        fingerprint: row.fingerprint,
        renderer: row.renderer,
        accepted: Accepted {
            id: row.id,
            customer_id: row.customer_id,
            amount: row.amount,
            currency: row.currency,
            payment_method: row.payment_method,
            description: row.description,
            metadata: row.metadata,
            created_at: row.created_at,
        },
    }))
}

/// A payment's history, oldest first; empty if there is no such payment of that merchant.
///
/// # Errors
/// The database's.
pub async fn events(pool: &PgPool, merchant: MerchantId, id: PaymentId) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        "select e.version, e.type as event_type, e.from_status, e.to_status, e.reason, e.evidence, e.claim_token, e.due_at,
                e.spends, e.correlation_id, e.at
           from payment_events e
           join payments p on p.id = e.payment_id
          where e.payment_id = $1 and p.merchant_id = $2
          order by e.version",
        id.uuid(),
        merchant.uuid()
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// Which of these payments have ended.
///
/// # Errors
/// The database's.
pub async fn ended(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("select id from payments where id = any($1) and terminal_at is not null", ids)
        .fetch_all(pool)
        .in_time()
        .await
}

/// A due payment that nobody took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Which one.
    pub id: Uuid,
    /// Whether its claim was lost twice in a row: it is given only to a worker that has nothing else in hand.
    pub is_suspect: bool,
}

/// Payments that were due more than `grace_ms` ago and that nobody took, oldest first: what the sweep claims. At least one is
/// asked for, and with `since` only those that fell due after it.
///
/// # Errors
/// The database's.
pub async fn overdue(
    pool: &PgPool,
    grace_ms: i64,
    limit: i64,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<Looked<Overdue>> {
    // By `now()`, which ends the read where payments begin that are not due yet; by `clock_timestamp()` it would read all
    // that are under way.
    let rows = sqlx::query!(
        "select coalesce(p.due_at, clock.overdue_from) as \"nothing_before!\", p.id as \"id?\",
                p.claim_token is not null and p.takeover_count > 0 as \"is_suspect!\"
           from (select now() - $1::bigint * interval '1 millisecond' as overdue_from) as clock
           left join lateral (
                select id, due_at, claim_token, takeover_count from payments due
                 where due_at >= coalesce($2::timestamptz, '-infinity')
                   and due_at < now() - $1 * interval '1 millisecond'
                   -- What no claim takes, because its history has gone on without it, waits for a person.
                   and not exists (select from breaks b
                                    where b.payment_id = due.id and b.kind = 'history' and b.closed_at is null)
                 order by due_at
                 limit $3) as p on true
          order by p.due_at",
        grace_ms,
        since,
        limit
    )
    .fetch_all(&mut *pool.lend().await?)
    .in_time()
    .await?;
    // What was found stays due until somebody takes it.
    let reached = rows.first().map(|oldest| oldest.nothing_before - LATE);
    let found = rows
        .into_iter()
        .filter_map(|row| Some(Overdue { id: row.id?, is_suspect: row.is_suspect }))
        .collect();
    Ok(Looked { found, reached })
}

/// The same where some of a worker's calls wait for long: of no merchant in `full`, and at most `looks` that are no charges.
///
/// # Errors
/// The database's.
pub async fn overdue_fairly(
    pool: &PgPool,
    grace_ms: i64,
    limit: i64,
    full: &[Uuid],
    looks: i64,
) -> sqlx::Result<Vec<Overdue>> {
    let rows = sqlx::query_file!("queries/payments_overdue_fairly.sql", grace_ms, full, limit, looks)
        .fetch_all(&mut *pool.lend().await?)
        .in_time()
        .await?;
    Ok(rows.into_iter().map(|row| Overdue { id: row.id, is_suspect: row.is_suspect }).collect())
}

/// A merchant, none of `known`, of whom something has been due for more than `grace_ms`.
///
/// # Errors
/// The database's.
pub async fn waiting_merchant(pool: &PgPool, grace_ms: i64, known: &[Uuid]) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "select m.id
           from merchants m
          where m.id <> all($2::uuid[])
            and exists (select from payments p
                         where p.merchant_id = m.id and p.status in ('pending', 'processing')
                           and (p.due_at < now() - $1::bigint * interval '1 millisecond') is true
                         offset 0)
          limit 1",
        grace_ms,
        known
    )
    .fetch_optional(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Payments that wait for their charge and were accepted more than `max_age` ago: they end, or are looked up, without the
/// gateway being asked first.
///
/// # Errors
/// The database's.
pub async fn expired(pool: &PgPool, max_age: Duration, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select id from payments
          where due_at <= now() and status = 'pending' and held_reason is null and not look_first
            and created_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
          order by due_at
          limit $2",
        crate::database::millis(max_age),
        limit
    )
    .fetch_all(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Whether there is a payment of that id.
///
/// # Errors
/// The database's.
pub async fn is_known(pool: &PgPool, id: PaymentId) -> sqlx::Result<bool> {
    sqlx::query_scalar!("select exists (select from payments where id = $1) as \"is_known!\"", id.uuid())
        .fetch_one(&mut *pool.lend().await?)
        .in_time()
        .await
}

/// A payment by which a worker learns whether the gateway is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub id: Uuid,
    /// Whose.
    pub merchant_id: Uuid,
    /// Whether it waits for its charge, and not for a look.
    pub is_charge: bool,
}

/// A payment that is due, none of `payments`, and of none of `merchants` or of the one that comes first among them.
///
/// # Errors
/// The database's.
pub async fn to_probe(
    pool: &PgPool,
    payments: &[Uuid],
    merchants: &[Uuid],
) -> sqlx::Result<Option<Candidate>> {
    sqlx::query_file_as!(Candidate, "queries/payment_to_probe.sql", payments, merchants)
        .fetch_optional(&mut *pool.lend().await?)
        .in_time()
        .await
}

/// For how long the payment that has waited longest has been due; zero where none is.
///
/// # Errors
/// The database's.
pub async fn lag(pool: &PgPool) -> sqlx::Result<Duration> {
    let lag_ms = sqlx::query_scalar!(
        "select coalesce(extract(epoch from clock_timestamp() - min(due_at)) * 1000, 0)::bigint as \"lag_ms!\"
           from payments where due_at is not null"
    )
    .fetch_one(pool)
    .in_time()
    .await?;
    Ok(Duration::from_millis(u64::try_from(lag_ms).unwrap_or(0)))
}
