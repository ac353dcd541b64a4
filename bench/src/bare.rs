//! The bare lifecycle: how much pgbench settles on the same server with nothing but SQL, in batches.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use sqlx::Connection as _;
use tokio::process::Command;

use crate::server::BenchServer;

const SCHEMA: &str = include_str!("../bare_schema.sql");
const LIFECYCLE: &str = include_str!("../bare_lifecycle.sql");
const DATABASE: &str = "bare";
const BATCH: u32 = 100;
/// The number of clients; more gain nothing on two cores.
const CLIENTS: u32 = 2;
/// The settings of Payonce's own sessions, so that no plan is made for a table that was empty when it
/// was made.
const PLANNER: &str = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off \
                       -c enable_mergejoin=off -c jit=off";

/// Measures the payments that are settled in a second.
pub(crate) async fn lifecycle(server: &BenchServer, secs: u64) -> Result<f64> {
    server.create(DATABASE).await?;
    let mut connection = server.connect(DATABASE).await?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
    let script = server.directory().join("bare_lifecycle.sql");
    std::fs::write(&script, LIFECYCLE).context("cannot write pgbench's script")?;
    let mut pgbench = Command::new(server.program("pgbench"));
    pgbench
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--time={secs}"))
        .arg(format!("--define=batch={BATCH}"))
        .arg("--file")
        .arg(&script)
        .arg(server.url(DATABASE))
        .env("PGOPTIONS", PLANNER)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output =
        pgbench.output().await.context("cannot run pgbench, which is part of PostgreSQL's server")?;
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let settled: i64 = sqlx::query_scalar("select count(*) from payment where status = 'succeeded'")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    server.drop(DATABASE).await?;
    Ok(settled as f64 / secs as f64)
}
