//! Payments of all merchants, newest first, page by page.

use chrono::{DateTime, Utc};
use domain::ids::{MerchantId, PaymentId};
use domain::status::PaymentStatus;
use sqlx::PgPool;
use uuid::Uuid;

/// Where a payment stands, as an operator asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The payment has this status.
    Status(PaymentStatus),
    /// The payment waits for a person.
    Held,
}

/// The payments to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only payments that stand so.
    pub state: Option<State>,
    /// Only this merchant's payments.
    pub merchant: Option<MerchantId>,
    /// Only this customer's payments.
    pub customer_id: Option<String>,
    /// Only payments with a lower id, so older ones.
    pub before: Option<PaymentId>,
    /// The largest number of payments.
    pub limit: i64,
}

/// The number of held payments that are read: more than people can decide about.
const HELD_MAX: i64 = 10_000;

/// A payment in the list.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `payments`, which explains them")]
pub struct Listed {
    pub id: Uuid,
    pub merchant_name: String,
    pub customer_id: String,
    pub amount: String,
    pub currency: String,
    pub payment_method: String,
    pub status: String,
    pub held_reason: Option<String>,
    pub in_doubt: bool,
    pub attempt_count: i32,
    pub created_at: DateTime<Utc>,
}

/// The payments that `filter` describes, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Listed>> {
    let ids = match (filter.state, &filter.customer_id) {
        (Some(State::Held), _) => held(pool, filter).await?,
        (Some(State::Status(status)), None) => of_status(pool, filter, status).await?,
        (Some(State::Status(status)), Some(customer)) => {
            of_customer(pool, filter, customer, Some(status)).await?
        }
        (None, Some(customer)) => of_customer(pool, filter, customer, None).await?,
        (None, None) => latest(pool, filter).await?,
    };
    sqlx::query_as!(
        Listed,
        "select p.id, m.name as merchant_name, p.customer_id, p.amount::text as \"amount!\", p.currency, p.payment_method, p.status,
                p.held_reason, p.in_doubt, p.attempt_count, p.created_at
           from payments p join merchants m on m.id = p.merchant_id
          where p.id = any($1)
          order by p.id desc",
        &ids
    )
    .fetch_all(pool)
    .await
}

impl Filter {
    /// The id below which the page begins.
    fn below(&self) -> Uuid {
        self.before.map_or(Uuid::max(), PaymentId::uuid)
    }
}

/// Held payments are few rows with an index of their own. To keep to it, only what it gave is narrowed.
async fn held(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select id
           from (select id, merchant_id, customer_id from payments
                  where held_reason is not null and id < $3
                  order by id desc limit $5) as held
          where ($1::uuid is null or merchant_id = $1)
            and ($2::text is null or customer_id = $2)
          order by id desc
          limit $4",
        filter.merchant.map(MerchantId::uuid),
        filter.customer_id,
        filter.below(),
        filter.limit,
        HELD_MAX
    )
    .fetch_all(pool)
    .await
}

async fn latest(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Uuid>> {
    match filter.merchant {
        None => {
            sqlx::query_scalar!(
                "select id from payments where id < $1 order by id desc limit $2",
                filter.below(),
                filter.limit
            )
            .fetch_all(pool)
            .await
        }
        // One column of the index is given, and the order names both: that says which index to read.
        Some(merchant) => {
            sqlx::query_scalar!(
                "select payment_id as \"id!\" from idempotency_keys
                  where substr(operation, 1) = 'create_payment' and merchant_id >= $1 and (merchant_id, payment_id) < ($1, $2)
                  order by merchant_id desc, payment_id desc limit $3",
                merchant.uuid(),
                filter.below(),
                filter.limit
            )
            .fetch_all(pool)
            .await
        }
    }
}

/// The newest of one page of each merchant, by the index that merchants' own lists read. An index for the
/// operator alone would cost every payment one more write.
async fn of_status(pool: &PgPool, filter: &Filter, status: PaymentStatus) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select found.id
           from merchants m
          cross join lateral (
                select p.id from payments p
                 where p.merchant_id = m.id and p.status >= $2 and (p.status, p.id) < ($2, $3)
                 order by p.status desc, p.id desc
                 limit $4) found
          where $1::uuid is null or m.id = $1
          order by found.id desc
          limit $4",
        filter.merchant.map(MerchantId::uuid),
        status.as_str(),
        filter.below(),
        filter.limit
    )
    .fetch_all(pool)
    .await
}

/// The same for a customer, whose id may mean another person at each merchant.
async fn of_customer(
    pool: &PgPool,
    filter: &Filter,
    customer: &str,
    status: Option<PaymentStatus>,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select found.id as \"id!\"
           from merchants m
          cross join lateral (
                select k.payment_id as id from idempotency_keys k
                 where k.operation || '' = 'create_payment'
                   and k.merchant_id = m.id and k.customer_id >= $2 and (k.customer_id, k.payment_id) < ($2, $3)
                   and ($4::text is null or (select status from payments p where p.id = k.payment_id) = $4)
                 order by k.customer_id desc, k.payment_id desc
                 limit $5) found
          where $1::uuid is null or m.id = $1
          order by found.id desc
          limit $5",
        filter.merchant.map(MerchantId::uuid),
        customer,
        filter.below(),
        status.map(PaymentStatus::as_str),
        filter.limit
    )
    .fetch_all(pool)
    .await
}
