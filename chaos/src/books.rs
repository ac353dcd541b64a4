//! The result of a run: our own figures, and the judgement of `payonce verify`, which is run as a program of
//! its own.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use tokio::process::Command;

use crate::service;

/// What our database says of the run.
#[derive(Debug, Clone, Serialize, FromRow)]
pub(super) struct Figures {
    pub(super) payments: i64,
    /// The most attempts of one payment, which are claims that might charge; below, their mean.
    pub(super) attempts_max: i32,
    pub(super) attempts_mean: f64,
    pub(super) retries_spent: i64,
    pub(super) not_ended: i64,
    /// How often a worker took over from one whose lease ran out.
    pub(super) takeovers: i64,
    /// Results that came too late, and changed nothing.
    pub(super) came_late: i64,
}

impl Figures {
    pub(super) async fn read(pool: &PgPool) -> Result<Self> {
        let read = sqlx::query_as(
            "select count(*) as payments, coalesce(max(attempt_count), 0) as attempts_max,
                    coalesce(avg(attempt_count), 0)::float8 as attempts_mean,
                    coalesce(sum(retries_spent), 0)::bigint as retries_spent,
                    count(*) filter (where terminal_at is null and held_reason is null) as not_ended,
                    (select count(*) from payment_events where type = 'taken_over') as takeovers,
                    (select count(*) from late_evidence) as came_late
               from payments",
        );
        read.fetch_one(pool).await.context("the figures cannot be read")
    }
}

/// The ids of the payments that are held for a person.
pub(super) async fn held(pool: &PgPool) -> Result<Vec<String>> {
    let ids = sqlx::query_scalar(
        "select 'pay_' || replace(id::text, '-', '') from payments where held_reason is not null",
    );
    ids.fetch_all(pool).await.context("the held payments cannot be read")
}

/// The exit code and the report of `payonce verify`.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) code: i32,
    pub(super) report: Value,
}

impl Verdict {
    pub(super) async fn ask(database_url: &str, gateways: &[String], history: &Path) -> Result<Self> {
        let mut command = Command::new(service::this_program()?);
        command.args(["verify", "--at-rest", "--json", "--database-url", database_url]);
        for gateway in gateways {
            command.args(["--gateway-url", gateway]);
        }
        command.arg("--history").arg(history);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("cannot start this program again")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let report = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        match (output.status.code(), report) {
            (Some(code @ (0 | 1 | 3)), Some(report)) => Ok(Self { code, report }),
            _ => bail!("payonce verify failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
        }
    }
}
