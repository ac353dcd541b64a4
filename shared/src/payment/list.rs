//! Lists of a merchant's payments, newest first. Nothing here writes.
//!
//! Invariant: a page costs little, however many payments there are and however few of them are asked for.
//! What has no index is looked for among a limited number of payments. The page is then short, and says where
//! to go on.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{MerchantId, PaymentId};
use domain::status::PaymentStatus;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::Payment;
use crate::database::InTime as _;

/// How many more payments are looked at where the first few had too few that are asked for. What a page reads
/// then is bounded by `tests/it/plans/growth.rs`.
const LOOK_AT_MORE: [i64; 2] = [500, 4_500];

/// How far an API's clock may be behind the database's before a payment is missed at the end of a list by
/// time. Ids carry the time of the API's clock.
const CLOCK_BEHIND: TimeDelta = TimeDelta::days(1);

/// How far it may be ahead before one is missed at the beginning. It is shorter, because the first page looks
/// through all payments of that time.
const CLOCK_AHEAD: TimeDelta = TimeDelta::hours(1);

/// The year 10,000: no time that a client can write is later.
const END_OF_TIME: DateTime<Utc> = match DateTime::from_timestamp_secs(253_402_300_800) {
    Some(at) => at,
    None => DateTime::<Utc>::MAX_UTC,
};

/// The payments to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only payments of this status.
    pub status: Option<PaymentStatus>,
    /// Only payments that are held for a person, or only those that are not.
    pub is_held: Option<bool>,
    /// Only this customer's payments.
    pub customer_id: Option<String>,
    /// Only payments in this currency, by its code.
    pub currency: Option<String>,
    /// Only payments accepted after this time.
    pub created_after: Option<DateTime<Utc>>,
    /// Only payments accepted before this time.
    pub created_before: Option<DateTime<Utc>>,
    /// Only payments of at least this amount.
    pub amount_min: Option<Decimal>,
    /// Only payments of at most this amount.
    pub amount_max: Option<Decimal>,
    /// Only payments whose metadata have all these entries.
    pub metadata: BTreeMap<String, String>,
    /// Only payments that come after this one in the list, so older ones.
    pub starting_after: Option<PaymentId>,
    /// The largest number of payments.
    pub limit: i64,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The payments, newest first.
    pub payments: Vec<Payment>,
    /// The payment after which the list goes on. It need not be in this page. None at the end of the list.
    pub next: Option<PaymentId>,
}

/// A payment that was looked at.
#[derive(sqlx::FromRow)]
struct LookedAt {
    #[sqlx(flatten)]
    payment: Payment,
    is_asked_for: bool,
    /// How many payments were looked at together.
    looked_at: i64,
}

/// The merchant's payments that are asked for, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, merchant: MerchantId, filter: &Filter) -> sqlx::Result<Page> {
    let limit = usize::try_from(filter.limit).unwrap_or_default();
    let mut page = Page { payments: Vec::new(), next: filter.starting_after };
    // One more than asked for tells whether there are more.
    for rows in std::iter::once(filter.limit.saturating_add(1)).chain(LOOK_AT_MORE) {
        let found = look_at(pool, merchant, filter, page.next, rows).await?;
        let reached = found.last().filter(|last| last.looked_at >= rows);
        page.next = reached.map(|last| last.payment.id.into());
        page.payments.extend(found.into_iter().filter(|it| it.is_asked_for).map(|it| it.payment));
        if page.payments.len() > limit {
            page.payments.truncate(limit);
            page.next = page.payments.last().map(|last| last.id.into());
            return Ok(page);
        }
        if page.next.is_none() {
            return Ok(page);
        }
    }
    Ok(page)
}

/// The next `rows` payments after this one, newest first: those that are asked for, and the last one.
async fn look_at(
    pool: &PgPool,
    merchant: MerchantId,
    filter: &Filter,
    after: Option<PaymentId>,
    rows: i64,
) -> sqlx::Result<Vec<LookedAt>> {
    let first = filter.created_before.map_or(Uuid::max(), |at| id_at(at + CLOCK_AHEAD));
    // Not prepared: a plan from when there were few payments would read and sort all of them.
    sqlx::query_as(include_str!("../../queries/payment_list.sql"))
        .persistent(false)
        .bind(merchant.uuid())
        .bind(filter.status.map(PaymentStatus::as_str))
        .bind(&filter.customer_id)
        .bind(filter.is_held)
        .bind(after.map_or(first, |after| first.min(after.uuid())))
        .bind(filter.created_after.map_or(Uuid::nil(), |at| id_at(at - CLOCK_BEHIND)))
        .bind(rows)
        .bind(filter.created_after.unwrap_or(DateTime::UNIX_EPOCH))
        .bind(filter.created_before.unwrap_or(END_OF_TIME))
        .bind(&filter.currency)
        .bind(filter.amount_min)
        .bind(filter.amount_max)
        .bind(serde_json::json!(filter.metadata))
        .fetch_all(pool)
        .in_time()
        .await
}

/// An id below that of every payment whose id was made at this time or later.
fn id_at(at: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::from(at.timestamp_millis().max(0).unsigned_abs()) << 80)
}
