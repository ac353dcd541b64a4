//! What work has cost: CPU by process, memory, write-ahead log, statements. CPU and memory are read where
//! Linux shows them; elsewhere they are missing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde::Serialize;
use sqlx::Connection as _;

use crate::server::BenchServer;
use crate::site::{DATABASE, GATEWAY_DATABASE, Site};

/// Linux counts CPU time in hundredths of a second, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// The cost of a number of payments.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    /// Seconds of CPU for 1,000 payments, by process: `api`, `worker`, `postgres`. And by what is not
    /// Payonce: `gateway`, `gateway's postgres`, `load`.
    pub cpu_s_per_1000: BTreeMap<String, f64>,
    /// The most memory that the API and the workers ever had, in MB.
    pub peak_memory_mb: BTreeMap<String, f64>,
    /// Bytes of write-ahead log for each payment, of the whole server, the gateway's database included.
    pub wal_bytes_per_payment: f64,
    /// Statements of Payonce for each payment. None without `pg_stat_statements`.
    pub statements_per_payment: Option<f64>,
    /// The statements in which Payonce spent most time.
    pub statements: Vec<Statement>,
}

/// One statement, with the figures of all its calls.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Statement {
    /// The beginning of its text.
    pub query: String,
    /// How often it was sent.
    pub calls: i64,
    /// The time of all calls together, in milliseconds.
    pub total_ms: f64,
    /// The number of rows that it gave or changed.
    pub rows: i64,
    /// The number of pages that it looked at.
    pub pages: i64,
}

/// The figures of a moment, to count from.
pub(crate) struct Meter {
    cpu: BTreeMap<String, f64>,
    wal: i64,
}

impl Meter {
    pub(crate) async fn start(site: &Site<'_>) -> Result<Self> {
        if site.server.counts_statements {
            let mut connection = site.server.connect(DATABASE).await?;
            sqlx::query("select pg_stat_statements_reset()").execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(Self { cpu: cpu(site), wal: wal(site.server).await? })
    }

    /// The cost since then of `payments` payments.
    pub(crate) async fn stop(self, site: &Site<'_>, payments: u64) -> Result<Cost> {
        let payments = payments as f64;
        let spent = cpu(site).into_iter().map(|(name, secs)| {
            let before = self.cpu.get(&name).copied().unwrap_or_default();
            (name, (secs - before) * 1000.0 / payments)
        });
        let cpu_s_per_1000 = spent.collect();
        let wal_bytes_per_payment = (wal(site.server).await? - self.wal) as f64 / payments;
        let mut cost = Cost { cpu_s_per_1000, wal_bytes_per_payment, ..Cost::default() };
        let memory = [("api", vec![site.api.pid]), ("worker", site.workers.iter().map(|w| w.pid).collect())];
        for (name, pids) in memory {
            cost.peak_memory_mb.insert(name.to_owned(), pids.into_iter().filter_map(peak_memory_mb).sum());
        }
        if site.server.counts_statements {
            let (calls, statements) = statements(site.server).await?;
            cost.statements_per_payment = Some(calls as f64 / payments);
            cost.statements = statements;
        }
        Ok(cost)
    }
}

async fn wal(server: &BenchServer) -> Result<i64> {
    let mut connection = server.connect("postgres").await?;
    let written = sqlx::query_scalar("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(written)
}

async fn statements(server: &BenchServer) -> Result<(i64, Vec<Statement>)> {
    let mut connection = server.connect(DATABASE).await?;
    let ours =
        "from pg_stat_statements s join pg_database d on d.oid = s.dbid and d.datname = current_database()";
    let all = format!("select coalesce(sum(calls), 0)::bigint {ours}");
    let calls = sqlx::query_scalar(sqlx::AssertSqlSafe(all)).fetch_one(&mut connection).await?;
    let top = format!(
        "select left(regexp_replace(query, '\\s+', ' ', 'g'), 160) as query, calls, total_exec_time as total_ms, rows,
                shared_blks_hit + shared_blks_read as pages
           {ours} order by total_exec_time desc limit 12"
    );
    let top = sqlx::query_as(sqlx::AssertSqlSafe(top)).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok((calls, top))
}

/// Seconds of CPU so far, by what they were spent on.
fn cpu(site: &Site<'_>) -> BTreeMap<String, f64> {
    let mut spent = BTreeMap::new();
    let mut add = |name: &str, secs: Option<f64>| {
        *spent.entry(name.to_owned()).or_default() += secs.unwrap_or_default();
    };
    let own = |pid: u32| stat(pid).map(|stat| stat.own);
    add("api", own(site.api.pid));
    add("gateway", own(site.gateway.pid));
    add("load", own(std::process::id()));
    for worker in &site.workers {
        add("worker", own(worker.pid));
    }
    // The server's processes that ended meanwhile are counted with the first of them.
    let server = site.server.pid();
    add("postgres", stat(server).map(|stat| stat.own + stat.ended_children));
    for pid in pids() {
        let Some(stat) = stat(pid).filter(|stat| stat.parent == server) else { continue };
        // The title of a session's process names its database.
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let of_gateway = title.split([' ', '\0']).any(|word| word == GATEWAY_DATABASE);
        add(if of_gateway { "gateway's postgres" } else { "postgres" }, Some(stat.own));
    }
    spent
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    own: f64,
    ended_children: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the fields after the name, which stands in parentheses and may hold anything (proc(5)).
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let secs = |field: usize| Some(number(field)? as f64 / TICKS_PER_SECOND);
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        own: secs(14)? + secs(15)?,
        ended_children: secs(16)? + secs(17)?,
    })
}

fn peak_memory_mb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let line = "17 (a (b) c) S 3 17 17 0 -1 4194560 1 2 3 4 250 50 700 300 20 0 1 0 99";

        assert_eq!(parse_stat(line), Some(Stat { parent: 3, own: 3.0, ended_children: 10.0 }));
        assert_eq!(parse_stat("17 (short) S 3"), None);
    }
}
