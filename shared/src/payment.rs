//! Payments: what a customer owes, once.
//!
//! This wing may use every wing but `operations`. Only the steps of `payonce restored`, in `operations`,
//! write payments beside it.
//!
//! Read in this order:
//! - [`domain::status`]: what may follow what;
//! - [`transition`]: the writer;
//! - [`store`] and [`list`]: reads alone;
//! - [`refunds`]: what was given back;
//! - [`history`]: events folded back into a row;
//! - [`replay`]: the events of all payments, folded;
//! - [`risk`] and [`reviews`]: the rules, and what waits for a person;
//! - [`shares`]: whose payments a worker's calls are for.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

pub mod history;
pub mod list;
pub mod refunds;
pub mod replay;
pub mod reviews;
pub mod risk;
pub mod shares;
pub mod store;
pub mod transition;

/// A payment as it stands.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table of the same name, which explains them")]
pub struct Payment {
    pub id: Uuid,
    pub customer_id: String,
    /// The digits as they are stored, even if this version cannot read them.
    pub amount: String,
    pub currency: String,
    pub payment_method: String,
    pub description: Option<String>,
    pub metadata: Value,
    pub created_at: DateTime<Utc>,
    pub status: String,
    pub due_at: Option<DateTime<Utc>>,
    pub held_reason: Option<String>,
    pub attempt_count: i32,
    pub gateway_transaction_id: Option<String>,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub failure_retryable: Option<bool>,
    pub version: i32,
    pub updated_at: DateTime<Utc>,
    pub terminal_at: Option<DateTime<Utc>>,
    /// What was given back. None if nobody ever asked for a refund.
    pub amount_refunded: Option<String>,
    /// How often what is given back of it was changed. None where that was not read, or never was.
    pub refund_version: Option<i32>,
}

/// One appended fact of a payment's history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table of the same name, which explains them")]
pub struct Event {
    pub version: i32,
    pub event_type: String,
    pub from_status: Option<String>,
    pub to_status: String,
    pub reason: Option<String>,
    pub evidence: Value,
    pub claim_token: Option<Uuid>,
    pub due_at: Option<DateTime<Utc>>,
    pub spends: bool,
    pub correlation_id: String,
    pub at: DateTime<Utc>,
}
