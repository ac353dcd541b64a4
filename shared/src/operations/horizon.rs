//! Who keeps dead rows from being cleared away.
//!
//! Each payment leaves dead rows behind, which a vacuum clears once nobody can see them any more. Whoever holds an old snapshot,
//! a dump, a forgotten transaction, a standby, keeps those of the whole database, and everybody reads them again and again.

use sqlx::PgPool;

use crate::database::InTime as _;

/// Holders that are read.
const HOLDERS_MAX: i64 = 20;

/// What can hold a snapshot.
pub const KINDS: &[&str] = &["session", "idle_in_transaction", "standby", "slot", "prepared"];

/// The tables in which every payment leaves dead rows.
pub const HOT_TABLES: [&str; 2] = ["payments", "apalis.jobs"];

/// An open transaction or snapshot, or what stands for one.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// One of [`KINDS`].
    pub held_by: String,
    /// The process at the server; none for what has none, such as a prepared transaction.
    pub pid: Option<i32>,
    /// What it calls itself: its `application_name`, the slot, the prepared transaction.
    pub name: Option<String>,
    /// For how many seconds; none where nobody knows, as of a standby or a slot.
    pub age_seconds: Option<f64>,
    /// How many transactions began since.
    pub age_transactions: i64,
}

/// How far back dead rows are kept, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Horizon {
    /// The oldest first.
    pub holders: Vec<Holder>,
    /// Sessions that do not show us what they hold: for that we must be a member of `pg_read_all_stats`.
    pub hidden: i64,
    /// Rows of each of [`HOT_TABLES`] that are dead and were not cleared yet, by the server's estimate.
    pub dead_rows: [i64; 2],
}

/// Reads it.
///
/// # Errors
/// The database's.
pub async fn read(pool: &PgPool) -> sqlx::Result<Horizon> {
    let holders =
        sqlx::query_file_as!(Holder, "queries/horizon.sql", HOLDERS_MAX).fetch_all(pool).in_time().await?;
    let rest = sqlx::query!(
        "select (select count(*) from pg_stat_activity
                  where datname = current_database() and query = '<insufficient privilege>') as \"hidden!\",
                pg_stat_get_dead_tuples('payments'::regclass) as \"payments!\",
                pg_stat_get_dead_tuples('apalis.jobs'::regclass) as \"jobs!\""
    )
    .fetch_one(pool)
    .in_time()
    .await?;
    Ok(Horizon { holders, hidden: rest.hidden, dead_rows: [rest.payments, rest.jobs] })
}
