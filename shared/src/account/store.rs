//! Reads of accounts, transfers and entries. One function per query; nothing here writes.

use chrono::{DateTime, Utc};
use domain::ids::{AccountId, MerchantId, TransferId};
use sqlx::PgPool;
use uuid::Uuid;

use super::Transfer;
use crate::database::InTime as _;

/// An account, with its balance at some moment. Amounts are texts with the digits of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The id.
    pub id: Uuid,
    /// The three-letter code of its currency.
    pub currency: String,
    /// The merchant's own word for whose it is.
    pub owner: String,
    /// The number or name that another system knows it by.
    pub external_id: Option<String>,
    /// Whether it may owe.
    pub allow_negative: bool,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// The balance of the moment.
    pub balance: Balance,
}

/// What an account comes to. Amounts are texts with the digits of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// All that came less all that went.
    pub posted: String,
    /// What is reserved for it elsewhere.
    pub pending_in: String,
    /// What is reserved here for others.
    pub pending_out: String,
    /// What can be spent: posted less what is reserved for others.
    pub available: String,
    /// The number of its entries.
    pub version: i64,
    /// The time of the last of them.
    pub at: Option<DateTime<Utc>>,
}

/// A row with an account and its balance.
struct Row {
    id: Uuid,
    currency: String,
    owner: String,
    external_id: Option<String>,
    allow_negative: bool,
    created_at: DateTime<Utc>,
    posted: String,
    pending_in: String,
    pending_out: String,
    available: String,
    version: i64,
    at: Option<DateTime<Utc>>,
}

impl From<Row> for Account {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            currency: row.currency,
            owner: row.owner,
            external_id: row.external_id,
            allow_negative: row.allow_negative,
            created_at: row.created_at,
            balance: Balance {
                posted: row.posted,
                pending_in: row.pending_in,
                pending_out: row.pending_out,
                available: row.available,
                version: row.version,
                at: row.at,
            },
        }
    }
}

/// An account as it stands; none if the merchant has no such one.
///
/// # Errors
/// Returns the database's error.
pub async fn account(pool: &PgPool, merchant: MerchantId, id: AccountId) -> sqlx::Result<Option<Account>> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, currency, owner, external_id, allow_negative, created_at, version, last_at as at,
                  (credits_posted - debits_posted)::text as "posted!", credits_pending::text as "pending_in!",
                  debits_pending::text as "pending_out!",
                  (credits_posted - debits_posted - debits_pending)::text as "available!"
             from accounts where id = $1 and merchant_id = $2"#,
        id.uuid(),
        merchant.uuid()
    );
    Ok(row.fetch_optional(pool).in_time().await?.map(Account::from))
}

/// How an account stood at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// It stood so.
    Known(Balance),
    /// It was not opened yet.
    Unborn,
    /// By the database's clock that time has not come.
    Future,
}

/// How an account stood at `at`. What is answered once stays true: no entry of that time comes later.
///
/// # Errors
/// Another session has the account locked; or the database's own error.
pub async fn balance_at(
    pool: &PgPool,
    merchant: MerchantId,
    id: AccountId,
    at: DateTime<Utc>,
) -> sqlx::Result<Option<Past>> {
    let row = sqlx::query!(
        r#"select verdict as "verdict!", version, (credits_posted - debits_posted)::text as posted,
                  credits_pending::text as pending_in, debits_pending::text as pending_out,
                  (credits_posted - debits_posted - debits_pending)::text as available, at
             from balance_at($1, $2, $3)"#,
        merchant.uuid(),
        id.uuid(),
        at
    );
    let Some(row) = row.fetch_optional(pool).in_time().await? else { return Ok(None) };
    let balance = || {
        Some(Balance {
            posted: row.posted?,
            pending_in: row.pending_in?,
            pending_out: row.pending_out?,
            available: row.available?,
            version: row.version?,
            at: row.at,
        })
    };
    match row.verdict.as_str() {
        "unborn" => Ok(Some(Past::Unborn)),
        "future" => Ok(Some(Past::Future)),
        _ => balance().map(|it| Some(Past::Known(it))).ok_or(sqlx::Error::RowNotFound),
    }
}

/// The accounts to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this owner's accounts.
    pub owner: Option<String>,
    /// Only accounts of this currency.
    pub currency: Option<String>,
    /// Only the account that another system knows by this.
    pub external_id: Option<String>,
    /// Only accounts that come after this one in the list, so older ones.
    pub starting_after: Option<AccountId>,
    /// The largest number of accounts.
    pub limit: i64,
}

/// The merchant's accounts, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, merchant: MerchantId, filter: &Filter) -> sqlx::Result<Vec<Account>> {
    // Each branch has an index that gives its accounts in this order.
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", currency as "currency!", owner as "owner!", external_id, allow_negative as "allow_negative!",
                  created_at as "created_at!", version as "version!", last_at as at,
                  (credits_posted - debits_posted)::text as "posted!", credits_pending::text as "pending_in!",
                  debits_pending::text as "pending_out!",
                  (credits_posted - debits_posted - debits_pending)::text as "available!"
             from ((select * from accounts
                     where $2::text is null and $6::text is null and merchant_id = $1 and id < $4 and ($3::text is null or currency = $3)
                     order by merchant_id desc, id desc limit $5)
                    union all
                   (select * from accounts
                     where owner = $2 and $6::text is null and merchant_id = $1 and id < $4 and ($3::text is null or currency = $3)
                     order by merchant_id desc, owner desc, id desc limit $5)
                    union all
                   (select * from accounts
                     where external_id = $6 and merchant_id = $1 and id < $4 and ($3::text is null or currency = $3)
                       and ($2::text is null or owner = $2))) as page
            order by id desc"#,
        merchant.uuid(),
        filter.owner,
        filter.currency,
        filter.starting_after.map_or(Uuid::max(), AccountId::uuid),
        filter.limit,
        filter.external_id
    );
    Ok(rows.fetch_all(pool).in_time().await?.into_iter().map(Account::from).collect())
}

/// A transfer as it stands; none if the merchant has no such one.
///
/// # Errors
/// Returns the database's error.
pub async fn transfer(pool: &PgPool, merchant: MerchantId, id: TransferId) -> sqlx::Result<Option<Transfer>> {
    let row = sqlx::query_as!(
        Transfer,
        "select id, debited, credited, amount, currency, expires_at, group_id, created_at, status, posted_amount, ended_at
           from transfers where id = $1 and merchant_id = $2",
        id.uuid(),
        merchant.uuid()
    );
    row.fetch_optional(pool).in_time().await
}

/// One change of an account, and its balance after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table `account_entries`, which explains them")]
pub struct Entry {
    pub version: i64,
    pub transfer_id: Uuid,
    pub code: String,
    pub side: String,
    /// How much was posted, reserved or given back.
    pub amount: String,
    pub posted: String,
    pub pending_in: String,
    pub pending_out: String,
    pub available: String,
    pub at: DateTime<Utc>,
}

/// An account's entries after that version, oldest first. Whether it is the merchant's is for the caller to
/// know.
///
/// # Errors
/// Returns the database's error.
pub async fn entries(pool: &PgPool, id: AccountId, after: i64, limit: i64) -> sqlx::Result<Vec<Entry>> {
    let rows = sqlx::query_as!(
        Entry,
        r#"select version, transfer_id, code, side, (case when posted > 0 then posted else abs(pending) end)::text as "amount!",
                  (credits_posted - debits_posted)::text as "posted!", credits_pending::text as "pending_in!",
                  debits_pending::text as "pending_out!",
                  (credits_posted - debits_posted - debits_pending)::text as "available!", at
             from account_entries
            where account_id = $1 and version > $2
            order by account_id, version
            limit $3"#,
        id.uuid(),
        after,
        limit
    );
    rows.fetch_all(pool).in_time().await
}
