//! Reads the journal, the record that every program is judged by. Only the writer writes it, in order.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;

/// One row, as `GET /journal` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct JournalRow {
    /// The row's number, which strictly increases: a reader that continues after its last one misses none.
    pub(crate) seq: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) kind: String,
    pub(crate) op: String,
    /// The status of an answer. Null where the connection ended without one, and in rows of other kinds.
    pub(crate) http_status: Option<i32>,
    pub(crate) key: Option<String>,
    pub(crate) charge_id: Option<String>,
    #[serde(with = "rust_decimal::serde::str_option")]
    pub(crate) amount: Option<Decimal>,
    pub(crate) currency: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) correlation_id: Option<String>,
    /// Of what is done to a charge: its own key, and its own id. Rows of other kinds do not have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) act_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) act_id: Option<String>,
}

/// The first `limit` rows after `after`.
pub(crate) async fn read(pool: &PgPool, after: i64, limit: i64) -> sqlx::Result<Vec<JournalRow>> {
    sqlx::query_file_as!(JournalRow, "queries/read_journal.sql", after, limit).fetch_all(pool).await
}
