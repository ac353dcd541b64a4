//! Who keeps dead rows from being cleared away.
//!
//! Each payment leaves dead rows behind. A vacuum clears them once no session can see them any more. A dump,
//! a forgotten transaction or a standby may hold an old snapshot. Then the dead rows of the whole database
//! stay, and everybody reads them again and again.

use sqlx::PgPool;

use crate::database::InTime as _;

/// Holders that are read.
const HOLDERS_MAX: i64 = 20;

/// The kinds of what can hold a snapshot.
pub const KINDS: &[&str] = &["session", "idle_in_transaction", "standby", "slot", "prepared"];

/// The tables in which every payment leaves dead rows.
pub const HOT_TABLES: [&str; 2] = ["payments", "apalis.jobs"];

/// An open transaction or snapshot, or what stands for one.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// One of [`KINDS`], as a word.
    pub held_by: String,
    /// The process at the server; none for a holder without one, such as a prepared transaction.
    pub pid: Option<i32>,
    /// The name that the holder has: its `application_name`, its slot, its prepared transaction.
    pub name: Option<String>,
    /// How many seconds it has been held; none where nobody knows, as of a standby or a slot.
    pub age_seconds: Option<f64>,
    /// How many transactions began since.
    pub age_transactions: i64,
}

/// How far back dead rows are kept, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Horizon {
    /// The holders, the oldest first.
    pub holders: Vec<Holder>,
    /// Sessions that do not show us what they hold: for that we must be a member of `pg_read_all_stats`.
    pub hidden: i64,
    /// The rows of each of [`HOT_TABLES`] that are dead and not cleared yet, by the server's estimate.
    pub dead_rows: [i64; 2],
}

/// Reads who holds back how much now.
///
/// # Errors
/// Returns the database's error.
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
