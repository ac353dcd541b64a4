//! The rules of risk: who added and removed which, and what they would have said of payments of before. The
//! function `judge` of the database asks them, within the statement that accepts a payment.
//!
//! Invariant: a rule is added and removed, and never changed.

use chrono::{DateTime, Utc};
use domain::ids::MerchantId;
use domain::review::{RuleAction, RuleKind};
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable};

/// A rule that is to hold.
#[derive(Debug, Clone)]
pub struct NewRule {
    /// Whose payments it is about. None means all merchants', after their own rules.
    pub merchant: Option<MerchantId>,
    /// The order among the rules of one merchant, or of all.
    pub position: i32,
    /// What it looks at.
    pub kind: RuleKind,
    /// Only payments in this currency.
    pub currency: Option<String>,
    /// Only payments above this amount.
    pub amount: Option<Decimal>,
    /// How many requests may come, or how many failures are too many.
    pub count: Option<i32>,
    /// Within how many seconds.
    pub window_s: Option<i32>,
    /// The customer, or the payment method.
    pub value: Option<String>,
    /// What follows.
    pub action: RuleAction,
    /// What it adds to the score.
    pub score: i32,
    /// For how many seconds a person may look.
    pub review_s: i32,
    /// Why there is such a rule.
    pub reason: String,
}

/// A rule, and who it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table `risk_rules`, which explains them")]
pub struct Rule {
    pub id: i64,
    pub merchant_id: Option<Uuid>,
    pub position: i32,
    pub kind: String,
    pub currency: Option<String>,
    pub amount: Option<String>,
    pub count: Option<i32>,
    pub window_s: Option<i32>,
    pub value: Option<String>,
    pub action: String,
    pub score: i32,
    pub review_s: i32,
    pub reason: String,
    pub added_at: DateTime<Utc>,
    pub added_by: String,
    pub removed_at: Option<DateTime<Utc>>,
    pub removed_by: Option<String>,
}

/// The rules in the order in which they are asked, or also those that were removed.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, with_removed: bool) -> sqlx::Result<Vec<Rule>> {
    let rows = sqlx::query_as!(
        Rule,
        "select id, merchant_id, position, kind, currency, amount::text as amount, count, window_s, value, action, score,
                review_s, reason, added_at, added_by, removed_at, removed_by
           from risk_rules
          where $1 or removed_at is null
          order by merchant_id is null, merchant_id, position, id",
        with_removed
    );
    rows.fetch_all(pool).in_time().await
}

/// Adds a rule, which holds from the next request on, and answers its number.
///
/// # Errors
/// The database's error; a rule that lacks what its kind needs is refused by a constraint.
pub async fn add(pool: &PgPool, rule: &NewRule, by: &str) -> sqlx::Result<i64> {
    let statement = sqlx::query_scalar!(
        r#"insert into risk_rules (merchant_id, position, kind, currency, amount, count, window_s, value, action, score, review_s,
                                   reason, added_by)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
           returning id"#,
        rule.merchant.map(MerchantId::uuid),
        rule.position,
        rule.kind.as_str(),
        rule.currency,
        rule.amount,
        rule.count,
        rule.window_s,
        rule.value,
        rule.action.as_str(),
        rule.score,
        rule.review_s,
        rule.reason,
        by
    );
    durable("rule", statement.fetch_one(pool).in_time()).await
}

/// Removes a rule, and says whether it was in force.
///
/// # Errors
/// Returns the database's error.
pub async fn remove(pool: &PgPool, id: i64, by: &str) -> sqlx::Result<bool> {
    let statement = sqlx::query_scalar!(
        "update risk_rules set removed_at = clock_timestamp(), removed_by = $2 where id = $1 and removed_at is null returning id",
        id,
        by
    );
    Ok(durable("rule", statement.fetch_optional(pool).in_time()).await?.is_some())
}

/// What a rule would have said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Of how many payments.
    pub payments: i64,
    /// How many it would have hit.
    pub hits: i64,
    /// How many of these were charged or paid in the end.
    pub succeeded: i64,
}

/// Tries a rule against the last payments, without counting anything. A window is looked at as if it ended
/// with each payment.
///
/// # Errors
/// Returns the database's error.
pub async fn try_out(pool: &PgPool, rule: &NewRule, last: i64) -> sqlx::Result<Tried> {
    let row = sqlx::query!(
        r#"with recent as materialized (
               select id, merchant_id, customer_id, amount, currency, payment_method, status, created_at
                 from payments
                where $1::uuid is null or merchant_id = $1
                order by id desc limit $2),
           judged as (
               select r.*,
                      ($4::text is null or currency = $4) and ($5::numeric is null or amount > $5)
                      and case $3::text
                          when 'amount_over' then true
                          when 'velocity' then
                               (select count(*) from recent b
                                 where b.merchant_id = r.merchant_id and b.customer_id = r.customer_id and b.id <= r.id
                                   and b.created_at > r.created_at - $7::int * interval '1 second'
                                   and ($4 is null or b.currency = $4) and ($5 is null or b.amount > $5)) > $6::int
                          when 'recent_failures' then
                               (select count(*) from recent b
                                 where b.merchant_id = r.merchant_id and b.customer_id = r.customer_id and b.id < r.id
                                   and b.status = 'failed' and b.created_at > r.created_at - $7 * interval '1 second') >= $6
                          when 'new_customer' then
                               not exists (select from payments b
                                            where b.merchant_id = r.merchant_id and b.customer_id = r.customer_id and b.id < r.id
                                              and b.status = 'succeeded')
                          when 'blocked_customer' then customer_id = $8
                          when 'blocked_method' then payment_method = $8
                          else false end as is_hit
                 from recent r)
           select count(*) as "payments!", count(*) filter (where is_hit) as "hits!",
                  count(*) filter (where is_hit and status = 'succeeded') as "succeeded!"
             from judged"#,
        rule.merchant.map(MerchantId::uuid),
        last,
        rule.kind.as_str(),
        rule.currency,
        rule.amount,
        rule.count,
        rule.window_s,
        rule.value
    );
    let row = row.fetch_one(pool).in_time().await?;
    Ok(Tried { payments: row.payments, hits: row.hits, succeeded: row.succeeded })
}

/// The counters that one statement deletes.
const BATCH: i64 = 1_000;

/// Deletes counters whose window has been over for an hour, some at a time, and says how many.
///
/// # Errors
/// The database's error. What was deleted before stays deleted.
pub async fn forget(pool: &PgPool) -> sqlx::Result<u64> {
    let mut deleted = 0;
    for _ in 0..100 {
        let statement = sqlx::query!(
            "delete from risk_counters c
              using (select rule_id, merchant_id, customer_id from risk_counters
                      where ends_at < now() - interval '1 hour'
                      order by ends_at limit $1 for update skip locked) old
              where c.rule_id = old.rule_id and c.merchant_id = old.merchant_id and c.customer_id = old.customer_id
                and c.ends_at < now() - interval '1 hour'",
            BATCH
        );
        let batch = durable("rule", statement.execute(pool).in_time()).await?.rows_affected();
        deleted += batch;
        if batch == 0 {
            break;
        }
    }
    Ok(deleted)
}
