//! What a database has after the steps of `payonce restored`, by kind and currency.

use rust_decimal::Decimal;
use sqlx::PgPool;

use super::orphans::{self, Sum, may_read_all};

/// The payments of one kind and currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What they were when the past came back: a status, `in doubt`, `voiding`, `held`.
    pub was: String,
    /// The currency code, by ISO 4217.
    pub currency: String,
    /// How many payments there are.
    pub count: i64,
    /// The amount that they owe together.
    pub amount: Decimal,
}

/// What the database has after the steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Payments that were not over, and are looked at first.
    pub doubted: Vec<Found>,
    /// Payments that were over.
    pub over: Vec<Found>,
    /// Charges of payments that are forgotten.
    pub orphans: Vec<Sum>,
}

/// Counts payments and orphans.
///
/// # Errors
/// Returns the database's error.
pub async fn take(pool: &PgPool, epoch: i32) -> sqlx::Result<Inventory> {
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
