//! Accounts of all merchants' customers, and the transfers between them.

use chrono::{DateTime, Utc};
use domain::ids::{AccountId, MerchantId, TransferId};
use sqlx::PgPool;
use uuid::Uuid;

/// The accounts to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter {
    /// Only this merchant's accounts.
    pub merchant: Option<MerchantId>,
    /// Only accounts of this owner, who may be another person at each merchant.
    pub owner: Option<String>,
    /// Only accounts with a lower id, so older ones.
    pub before: Option<AccountId>,
    /// The largest number of accounts.
    pub limit: i64,
}

/// An account. Amounts are texts with the digits of its currency.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the columns of the table `accounts`, which explains them, and their differences"
)]
pub struct AccountRow {
    pub id: Uuid,
    pub merchant_id: Uuid,
    pub merchant_name: String,
    pub owner: String,
    pub external_id: Option<String>,
    pub currency: String,
    pub allow_negative: bool,
    pub posted: String,
    pub pending_in: String,
    pub pending_out: String,
    pub available: String,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub last_at: Option<DateTime<Utc>>,
}

/// The accounts that `filter` describes, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn accounts(pool: &PgPool, filter: &AccountFilter) -> sqlx::Result<Vec<AccountRow>> {
    let ids = account_ids(pool, filter).await?;
    find(pool, &ids).await
}

/// The account with that id; none if there is no such one.
///
/// # Errors
/// Returns the database's error.
pub async fn account(pool: &PgPool, id: AccountId) -> sqlx::Result<Option<AccountRow>> {
    Ok(find(pool, &[id.uuid()]).await?.pop())
}

/// Where an owner is asked for, the newest of one page of each merchant, by the index that merchants' own
/// lists read.
async fn account_ids(pool: &PgPool, filter: &AccountFilter) -> sqlx::Result<Vec<Uuid>> {
    let merchant = filter.merchant.map(MerchantId::uuid);
    let below = filter.before.map_or(Uuid::max(), AccountId::uuid);
    match (&filter.owner, merchant) {
        (Some(owner), _) => {
            sqlx::query_scalar!(
                "select found.id
                   from merchants m
                  cross join lateral (
                        select a.id from accounts a
                         where a.merchant_id = m.id and a.owner = $2 and a.id < $3
                         order by a.merchant_id desc, a.owner desc, a.id desc
                         limit $4) found
                  where $1::uuid is null or m.id = $1
                  order by found.id desc
                  limit $4",
                merchant,
                owner,
                below,
                filter.limit
            )
            .fetch_all(pool)
            .await
        }
        (None, Some(merchant)) => {
            sqlx::query_scalar!(
                "select id from accounts where merchant_id = $1 and id < $2 order by merchant_id desc, id desc limit $3",
                merchant,
                below,
                filter.limit
            )
            .fetch_all(pool)
            .await
        }
        (None, None) => {
            sqlx::query_scalar!(
                "select id from accounts where id < $1 order by id desc limit $2",
                below,
                filter.limit
            )
            .fetch_all(pool)
            .await
        }
    }
}

async fn find(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<AccountRow>> {
    sqlx::query_as!(
        AccountRow,
        r#"select a.id, a.merchant_id, m.name as merchant_name, a.owner, a.external_id, a.currency, a.allow_negative,
                  (a.credits_posted - a.debits_posted)::text as "posted!", a.credits_pending::text as "pending_in!",
                  a.debits_pending::text as "pending_out!",
                  (a.credits_posted - a.debits_posted - a.debits_pending)::text as "available!",
                  a.version, a.created_at, a.last_at
             from accounts a join merchants m on m.id = a.merchant_id
            where a.id = any($1)
            order by a.id desc"#,
        ids
    )
    .fetch_all(pool)
    .await
}

/// One change of an account, and what it came to by it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `account_entries`, which explains them")]
pub struct AccountEntry {
    pub version: i64,
    pub transfer_id: Uuid,
    pub code: String,
    pub side: String,
    pub posted: String,
    pub pending: String,
    /// What could be spent after it.
    pub available: String,
    pub at: DateTime<Utc>,
}

/// An account's entries before that version, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn account_entries(
    pool: &PgPool,
    id: AccountId,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<AccountEntry>> {
    sqlx::query_as!(
        AccountEntry,
        r#"select version, transfer_id, code, side, posted::text as "posted!", pending::text as "pending!",
                  (credits_posted - debits_posted - debits_pending)::text as "available!", at
             from account_entries
            where account_id = $1 and version < $2
            order by account_id desc, version desc
            limit $3"#,
        id.uuid(),
        before.unwrap_or(i64::MAX),
        limit
    )
    .fetch_all(pool)
    .await
}

/// A transfer between accounts.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `transfers`, which explains them")]
pub struct TransferRow {
    pub id: Uuid,
    pub merchant_id: Uuid,
    pub merchant_name: String,
    pub debited: Uuid,
    pub credited: Uuid,
    pub amount: String,
    pub currency: String,
    pub status: String,
    pub posted_amount: Option<String>,
    pub group_id: Option<Uuid>,
    pub expires_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// The transfers to list.
#[derive(Debug, Clone, Copy)]
pub enum TransferFilter {
    /// All of them, newest first: those with a lower id.
    Before(Option<TransferId>),
    /// The holds that are open, in the order in which they end: those after that one.
    Pending(Option<(DateTime<Utc>, TransferId)>),
    /// What an account reserves for others, in the order in which it ends.
    ReservedBy(AccountId),
    /// Those that were asked for together, in that order.
    OfGroup(Uuid),
    /// This one.
    Of(TransferId),
}

/// The transfers that `filter` describes.
///
/// # Errors
/// Returns the database's error.
pub async fn transfers(pool: &PgPool, filter: TransferFilter, limit: i64) -> sqlx::Result<Vec<TransferRow>> {
    let ids = transfer_ids(pool, filter, limit).await?;
    sqlx::query_as!(
        TransferRow,
        r#"select t.id, t.merchant_id, m.name as merchant_name, t.debited, t.credited, t.amount::text as "amount!",
                  t.currency, t.status, t.posted_amount::text, t.group_id, t.expires_at, t.created_at, t.ended_at
             from unnest($1::uuid[]) with ordinality as found (id, n)
             join transfers t on t.id = found.id
             join merchants m on m.id = t.merchant_id
            order by found.n"#,
        &ids
    )
    .fetch_all(pool)
    .await
}

/// The ids in their order. Each condition is worded as its index words it.
async fn transfer_ids(pool: &PgPool, filter: TransferFilter, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    match filter {
        TransferFilter::Of(id) => Ok(vec![id.uuid()]),
        TransferFilter::Before(id) => {
            let below = id.map_or(Uuid::max(), TransferId::uuid);
            sqlx::query_scalar!(
                "select id from transfers where id < $1 order by id desc limit $2",
                below,
                limit
            )
            .fetch_all(pool)
            .await
        }
        TransferFilter::Pending(after) => {
            let after = after.unwrap_or((DateTime::UNIX_EPOCH, Uuid::nil().into()));
            sqlx::query_scalar!(
                "select id from transfers
                  where (status || '') = 'pending' and (expires_at, id) > ($1, $2)
                  order by expires_at, id limit $3",
                after.0,
                after.1.uuid(),
                limit
            )
            .fetch_all(pool)
            .await
        }
        TransferFilter::ReservedBy(account) => sqlx::query_scalar!(
            "select id from transfers where debited = $1 and status = 'pending' order by expires_at limit $2",
            account.uuid(),
            limit
        )
        .fetch_all(pool)
        .await,
        TransferFilter::OfGroup(group) => {
            sqlx::query_scalar!(
                "select id from transfers where group_id = $1 order by group_id, position limit $2",
                group,
                limit
            )
            .fetch_all(pool)
            .await
        }
    }
}
