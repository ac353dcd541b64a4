//! The connection by which our books are read: it can write nothing, and holds nobody up.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use terminal::dsn::{self, Place};

use crate::ours::{IN_SNAPSHOT, STATEMENT};

/// How long the server may take to accept the connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects for reading only.
pub(crate) async fn connect(url: &str) -> Result<PgPool> {
    let check = "check --database-url (or DATABASE_URL), and that the server runs";
    let url = dsn::checked(url).map_err(Error::msg).with_context(|| format!("no Postgres URL: {check}"))?;
    let options = PgConnectOptions::from_str(&url).with_context(|| format!("no Postgres URL: {check}"))?;
    let options = options.application_name("payonce verify").options([
        ("default_transaction_read_only", "on"),
        ("statement_timeout", STATEMENT),
        ("lock_timeout", STATEMENT),
        ("idle_in_transaction_session_timeout", IN_SNAPSHOT),
        // These hold whatever is set for the role or the database.
        ("search_path", "public"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_deferrable", "off"),
        ("timezone", "UTC"),
        // Statements walk along an index, whatever the planner believes of a table that was just filled.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashagg", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]);
    let cannot = || format!("cannot connect to the database: {check}");
    let place = Place::new(options.get_host(), options.get_socket(), options.get_port());
    place.reach(PATIENCE).await.map_err(Error::msg).with_context(cannot)?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options);
    match pool.await {
        Err(sqlx::Error::PoolTimedOut) => Err(Error::msg(place.is_silent(PATIENCE)).context(cannot())),
        done => done.with_context(cannot),
    }
}
