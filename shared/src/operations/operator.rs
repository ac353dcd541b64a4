//! What operators read, over all merchants and newest first. Only `resolve` writes, by
//! [`crate::payment::transition`].
//!
//! Invariant: every query reads a bounded number of rows, or of each merchant's rows, by an index. It does so
//! at any size of the tables, so that looking at a system in trouble does not add to the trouble.

use chrono::{DateTime, Utc};
use domain::ids::{MerchantId, PaymentId};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::operations::breaks::Break;
use crate::payment::Event;
use crate::payment::history;
use crate::payment::refunds::{self, Shown};

pub use crate::payment::history::Row as PaymentRow;
use crate::queue;

mod accounts;
mod corrections;
mod decisions;
mod list;
mod overview;
mod resolve;

pub use accounts::{
    AccountEntry, AccountFilter, AccountRow, TransferFilter, TransferRow, account, account_entries, accounts,
    transfers,
};
pub use corrections::{Correction, correction, corrections};
pub use decisions::{Decision, await_decision, decisions};
pub use list::{Filter, Listed, State, list};
pub use overview::{Away, Capped, LATEST, Overview, overview};
pub use resolve::{Resolve, Resolved, resolve_break};

/// One payment with all that is known about it.
#[derive(Debug, Clone)]
pub struct Dossier {
    /// The id of the payment.
    pub id: PaymentId,
    /// The payment as it stands.
    pub row: PaymentRow,
    /// The unique name of the merchant whose payment it is.
    pub merchant_name: String,
    /// The history, oldest first. A very long one has only the last events before the asked-for version.
    pub events: Vec<Event>,
    /// Whether older events were left out.
    pub has_older_events: bool,
    /// The results that came after their claim was gone.
    pub late: Vec<Late>,
    /// The contradictions, the open ones first.
    pub breaks: Vec<Break>,
    /// The decisions of people about it, newest first.
    pub decisions: Vec<Decision>,
    /// The corrections of people about it, newest first.
    pub corrections: Vec<Correction>,
    /// What was given back, oldest first.
    pub refunds: Vec<Shown>,
    /// The movements of its money, each as two entries.
    pub entries: Vec<Entry>,
    /// The jobs that the queue still knows, newest first.
    pub jobs: Vec<Job>,
}

/// A result that changed nothing, because its claim was gone.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `late_evidence`, which explains them")]
pub struct Late {
    pub claim_token: Uuid,
    pub event_type: String,
    pub reason: Option<String>,
    pub evidence: Value,
    pub at: DateTime<Utc>,
}

/// One side of a movement of money.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the view `ledger_entries`, which explains them")]
pub struct Entry {
    pub side: String,
    pub account: String,
    pub amount: String,
    pub currency: String,
    pub code: String,
    pub created_at: DateTime<Utc>,
}

/// A look at the payment, as the queue has it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the queue's table")]
pub struct Job {
    pub id: String,
    pub status: String,
    pub run_at: DateTime<Utc>,
    pub done_at: Option<DateTime<Utc>>,
    pub lock_by: Option<String>,
    /// The version of the payment that asked for it.
    pub version: i32,
}

/// The largest number of events of one payment at a time.
const EVENTS_MAX: i64 = 200;
/// The largest number of rows of each other kind about one payment.
const ROWS_MAX: i64 = 100;

/// All about one payment; none if there is no such payment. `before` asks for the events before that version.
///
/// # Errors
/// Returns the database's error.
pub async fn dossier(pool: &PgPool, id: PaymentId, before: Option<i32>) -> sqlx::Result<Option<Dossier>> {
    let row = match history::row(pool, id).await {
        Err(sqlx::Error::RowNotFound) => return Ok(None),
        other => other?,
    };
    let merchant_name = sqlx::query_scalar!("select name from merchants where id = $1", row.merchant_id)
        .fetch_optional(pool)
        .await?;
    let mut events = events(pool, id, before.unwrap_or(i32::MAX)).await?;
    let has_older_events = events.len() > usize::try_from(EVENTS_MAX).unwrap_or(usize::MAX);
    if has_older_events {
        events.pop();
    }
    events.reverse();
    Ok(Some(Dossier {
        id,
        merchant_name: merchant_name.unwrap_or_default(),
        events,
        has_older_events,
        late: late(pool, id).await?,
        breaks: breaks_of(pool, id).await?,
        decisions: decisions(pool, id).await?,
        corrections: corrections(pool, Some(id), false, None, ROWS_MAX).await?,
        refunds: refunds::shown(pool, Some(id)).await?,
        entries: entries(pool, id).await?,
        jobs: jobs(pool, id, row.version).await?,
        row,
    }))
}

/// The events newest first, and one more than is shown.
async fn events(pool: &PgPool, id: PaymentId, before: i32) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        "select version, type as event_type, from_status, to_status, reason, evidence, claim_token, due_at, spends,
                correlation_id, at
           from payment_events
          where payment_id = $1 and version < $2
          order by payment_id desc, version desc
          limit $3",
        id.uuid(),
        before,
        EVENTS_MAX + 1
    )
    .fetch_all(pool)
    .await
}

async fn late(pool: &PgPool, id: PaymentId) -> sqlx::Result<Vec<Late>> {
    sqlx::query_as!(
        Late,
        "select claim_token, event_type, reason, evidence, at
           from late_evidence where payment_id = $1 order by at desc limit $2",
        id.uuid(),
        ROWS_MAX
    )
    .fetch_all(pool)
    .await
}

async fn breaks_of(pool: &PgPool, id: PaymentId) -> sqlx::Result<Vec<Break>> {
    sqlx::query_as!(
        Break,
        "select b.id, b.payment_id, b.subject, b.kind, b.detail, b.opened_at, b.closed_at, b.closed_by, b.closed_reason,
                p.held_reason is not null as \"is_held!\"
           from breaks b join payments p on p.id = b.payment_id
          where b.payment_id = $1
          order by b.closed_at desc nulls first, b.id desc
          limit $2",
        id.uuid(),
        ROWS_MAX
    )
    .fetch_all(pool)
    .await
}

async fn entries(pool: &PgPool, id: PaymentId) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        "select e.side as \"side!\", a.kind as account, e.amount::text as \"amount!\", e.currency as \"currency!\",
                e.code as \"code!\", e.created_at as \"created_at!\"
           from (select transfer_id, account_id, side, amount, currency, code, created_at
                   from ledger_entries where payment_id = $1
                  union all
                 select t.operation_id, s.account_id, s.side, t.amount, t.currency, t.code, t.created_at
                   from operations o
                   join operation_transfers t on t.operation_id = o.id
                  cross join lateral (values (t.debit_account_id, 'debit'), (t.credit_account_id, 'credit'))
                       as s (account_id, side)
                  where o.payment_id = $1) e
           join ledger_accounts a on a.id = e.account_id
          order by e.created_at, e.transfer_id, e.code, e.side desc
          limit $2",
        id.uuid(),
        ROWS_MAX
    )
    .fetch_all(pool)
    .await
}

/// The jobs by their keys, which name payment and version: the queue has no other way to a payment's jobs.
async fn jobs(pool: &PgPool, id: PaymentId, version: i32) -> sqlx::Result<Vec<Job>> {
    sqlx::query_as!(
        Job,
        "select j.id, j.status, j.run_at, j.done_at, j.lock_by, v.version as \"version!\"
           from generate_series($2::integer, greatest($2 - $3, 1), -1) as v (version)
           join apalis.jobs j on j.job_type = $4 and j.idempotency_key = $1::uuid || ':' || v.version
          order by v.version desc",
        id.uuid(),
        version,
        i32::try_from(ROWS_MAX).unwrap_or(i32::MAX),
        queue::PAYMENTS
    )
    .fetch_all(pool)
    .await
}

/// The merchant of that name or id; none if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn find_merchant(pool: &PgPool, name_or_id: &str) -> sqlx::Result<Option<MerchantId>> {
    let id = name_or_id.parse().map(MerchantId::uuid).ok();
    let found = sqlx::query_scalar!("select id from merchants where id = $1 or name = $2", id, name_or_id);
    Ok(found.fetch_optional(pool).await?.map(MerchantId::from))
}
