//! The bare database: how much pgbench does on the same server with nothing but SQL. It settles payments in
//! batches, and moves money between accounts one movement at a time.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use sqlx::Connection as _;
use tokio::process::Command;

use crate::server::BenchServer;

const SCHEMA: &str = include_str!("../bare_schema.sql");
const LIFECYCLE: &str = include_str!("../bare_lifecycle.sql");
const MOVES_SCHEMA: &str = include_str!("../bare_moves_schema.sql");
const MOVES: &str = include_str!("../bare_moves.sql");
const DATABASE: &str = "bare";
const BATCH: u32 = 100;
/// The number of clients; more gain nothing on two cores.
const CLIENTS: u32 = 2;
/// The number of clients that move money: so many that their commits share writes to the disk.
const MOVERS: u32 = 16;
/// The settings of Payonce's own sessions, so that no plan is made for a table that was empty when it
/// was made.
const PLANNER: &str = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off \
                       -c enable_mergejoin=off -c jit=off";

/// Measures the payments that are settled in a second.
pub(crate) async fn lifecycle(server: &BenchServer, secs: u64) -> Result<f64> {
    server.create(DATABASE).await?;
    let mut connection = server.connect(DATABASE).await?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
    pgbench(server, LIFECYCLE, &[("client", CLIENTS.into()), ("time", secs)], ("batch", BATCH.into()))
        .await?;
    let settled = "select count(*) from payment where status = 'succeeded'";
    let settled: i64 = sqlx::query_scalar(settled).fetch_one(&mut connection).await?;
    connection.close().await?;
    server.drop(DATABASE).await?;
    Ok(settled as f64 / secs as f64)
}

/// Measures the movements between that many accounts in a second, one in each transaction.
pub(crate) async fn moves(server: &BenchServer, accounts: u64, secs: u64) -> Result<f64> {
    server.create(DATABASE).await?;
    let mut connection = server.connect(DATABASE).await?;
    let schema = MOVES_SCHEMA.replace(":accounts", &accounts.to_string());
    sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(&mut connection).await?;
    pgbench(server, MOVES, &[("client", MOVERS.into()), ("time", secs)], ("accounts", accounts)).await?;
    let moved: i64 = sqlx::query_scalar("select count(*) from transfer").fetch_one(&mut connection).await?;
    connection.close().await?;
    server.drop(DATABASE).await?;
    Ok(moved as f64 / secs as f64)
}

/// Runs a script with these options, and with one variable.
async fn pgbench(
    server: &BenchServer,
    script: &str,
    options: &[(&str, u64)],
    (variable, value): (&str, u64),
) -> Result<()> {
    let file = server.directory().join("bare.sql");
    std::fs::write(&file, script).context("cannot write pgbench's script")?;
    let mut pgbench = Command::new(server.program("pgbench"));
    pgbench
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args(options.iter().map(|(option, value)| format!("--{option}={value}")))
        .arg(format!("--define={variable}={value}"))
        .arg("--file")
        .arg(&file)
        .arg(server.url(DATABASE))
        .env("PGOPTIONS", PLANNER)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output =
        pgbench.output().await.context("cannot run pgbench, which is part of PostgreSQL's server")?;
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
