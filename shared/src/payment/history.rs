//! Folds a payment's events back into its row: the history is the source of truth, the row its projection.
//!
//! Invariant: events are numbered 1..n without gaps, only legal transitions follow each other, and the fold
//! gives the row in every column. Of instants [`Row::differences`] compares only whether they are there.

use chrono::{DateTime, Utc};
use domain::decide::Reason;
use domain::ids::{GatewayName, PaymentId};
use domain::status::{EventType, IllegalTransition, PaymentStatus};
use domain::words::UnknownWord;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Event;

/// Everything that the table says of a payment.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
#[expect(missing_docs, reason = "the columns of the table `payments`, which explains them")]
pub struct Row {
    pub merchant_id: Uuid,
    pub customer_id: String,
    pub amount: String,
    pub currency: String,
    pub payment_method: String,
    pub description: Option<String>,
    pub metadata: Value,
    pub correlation_id: String,
    pub created_at: DateTime<Utc>,
    pub gateway: String,
    pub gateway_key: Option<String>,
    pub from_balance: bool,
    pub accepted_as: Option<Value>,
    pub approved_at: Option<DateTime<Utc>>,
    pub status: String,
    pub due_at: Option<DateTime<Utc>>,
    pub claim_token: Option<Uuid>,
    pub look_first: bool,
    pub in_doubt: bool,
    pub doubt_since: Option<DateTime<Utc>>,
    pub void_started_at: Option<DateTime<Utc>>,
    pub held_reason: Option<String>,
    pub takeover_count: i32,
    pub attempt_count: i32,
    pub retries_spent: i32,
    pub delay_count: i32,
    pub verify_count: i32,
    pub not_found_count: i32,
    pub first_sent_at: Option<DateTime<Utc>>,
    pub left_nothing_at: Option<DateTime<Utc>>,
    pub send_by: Option<DateTime<Utc>>,
    pub gateway_transaction_id: Option<String>,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub failure_retryable: Option<bool>,
    pub version: i32,
    pub updated_at: DateTime<Utc>,
    pub terminal_at: Option<DateTime<Utc>>,
}

/// Why a history cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// There are no events at all.
    #[error("no events")]
    Empty,
    /// An event is missing, or there twice.
    #[error("event {found} where {expected} was to come")]
    Gap {
        /// The version that was to come.
        expected: i32,
        /// The version that came.
        found: i32,
    },
    /// A word is none of its kind.
    #[error(transparent)]
    Word(#[from] UnknownWord),
    /// An event cannot follow the one before.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// An event does not carry what it must.
    #[error("event {version} lacks {field}")]
    Lacks {
        /// The version of the event.
        version: i32,
        /// The name of the field.
        field: &'static str,
    },
}

/// The row that these events make, oldest first.
///
/// # Errors
/// There is a gap, an illegal transition, or an event that does not carry what it must.
pub fn fold(events: &[Event]) -> Result<Row, HistoryError> {
    let folded = events.iter().try_fold(None, |row, event| next(row, event).map(Some))?;
    folded.ok_or(HistoryError::Empty)
}

/// The row after one more event; `row` is none before the first one.
///
/// # Errors
/// See [`fold`].
pub fn next(row: Option<Row>, event: &Event) -> Result<Row, HistoryError> {
    let Some(mut row) = row else { return created(event) };
    apply(&mut row, event)?;
    Ok(row)
}

/// The row that the first event makes.
fn created(event: &Event) -> Result<Row, HistoryError> {
    let lacks = |field| move || HistoryError::Lacks { version: event.version, field };
    let status = PaymentStatus::after(None, event.event_type.parse()?)?;
    if event.version != 1 {
        return Err(HistoryError::Gap { expected: 1, found: event.version });
    }
    let text =
        |field: &'static str| event.evidence[field].as_str().map(str::to_owned).ok_or_else(lacks(field));
    Ok(Row {
        merchant_id: text("merchant_id")?.parse().map_err(|_| lacks("merchant_id")())?,
        customer_id: text("customer_id")?,
        amount: text("amount")?,
        currency: text("currency")?,
        payment_method: text("payment_method")?,
        description: event.evidence["description"].as_str().map(str::to_owned),
        metadata: event.evidence["metadata"].clone(),
        correlation_id: event.correlation_id.clone(),
        created_at: event.at,
        // Not named where it is the one of every merchant for which none was named.
        gateway: event.evidence["gateway"].as_str().unwrap_or(GatewayName::default().as_str()).to_owned(),
        // A payment that was accepted before derived keys existed has none here. Its id is its key.
        gateway_key: event.evidence["gateway_key"].as_str().map(str::to_owned),
        look_first: event.evidence["look_first"] == true,
        from_balance: event.evidence["from_balance"] == true,
        accepted_as: event.evidence.get("accepted_as").filter(|it| !it.is_null()).cloned(),
        approved_at: None,
        status: status.as_str().to_owned(),
        due_at: event.due_at,
        claim_token: None,
        in_doubt: false,
        doubt_since: None,
        void_started_at: None,
        held_reason: None,
        takeover_count: 0,
        attempt_count: 0,
        retries_spent: 0,
        delay_count: 0,
        verify_count: 0,
        not_found_count: 0,
        first_sent_at: None,
        left_nothing_at: None,
        send_by: None,
        gateway_transaction_id: None,
        failure_code: None,
        failure_message: None,
        failure_retryable: None,
        version: 1,
        updated_at: event.at,
        terminal_at: None,
    })
}

/// Applies a later event to the row.
fn apply(row: &mut Row, event: &Event) -> Result<(), HistoryError> {
    if event.version != row.version + 1 {
        return Err(HistoryError::Gap { expected: row.version + 1, found: event.version });
    }
    let event_type: EventType = event.event_type.parse()?;
    let status = PaymentStatus::after(Some(row.status.parse()?), event_type)?;
    let is_claim = event_type.claims().is_some();
    let (stays_claimed, stays_held) = keeps(event_type);
    if is_claim {
        let takeovers = event.evidence["takeovers"].as_i64().and_then(|count| count.try_into().ok());
        row.takeover_count = takeovers.unwrap_or(0);
    }
    let ends_claim = !is_claim && !stays_claimed && event.claim_token.is_some();
    if ends_claim {
        row.left_nothing_at = left_nothing(row, event);
    }
    row.status = status.as_str().to_owned();
    row.version = event.version;
    row.updated_at = event.at;
    row.due_at = event.due_at;
    if !stays_claimed {
        row.claim_token = if is_claim { event.claim_token } else { None };
    }
    row.retries_spent += i32::from(event.spends);
    row.terminal_at = status.is_terminal().then_some(event.at);
    if !stays_held {
        row.held_reason = None;
    }
    change(row, event, event_type)
}

/// Whether a claim stays over this event, and whether a held payment stays held. What else happens to a held
/// payment was done by a person, and ends its being held.
const fn keeps(event: EventType) -> (bool, bool) {
    match event {
        EventType::Rescheduled => (true, false),
        EventType::Restored => (false, true),
        EventType::Created
        | EventType::AttemptStarted
        | EventType::TakenOver
        | EventType::Verifying
        | EventType::OutcomeUnknown
        | EventType::RetryScheduled
        | EventType::Succeeded
        | EventType::Failed
        | EventType::VoidStarted
        | EventType::Reversed
        | EventType::Held
        | EventType::Released
        | EventType::Doubted
        | EventType::ReviewStarted
        | EventType::Approved => (false, false),
    }
}

/// Applies what is particular to the event's type.
fn change(row: &mut Row, event: &Event, event_type: EventType) -> Result<(), HistoryError> {
    let lacks = |field| HistoryError::Lacks { version: event.version, field };
    match event_type {
        EventType::AttemptStarted => {
            row.attempt_count += 1;
            row.verify_count = 0;
            row.not_found_count = 0;
            row.first_sent_at.get_or_insert(event.at);
            let send_by = event.evidence["send_by"].as_str().and_then(|text| text.parse().ok());
            row.send_by = Some(send_by.ok_or_else(|| lacks("send_by"))?);
        }
        EventType::TakenOver | EventType::Verifying => row.doubt(event.at),
        EventType::OutcomeUnknown => {
            row.doubt(event.at);
            row.verify_count += 1;
            row.not_found_count += i32::from(event.reason.as_deref() == Some(Reason::NotFound.as_str()));
            row.look_first &= event.reason.as_deref() != Some(Reason::RestoredSeen.as_str());
        }
        EventType::VoidStarted => {
            row.void_started_at.get_or_insert(event.at);
        }
        EventType::Held => row.held_reason.clone_from(&event.reason),
        // An account paid it.
        EventType::Succeeded if row.from_balance => {}
        EventType::Succeeded => {
            let charge = event.evidence["charge_id"].as_str().ok_or_else(|| lacks("charge_id"))?;
            row.gateway_transaction_id = Some(charge.to_owned());
        }
        EventType::Failed => {
            let failure = &event.evidence["failure"];
            row.failure_code = failure["code"].as_str().map(str::to_owned);
            row.failure_message = failure["message"].as_str().map(str::to_owned);
            row.failure_retryable = failure["retryable"].as_bool();
        }
        EventType::RetryScheduled => row.delay_count = if event.spends { 0 } else { row.delay_count + 1 },
        EventType::Rescheduled => {
            // A time that had not come by then was wrong.
            row.first_sent_at = row.first_sent_at.map(|at| at.min(event.at));
            row.doubt_since = row.doubt_since.map(|at| at.min(event.at));
            row.send_by = event.evidence["send_by"].as_str().and_then(|text| text.parse().ok());
        }
        EventType::Restored => {
            let instant =
                |field: &'static str| event.evidence[field].as_str().and_then(|text| text.parse().ok());
            row.look_first = true;
            (row.in_doubt, row.doubt_since) = (true, Some(event.at));
            row.first_sent_at = Some(instant("first_sent_at").ok_or_else(|| lacks("first_sent_at"))?);
            row.send_by = Some(instant("send_by").ok_or_else(|| lacks("send_by"))?);
            (row.takeover_count, row.verify_count, row.not_found_count) = (0, 0, 0);
            row.left_nothing_at = None;
        }
        EventType::Doubted => {
            row.doubt(event.at);
            row.left_nothing_at = None;
        }
        // A payment of an open orphan's key is looked at first for ever.
        EventType::Released => row.look_first &= event.evidence["look_first"] == true,
        EventType::Reversed if event.reason.as_deref() == Some(Reason::KeyClosed.as_str()) => {
            row.doubt(event.at);
            row.void_started_at.get_or_insert(event.at);
        }
        EventType::Approved => row.approved_at = Some(event.at),
        EventType::Created | EventType::Reversed | EventType::ReviewStarted => {}
    }
    Ok(())
}

/// When the first attempt began, if nothing has left since, up to this end of a claim.
fn left_nothing(before: &Row, event: &Event) -> Option<DateTime<Utc>> {
    let is_first = before.first_sent_at == Some(before.updated_at);
    let had_left_nothing = before.left_nothing_at.is_some() && before.left_nothing_at == before.first_sent_at;
    let left_nothing = event.evidence[domain::outcome::LEFT] == false;
    before.first_sent_at.filter(|_| left_nothing && !before.in_doubt && (is_first || had_left_nothing))
}

impl Row {
    /// The columns in which this row differs from another. Of two instants only their presence counts: they
    /// say how long the workers wait, and no money hangs on them.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let columns = |row| match serde_json::to_value(row) {
            Ok(Value::Object(columns)) => columns,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        let theirs = columns(other);
        let differs = |name: &str, value: &Value| {
            let their = theirs.get(name).unwrap_or(&Value::Null);
            let is_instant = name.ends_with("_at") || matches!(name, "doubt_since" | "send_by");
            if is_instant { value.is_null() != their.is_null() } else { value != their }
        };
        columns(self).into_iter().filter(|(name, value)| differs(name, value)).map(|(name, _)| name).collect()
    }

    fn doubt(&mut self, since: DateTime<Utc>) {
        self.in_doubt = true;
        self.doubt_since.get_or_insert(since);
    }
}

/// The row as the table has it, to compare with.
///
/// # Errors
/// There is no such payment, or the database's own error.
pub async fn row(pool: &PgPool, id: PaymentId) -> sqlx::Result<Row> {
    let rows = rows(&mut *pool.acquire().await?, &[id.uuid()]).await?;
    rows.into_iter().next().map(|(_, row)| row).ok_or(sqlx::Error::RowNotFound)
}

/// The rows of these payments as the table has them.
///
/// # Errors
/// Returns the database's error.
pub async fn rows(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Row)>> {
    #[derive(sqlx::FromRow)]
    struct Identified {
        id: Uuid,
        #[sqlx(flatten)]
        row: Row,
    }
    let rows: Vec<Identified> = sqlx::query_as(
        "select id, merchant_id, customer_id, amount::text as amount, currency, payment_method, description, metadata,
                correlation_id, created_at, gateway, gateway_key, from_balance, accepted_as, approved_at, status, due_at, claim_token,
                look_first, in_doubt, doubt_since,
                void_started_at, held_reason,
                takeover_count, attempt_count, retries_spent, delay_count, verify_count, not_found_count, first_sent_at,
                left_nothing_at, send_by, gateway_transaction_id, failure_code, failure_message, failure_retryable, version,
                updated_at, terminal_at
           from payments where id = any($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|Identified { id, row }| (id, row)).collect())
}

#[cfg(test)]
mod tests;
