//! Reading the journal: the record that judges. Written only by the writer, in order.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;

/// One row, as `GET /journal` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct JournalRow {
    /// Strictly increasing; a reader that continues after the last one it saw misses none.
    pub(crate) seq: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) kind: String,
    pub(crate) op: String,
    /// Of an answer; null where the connection ended without one.
    pub(crate) http_status: Option<i32>,
    pub(crate) key: Option<String>,
    pub(crate) charge_id: Option<String>,
    #[serde(with = "rust_decimal::serde::str_option")]
    pub(crate) amount: Option<Decimal>,
    pub(crate) currency: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) correlation_id: Option<String>,
}

/// The first `limit` rows after `after`.
pub(crate) async fn read(pool: &PgPool, after: i64, limit: i64) -> sqlx::Result<Vec<JournalRow>> {
    sqlx::query_file_as!(JournalRow, "queries/read_journal.sql", after, limit).fetch_all(pool).await
}
