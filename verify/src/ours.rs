//! Our books, read with plain queries of this reader's own.
//!
//! Invariant: only `select`. Each page is one snapshot, so that its parts belong together, and no snapshot is
//! held for more than five seconds. This program gives a page up after [`SNAPSHOT`]. From then on the server
//! waits at most [`IN_SNAPSHOT`] for its statement, or for this program, which may be frozen.

use std::time::Duration;

use anyhow::{Error, Result, bail};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::timeout;
use uuid::Uuid;

pub(super) const STATEMENT: &str = "5s";
const SNAPSHOT: Duration = Duration::from_millis(3_500);
pub(super) const IN_SNAPSHOT: &str = "1500ms";
const PAGE: i64 = 2_000;
const PAGE_MIN: i64 = 50;
/// How often the smallest page is tried.
const TRIES: u32 = 5;

/// A row of `payments`. [`super::fold`] compares it with its events.
#[derive(Debug)]
pub(super) struct PaymentRow {
    pub(super) id: Uuid,
    pub(super) merchant_id: Uuid,
    pub(super) customer_id: String,
    pub(super) amount: String,
    pub(super) currency: String,
    pub(super) payment_method: String,
    pub(super) description: Option<String>,
    pub(super) metadata: Value,
    pub(super) correlation_id: String,
    pub(super) created_at: DateTime<Utc>,
    /// Where it is charged.
    pub(super) gateway: String,
    /// Its key at the gateway. None means its id.
    pub(super) gateway_key: Option<String>,
    /// Whether an account paid it, and no gateway was asked.
    pub(super) from_balance: bool,
    pub(super) accepted_as: Option<Value>,
    pub(super) approved_at: Option<DateTime<Utc>>,
    pub(super) status: String,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) claim_token: Option<Uuid>,
    pub(super) look_first: bool,
    pub(super) in_doubt: bool,
    pub(super) doubt_since: Option<DateTime<Utc>>,
    pub(super) void_started_at: Option<DateTime<Utc>>,
    pub(super) held_reason: Option<String>,
    pub(super) takeover_count: i32,
    pub(super) attempt_count: i32,
    pub(super) retries_spent: i32,
    pub(super) delay_count: i32,
    pub(super) verify_count: i32,
    pub(super) not_found_count: i32,
    pub(super) first_sent_at: Option<DateTime<Utc>>,
    pub(super) left_nothing_at: Option<DateTime<Utc>>,
    pub(super) send_by: Option<DateTime<Utc>>,
    pub(super) gateway_transaction_id: Option<String>,
    pub(super) failure_code: Option<String>,
    pub(super) failure_message: Option<String>,
    pub(super) failure_retryable: Option<bool>,
    pub(super) version: i32,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) terminal_at: Option<DateTime<Utc>>,
    /// How long it has been due, in seconds by the database's clock. None where it is not due at all.
    pub(super) overdue_s: Option<f64>,
    /// Whether a break about it asks a person.
    pub(super) has_open_break: bool,
}

/// A row of `payment_events`.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) payment_id: Uuid,
    pub(super) version: i32,
    pub(super) event: String,
    pub(super) from_status: Option<String>,
    pub(super) to_status: String,
    pub(super) reason: Option<String>,
    pub(super) evidence: Value,
    pub(super) claim_token: Option<Uuid>,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) spends: bool,
    pub(super) correlation_id: String,
    pub(super) at: DateTime<Utc>,
}

/// A row of `ledger_transfers`, with the accounts that it names. An account that is missing has no kind.
#[derive(Debug)]
pub(super) struct TransferRow {
    pub(super) payment_id: Uuid,
    pub(super) code: String,
    pub(super) amount: String,
    pub(super) currency: String,
    pub(super) debit_kind: Option<String>,
    pub(super) debit_currency: Option<String>,
    pub(super) debit_merchant: Option<Uuid>,
    /// Of an account of the house, the gateway that it is for.
    pub(super) debit_gateway: Option<String>,
    pub(super) credit_kind: Option<String>,
    pub(super) credit_currency: Option<String>,
    pub(super) credit_merchant: Option<Uuid>,
    pub(super) credit_gateway: Option<String>,
}

/// A row of `corrections` that was posted.
#[derive(Debug, Clone)]
pub(super) struct CorrectionRow {
    pub(super) payment_id: Uuid,
    pub(super) id: i64,
    /// The amount that stands at the gateway after all.
    pub(super) amount: String,
    pub(super) charge_id: Option<String>,
    /// The amount that was added to the ledger; negative where it was taken back.
    pub(super) delta: String,
    /// Whether another person than its proposer approved it.
    pub(super) was_approved: bool,
}

/// Some payments in the order of their ids, and all that belongs to the ids from the first to the last.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) payments: Vec<PaymentRow>,
    /// In the order of payment and version.
    pub(super) events: Vec<EventRow>,
    /// In the order of their payments.
    pub(super) transfers: Vec<TransferRow>,
    /// Those that were posted, in the order of payment and number.
    pub(super) corrections: Vec<CorrectionRow>,
    /// The payments of this page that a person ended without proof.
    pub(super) unproven: Vec<Uuid>,
    is_last: bool,
}

const TOO_SLOW: &str = "a small read takes too long: try again when database and machine have less to do";

/// An error of the database, with what to do about it.
pub(super) fn advice(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned);
    let advice = match code.as_deref() {
        Some("3F000" | "42P01" | "42703") => {
            "this is no database of Payonce, or one behind this program: run `payonce migrate`"
        }
        Some("57014" | "25P03") => TOO_SLOW,
        _ => "cannot read the database",
    };
    Error::new(error).context(advice)
}

/// Whether the database gave up, because a statement or this program took too long.
fn took_too_long(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("57014" | "25P03"))
}

/// The payments after an id, page by page.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    pool: &'a PgPool,
    after: Uuid,
    size: i64,
    is_over: bool,
}

impl<'a> Pages<'a> {
    /// All payments, from the first one on.
    pub(super) const fn new(pool: &'a PgPool) -> Self {
        Self { pool, after: Uuid::nil(), size: PAGE, is_over: false }
    }

    /// The next page, or none after the last. The last one has also what belongs to later ids, which no
    /// payment has. A page that is too much for the database is tried again at half the size.
    pub(super) async fn next(&mut self) -> Result<Option<Page>> {
        if self.is_over {
            return Ok(None);
        }
        let page = self.page().await?;
        match page.payments.last() {
            Some(last) if !page.is_last => self.after = last.id,
            _ => self.is_over = true,
        }
        self.size = (self.size * 2).min(PAGE);
        Ok(Some(page))
    }

    async fn page(&mut self) -> Result<Page> {
        let mut tries = 0;
        loop {
            match timeout(SNAPSHOT, read(self.pool, self.after, self.size)).await {
                Ok(Ok(page)) => return Ok(page),
                Ok(Err(error)) if !took_too_long(&error) => return Err(advice(error)),
                Ok(Err(error)) if tries == TRIES => return Err(advice(error)),
                Err(_) if tries == TRIES => bail!("{TOO_SLOW}"),
                Ok(Err(_)) | Err(_) => {
                    tries += u32::from(self.size == PAGE_MIN);
                    self.size = (self.size / 2).max(PAGE_MIN);
                }
            }
        }
    }
}

async fn read(pool: &PgPool, after: Uuid, size: i64) -> sqlx::Result<Page> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read read only").await?;
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(IN_SNAPSHOT)
        .execute(&mut *snapshot)
        .await?;
    let payments = payments(&mut snapshot, after, size).await?;
    let is_last = i64::try_from(payments.len()).is_ok_and(|read| read < size);
    let until = payments.last().filter(|_| !is_last).map_or(Uuid::max(), |last| last.id);
    let events = events(&mut snapshot, after, until).await?;
    let transfers = transfers(&mut snapshot, after, until).await?;
    let corrections = corrections(&mut snapshot, after, until).await?;
    let unproven = unproven(&mut snapshot, after, until).await?;
    snapshot.commit().await?;
    Ok(Page { payments, events, transfers, corrections, unproven, is_last })
}

type Snapshot = Transaction<'static, Postgres>;

async fn payments(snapshot: &mut Snapshot, after: Uuid, size: i64) -> sqlx::Result<Vec<PaymentRow>> {
    sqlx::query_as!(
        PaymentRow,
        r#"select id, merchant_id, customer_id, amount::text as "amount!", currency, payment_method, description, metadata,
                  correlation_id, created_at, gateway, gateway_key, from_balance, accepted_as, approved_at, status, due_at, claim_token,
                  look_first, in_doubt, doubt_since, void_started_at,
                  held_reason, takeover_count, attempt_count, retries_spent, delay_count, verify_count, not_found_count, first_sent_at, left_nothing_at, send_by,
                  gateway_transaction_id, failure_code, failure_message, failure_retryable, version, updated_at, terminal_at,
                  extract(epoch from clock_timestamp() - due_at)::float8 as overdue_s,
                  case when held_reason is null then false
                       else exists (select from breaks b where b.payment_id = p.id and b.closed_at is null)
                  end as "has_open_break!"
             from payments p
            where id > $1
            order by id
            limit $2"#,
        after,
        size
    )
    .fetch_all(&mut **snapshot)
    .await
}

async fn events(snapshot: &mut Snapshot, after: Uuid, until: Uuid) -> sqlx::Result<Vec<EventRow>> {
    sqlx::query_as!(
        EventRow,
        "select payment_id, version, type as event, from_status, to_status, reason, evidence, claim_token, due_at, spends,
                correlation_id, at
           from payment_events
          where payment_id > $1 and payment_id <= $2
          order by payment_id, version",
        after,
        until
    )
    .fetch_all(&mut **snapshot)
    .await
}

async fn transfers(snapshot: &mut Snapshot, after: Uuid, until: Uuid) -> sqlx::Result<Vec<TransferRow>> {
    sqlx::query_as!(
        TransferRow,
        r#"select t.payment_id, t.code, t.amount::text as "amount!", t.currency,
                  debit.kind as "debit_kind?", debit.currency as "debit_currency?", debit.merchant_id as debit_merchant,
                  case when debit.merchant_id is null then debit.gateway end as debit_gateway,
                  credit.kind as "credit_kind?", credit.currency as "credit_currency?",
                  credit.merchant_id as credit_merchant,
                  case when credit.merchant_id is null then credit.gateway end as credit_gateway
             from ledger_transfers t
             left join ledger_accounts debit on debit.id = t.debit_account_id
             left join ledger_accounts credit on credit.id = t.credit_account_id
            where t.payment_id > $1 and t.payment_id <= $2
            order by t.payment_id, t.code"#,
        after,
        until
    )
    .fetch_all(&mut **snapshot)
    .await
}

async fn corrections(snapshot: &mut Snapshot, after: Uuid, until: Uuid) -> sqlx::Result<Vec<CorrectionRow>> {
    sqlx::query_as!(
        CorrectionRow,
        r#"select payment_id, id, amount::text as "amount!", charge_id, delta::text as "delta!",
                  approved_with is not null and approved_with <> proposed_with and approved_key <> proposed_key
                      as "was_approved!"
             from corrections
            where payment_id > $1 and payment_id <= $2 and outcome = 'posted'
            order by payment_id, id"#,
        after,
        until
    )
    .fetch_all(&mut **snapshot)
    .await
}

async fn unproven(snapshot: &mut Snapshot, after: Uuid, until: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select payment_id from decisions
          where payment_id > $1 and payment_id <= $2 and is_unproven and outcome = 'done'",
        after,
        until
    )
    .fetch_all(&mut **snapshot)
    .await
}

/// A payment as it stands at the second look.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) id: Uuid,
    pub(super) merchant_id: Uuid,
    pub(super) customer_id: String,
    pub(super) amount: String,
    pub(super) currency: String,
    pub(super) payment_method: String,
    pub(super) status: String,
    pub(super) is_held: bool,
    pub(super) gateway: String,
    pub(super) gateway_key: Option<String>,
    pub(super) from_balance: bool,
    pub(super) gateway_transaction_id: Option<String>,
    pub(super) version: i32,
    pub(super) overdue_s: Option<f64>,
    /// For how many seconds a worker has been asked to have its charge voided. None where no worker is asked.
    pub(super) voiding_s: Option<f64>,
    /// What stands at the gateway by its last correction. Below, by which charge.
    pub(super) corrected_amount: Option<String>,
    pub(super) corrected_charge: Option<String>,
    /// Whether a person ended it without proof.
    pub(super) is_unproven: bool,
}

/// These payments as they stand now. Those that do not exist are missing.
pub(super) async fn again(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Standing>> {
    let rows = sqlx::query_as!(
        Standing,
        r#"select id, merchant_id, customer_id, amount::text as "amount!", currency, payment_method, status,
                  held_reason is not null as "is_held!", gateway, gateway_key, from_balance, gateway_transaction_id, version,
                  extract(epoch from clock_timestamp() - due_at)::float8 as overdue_s,
                  (select extract(epoch from clock_timestamp() - opened_at)::float8 from breaks b
                    where b.payment_id = p.id and kind = 'charged_after_end' and closed_at is null
                      and void_ended_at is null
                      and not exists (select from decisions d where d.payment_id = p.id and d.is_unproven
                                                                and d.outcome = 'done')) as voiding_s,
                  (select c.amount::text from corrections c where c.payment_id = p.id and c.outcome = 'posted'
                    order by c.id desc limit 1) as corrected_amount,
                  (select c.charge_id from corrections c where c.payment_id = p.id and c.outcome = 'posted'
                    order by c.id desc limit 1) as corrected_charge,
                  exists (select from decisions d where d.payment_id = p.id and d.is_unproven and d.outcome = 'done')
                      as "is_unproven!"
             from payments p
            where id = any($1)"#,
        ids
    );
    rows.fetch_all(pool).await.map_err(advice)
}

/// How many payments, or contradictions without a payment, wait for a person.
pub(super) async fn waiting_for_a_person(pool: &PgPool) -> Result<u64> {
    let count = sqlx::query_scalar!(
        r#"select count(distinct payment_id) + count(*) filter (where payment_id is null)
                  + (select count(*) from corrections where ended_at is null and approved_at is null) as "count!"
             from breaks where closed_at is null"#
    );
    let count = count.fetch_one(pool).await.map_err(advice)?;
    Ok(u64::try_from(count).unwrap_or(0))
}
