//! Reads of payments and their history, but for lists. One function per query; nothing here writes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::idempotency::{CREATE_PAYMENT, Key};
use domain::ids::{GatewayName, MerchantId, PaymentId, TransferId};
use domain::request::{Accepted, First, Remembered};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Event, Payment};
use crate::database::batch::{Owner, Work};
use crate::database::watermark::Looked;
use crate::database::{InTime as _, Lend, Seat};
use crate::merchant::auth::{Columns, Presented};

/// The longest time between a due time and the moment at which it is visible: no statement that makes a
/// payment due takes longer.
const LATE: TimeDelta = TimeDelta::seconds(6);

/// A question for a payment.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The payment that is asked for.
    pub id: PaymentId,
    /// The API key that came with the question, which says who asks.
    pub api_key: Presented,
}

/// The payments that are asked for, in the order of the questions. None if there is no such payment of that
/// merchant, or if the API key opens nothing, or no payments.
///
/// # Errors
/// Returns the database's error.
pub async fn find(on: &impl Lend, asked: &[Asked]) -> sqlx::Result<Vec<Option<Payment>>> {
    let ids: Vec<Uuid> = asked.iter().map(|asked| asked.id.uuid()).collect();
    let keys = Columns::of(asked.iter().map(|asked| &asked.api_key));
    let mut connection = on.lend().await?;
    let found = sqlx::query_as(include_str!("../../queries/payment_find.sql"))
        .bind(ids)
        .bind(keys.named)
        .bind(keys.hashes)
        .bind(keys.other_hashes)
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

/// Reads payments for many requests at once.
pub struct Reading {
    /// The connection to the payments.
    pub seat: Seat,
}

impl Work for Reading {
    type Item = Asked;
    type Answer = Option<Payment>;
    type Error = sqlx::Error;

    fn owner(asked: &Asked) -> Owner {
        asked.api_key.number()
    }

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, asked: &[Asked]) -> sqlx::Result<Vec<Option<Payment>>> {
        find(&self.seat, asked).await
    }
}

/// The currency of a payment of the merchant's, as it was recorded; none if there is no such payment.
///
/// # Errors
/// Returns the database's error.
pub async fn currency(pool: &PgPool, merchant: MerchantId, id: PaymentId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "select currency from payments where id = $1 and merchant_id = $2",
        id.uuid(),
        merchant.uuid()
    )
    .fetch_optional(pool)
    .in_time()
    .await
}

/// What a key of the merchant's stands for, about that customer; none if the key is free.
///
/// # Errors
/// Returns the database's error.
pub async fn remembered(
    pool: &PgPool,
    merchant: MerchantId,
    customer_id: &str,
    key: &Key,
) -> sqlx::Result<Option<Remembered>> {
    let row = sqlx::query!(
        "select k.fingerprint, k.renderer, p.id, p.customer_id, p.amount, p.currency, p.payment_method, p.description,
                p.metadata, p.created_at, p.accepted_as
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
            first: First::of(row.accepted_as),
        },
    }))
}

/// A payment's history, oldest first; empty if there is no such payment of that merchant.
///
/// # Errors
/// Returns the database's error.
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

/// Those of these payments that nothing moves by itself any more: they have ended, are held for a person, or
/// are in review.
///
/// # Errors
/// Returns the database's error.
pub async fn at_rest(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select id from payments where id = any($1) and (terminal_at is not null or held_reason is not null or status = 'in_review')",
        ids
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// Whether a transfer is what a payment from a balance is paid by, or is to be. It has the payment's id then.
///
/// # Errors
/// Returns the database's error.
pub async fn is_of_a_payment(pool: &PgPool, id: TransferId) -> sqlx::Result<bool> {
    let found =
        sqlx::query_scalar!("select exists (select from payments where id = $1) as \"exists!\"", id.uuid());
    found.fetch_one(pool).in_time().await
}

/// A due payment that no worker took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// The payment that is due.
    pub id: Uuid,
    /// Whether its claim was lost twice in a row: then it is given only to a worker that has nothing else in
    /// hand.
    pub is_suspect: bool,
}

/// Payments of a gateway that were due more than `grace_ms` ago and that no worker took, oldest first: the
/// sweep claims them. With `since` only those that fell due after it are read. `limit` is at least 1.
///
/// # Errors
/// Returns the database's error.
pub async fn overdue(
    pool: &PgPool,
    gateway: &GatewayName,
    (grace_ms, limit): (i64, i64),
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<Looked<Overdue>> {
    // By `now()`, which ends the read where payments begin that are not due yet. By `clock_timestamp()` it
    // would read all that are under way.
    let rows = sqlx::query!(
        "select coalesce(p.due_at, clock.overdue_from) as \"nothing_before!\", p.id as \"id?\",
                p.claim_token is not null and p.takeover_count > 0 as \"is_suspect!\"
           from (select now() - $1::bigint * interval '1 millisecond' as overdue_from) as clock
           left join lateral (
                select id, due_at, claim_token, takeover_count from payments due
                 where gateway = $4 and due_at >= coalesce($2::timestamptz, '-infinity')
                   and due_at < now() - $1 * interval '1 millisecond'
                   -- What no claim takes, because its history has gone on without it, waits for a person.
                   and not exists (select from breaks b
                                    where b.payment_id = due.id and b.kind = 'history' and b.closed_at is null)
                 order by due_at
                 limit $3) as p on true
          order by p.due_at",
        grace_ms,
        since,
        limit,
        gateway.as_str()
    )
    .fetch_all(&mut *pool.lend().await?)
    .in_time()
    .await?;
    // A payment that was found stays due until a worker takes it.
    let reached = rows.first().map(|oldest| oldest.nothing_before - LATE);
    let found = rows
        .into_iter()
        .filter_map(|row| Some(Overdue { id: row.id?, is_suspect: row.is_suspect }))
        .collect();
    Ok(Looked { found, reached })
}

/// Overdue payments of a gateway where a worker's calls there are scarce: of no merchant in `full`, and of
/// each other one at most `looks` that are no charges.
///
/// # Errors
/// Returns the database's error.
pub async fn overdue_fairly(
    pool: &PgPool,
    gateway: &GatewayName,
    (grace_ms, limit): (i64, i64),
    full: &[Uuid],
    looks: i64,
) -> sqlx::Result<Vec<Overdue>> {
    let gateway = gateway.as_str();
    let rows =
        sqlx::query_file!("queries/payments_overdue_fairly.sql", grace_ms, full, limit, looks, gateway)
            .fetch_all(&mut *pool.lend().await?)
            .in_time()
            .await?;
    Ok(rows.into_iter().map(|row| Overdue { id: row.id, is_suspect: row.is_suspect }).collect())
}

/// A merchant of a gateway that is none of `known`, and that has had a payment due for more than `grace_ms`.
///
/// # Errors
/// Returns the database's error.
pub async fn waiting_merchant(
    pool: &PgPool,
    gateway: &GatewayName,
    grace_ms: i64,
    known: &[Uuid],
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "select m.id
           from merchants m
          where m.gateway = $3 and m.id <> all($2::uuid[])
            and exists (select from payments p
                         where p.merchant_id = m.id and p.status in ('pending', 'processing')
                           and (p.due_at < now() - $1::bigint * interval '1 millisecond') is true
                         offset 0)
          limit 1",
        grace_ms,
        known,
        gateway.as_str()
    )
    .fetch_optional(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Payments that wait for their charge at a gateway and were accepted more than `max_age` ago. They end, or
/// are looked up, without asking the gateway first.
///
/// # Errors
/// Returns the database's error.
pub async fn expired(
    pool: &PgPool,
    gateway: &GatewayName,
    max_age: Duration,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select id from payments
          where gateway = $3 and due_at <= now() and status = 'pending' and held_reason is null and not look_first
            and created_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
          order by due_at
          limit $2",
        crate::database::millis(max_age),
        limit,
        gateway.as_str()
    )
    .fetch_all(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Whether there is a payment of that id.
///
/// # Errors
/// Returns the database's error.
pub async fn is_known(pool: &PgPool, id: PaymentId) -> sqlx::Result<bool> {
    sqlx::query_scalar!("select exists (select from payments where id = $1) as \"is_known!\"", id.uuid())
        .fetch_one(&mut *pool.lend().await?)
        .in_time()
        .await
}

/// A payment by which a worker learns whether the gateway is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The payment to ask about.
    pub id: Uuid,
    /// The merchant whose payment it is.
    pub merchant_id: Uuid,
    /// Whether it waits for its charge, and not for a look.
    pub is_charge: bool,
}

/// A payment that is due at a gateway and none of `payments`. It is of none of `merchants`, or else of the
/// first one possible among them.
///
/// # Errors
/// Returns the database's error.
pub async fn to_probe(
    pool: &PgPool,
    gateway: &GatewayName,
    payments: &[Uuid],
    merchants: &[Uuid],
) -> sqlx::Result<Option<Candidate>> {
    sqlx::query_file_as!(Candidate, "queries/payment_to_probe.sql", payments, merchants, gateway.as_str())
        .fetch_optional(&mut *pool.lend().await?)
        .in_time()
        .await
}

/// How long the payment that has waited longest has been due; zero if none is.
///
/// # Errors
/// Returns the database's error.
pub async fn lag(pool: &PgPool) -> sqlx::Result<Duration> {
    let lag_ms = sqlx::query_scalar!(
        "select coalesce(extract(epoch from clock_timestamp() - min(oldest.due_at)) * 1000, 0)::bigint as \"lag_ms!\"
           from gateways g
          cross join lateral (
                select due_at from payments
                 where gateway = g.name and due_at is not null order by due_at limit 1) oldest"
    )
    .fetch_one(pool)
    .in_time()
    .await?;
    Ok(Duration::from_millis(u64::try_from(lag_ms).unwrap_or(0)))
}
