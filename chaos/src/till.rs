//! What a script reads from our books while it runs: how the payments of some time ended, by the
//! database's clock.

use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use domain::ids::MerchantId;
use sqlx::{FromRow, PgPool};
use tokio::time::{Instant, sleep};

/// The longest wait of a script for anything, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Payments of one merchant, or of all, that were accepted from one moment up to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot {
    pub(super) merchant: Option<MerchantId>,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

/// The figures of a lot.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Sold {
    pub(super) payments: i64,
    pub(super) succeeded: i64,
    pub(super) reversed: i64,
    pub(super) retries_spent: i64,
    /// The number of rows in their histories.
    pub(super) events: i64,
    /// The time from acceptance to the end that 95 in 100 stay within, in milliseconds. Below, the
    /// longest time.
    pub(super) p95_ms: i64,
    pub(super) longest_ms: i64,
    pub(super) last_at: Option<DateTime<Utc>>,
}

impl Lot {
    pub(super) async fn read(self, pool: &PgPool) -> Result<Sold> {
        let read = sqlx::query_as(
            "select count(*) as payments,
                    count(*) filter (where status = 'succeeded') as succeeded,
                    count(*) filter (where status = 'reversed') as reversed,
                    coalesce(sum(retries_spent), 0)::bigint as retries_spent,
                    coalesce(sum((select count(*) from payment_events e where e.payment_id = payments.id)), 0)::bigint
                        as events,
                    coalesce(percentile_cont(0.95) within group (order by took), 0)::bigint as p95_ms,
                    coalesce(max(took), 0)::bigint as longest_ms,
                    max(terminal_at) as last_at
               from payments
              cross join lateral (select extract(epoch from terminal_at - created_at)::float8 * 1000 as took) as t
              where ($1::uuid is null or merchant_id = $1) and created_at >= $2 and created_at < $3",
        );
        let merchant = self.merchant.map(|merchant| merchant.uuid());
        Ok(read.bind(merchant).bind(self.from).bind(self.to).fetch_one(pool).await?)
    }
}

/// The time now, by the clock that payments are accepted by.
pub(super) async fn now(pool: &PgPool) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?)
}

/// The number of workers whose breakers are open.
pub(super) async fn breakers_open(pool: &PgPool) -> Result<i64> {
    let count = "select count(*) from gateway_outages where ended_at is null";
    Ok(sqlx::query_scalar(count).fetch_one(pool).await?)
}

/// How many payments are in doubt, and for how many milliseconds the oldest doubt has lasted.
pub(super) async fn in_doubt(pool: &PgPool) -> Result<(i64, i64)> {
    let read = "select count(*), coalesce(max(extract(epoch from clock_timestamp() - doubt_since)) * 1000, 0)::bigint
                  from payments where in_doubt and terminal_at is null";
    Ok(sqlx::query_as(read).fetch_one(pool).await?)
}

/// The one number that a statement answers.
pub(super) async fn count(pool: &PgPool, statement: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(statement).fetch_one(pool).await?)
}

/// Waits until `holds`. It is an error where that takes too long.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds().await? {
        if began.elapsed() > PATIENCE {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
