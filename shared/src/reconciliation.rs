//! Reconciliation: our books compared with each other, and what the machine may repair repaired.
//!
//! Three looks: payments that are due and that no job is for, queue rows that lead nowhere, and the ledger against the
//! payments. The first two put right what they find, as jobs are only hints. The third never does: what differs is a
//! break for a person. Each step commits by itself and may be repeated, so runs may be killed, and may overlap.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::fault;
use crate::ledger::rules;
use crate::queue::repair::{self, Repaired};

/// Rows in one step.
const BATCH: i64 = 1_000;

/// Pages of the ledger that one tick compares; the next tick goes on from there.
const PAGES_PER_TICK: usize = 100;

/// What asks for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A tick of the schedule. Compares a share of the ledger and runs once, whoever else got the same tick.
    Tick(DateTime<Utc>),
    /// A person. Compares the whole ledger.
    Command,
}

/// What one look came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Looked at.
    pub checked: i64,
    /// Found wrong.
    pub found: i64,
    /// Put right.
    pub repaired: i64,
    /// Breaks opened for a person; less than `found` where one was open already.
    pub breaks: i64,
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.checked += more.checked;
        self.found += more.found;
        self.repaired += more.repaired;
        self.breaks += more.breaks;
    }
}

impl From<Repaired> for Counts {
    fn from(Repaired { checked, found, repaired }: Repaired) -> Self {
        Self { checked, found, repaired, breaks: 0 }
    }
}

/// What a run came to, look by look. Stored as it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Payments long due; wrong is one without a live job.
    #[serde(default)]
    pub overdue: Counts,
    /// Queue rows in flight or waiting; wrong is one that was lost, or that leads to no payment.
    #[serde(default)]
    pub queue: Counts,
    /// Payments; wrong is one that the ledger does not agree with.
    #[serde(default)]
    pub ledger: Counts,
}

/// A finished run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its number in `reconciliation_runs`.
    pub run: i64,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it was done.
    pub finished_at: DateTime<Utc>,
    /// What it came to.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Report {
    /// Whether it found what only a person can put right, now or in an earlier run.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        self.findings.ledger.found > 0
    }
}

/// Runs one reconciliation, or goes on with the one of that tick that was broken off. None if that one is finished.
///
/// # Errors
/// The database's; what was found before stays found.
pub async fn run(pool: &PgPool, trigger: Trigger) -> sqlx::Result<Option<Report>> {
    let Some(mut run) = begin(pool, trigger).await? else { return Ok(None) };
    run.findings.overdue = repair::overdue_payments(pool, BATCH).await?.into();
    let mut queue = Counts::from(repair::lost_jobs(pool, BATCH).await?);
    queue.add(repair::stray_jobs(pool, BATCH).await?.into());
    run.findings.queue = queue;
    fault::point("reconcile.repaired");
    let pages = match trigger {
        Trigger::Tick(_) => PAGES_PER_TICK,
        Trigger::Command => usize::MAX,
    };
    for _ in 0..pages {
        compare_page(pool, &mut run).await?;
        if run.compared_up_to.is_none() {
            break;
        }
    }
    let report = finish(pool, &run).await?;
    say(&report);
    Ok(Some(report))
}

/// A run under way.
struct Run {
    id: i64,
    compared_up_to: Option<Uuid>,
    findings: Findings,
}

/// The run's row. A tick whose row is there was broken off, if it is not finished; a new one goes on in the ledger where
/// the tick before it ended.
async fn begin(pool: &PgPool, trigger: Trigger) -> sqlx::Result<Option<Run>> {
    let (word, tick) = match trigger {
        Trigger::Tick(at) => ("tick", Some(at)),
        Trigger::Command => ("command", None),
    };
    let run = sqlx::query!(
        "insert into reconciliation_runs as r (trigger, tick, compared_up_to)
         select $1::text, $2::timestamptz,
                (select compared_up_to from reconciliation_runs where trigger = 'tick' and $2 is not null
                  order by tick desc limit 1)
             on conflict (tick) do update set trigger = excluded.trigger where r.finished_at is null
         returning id, compared_up_to, counts as \"counts: Json<Findings>\"",
        word,
        tick
    )
    .fetch_optional(pool)
    .await?;
    Ok(run.map(|run| Run { id: run.id, compared_up_to: run.compared_up_to, findings: run.counts.0 }))
}

/// Compares the next page, and writes down that it was: both or neither.
async fn compare_page(pool: &PgPool, run: &mut Run) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    let (counts, last) = open_breaks(&mut transaction, run.compared_up_to).await?;
    run.findings.ledger.add(counts);
    // A page that is not full is the last one: the next run starts again.
    run.compared_up_to = last.filter(|_| counts.checked == BATCH);
    sqlx::query!(
        "update reconciliation_runs set compared_up_to = $2, counts = $3 where id = $1",
        run.id,
        run.compared_up_to,
        Json(run.findings) as Json<Findings>
    )
    .execute(&mut *transaction)
    .await?;
    fault::point("reconcile.before_commit");
    transaction.commit().await?;
    fault::point("reconcile.committed");
    Ok(())
}

/// Compares the payments after `after` with the ledger. Tells which was the last one.
async fn open_breaks(
    connection: &mut PgConnection,
    after: Option<Uuid>,
) -> sqlx::Result<(Counts, Option<Uuid>)> {
    let posting = rules::columns();
    let page = sqlx::query_file!(
        "queries/reconcile_ledger.sql",
        after,
        BATCH,
        &posting.event_types,
        &posting.debit_kinds,
        &posting.credit_kinds,
        &posting.codes
    )
    .fetch_one(connection)
    .await?;
    let counts = Counts { checked: page.checked, found: page.found, repaired: 0, breaks: page.breaks };
    Ok((counts, page.last))
}

async fn finish(pool: &PgPool, run: &Run) -> sqlx::Result<Report> {
    let row = sqlx::query!(
        "update reconciliation_runs set finished_at = clock_timestamp(), counts = $2 where id = $1
         returning started_at, finished_at as \"finished_at!\"",
        run.id,
        Json(run.findings) as Json<Findings>
    )
    .fetch_one(pool)
    .await?;
    let (started_at, finished_at) = (row.started_at, row.finished_at);
    Ok(Report { run: run.id, started_at, finished_at, findings: run.findings })
}

/// One line per run.
fn say(report: &Report) {
    let Findings { overdue, queue, ledger } = report.findings;
    tracing::info!(
        event = "reconciled",
        run = report.run,
        overdue_without_job = overdue.found,
        jobs_repaired = queue.repaired,
        payments_compared = ledger.checked,
        ledger_differs = ledger.found,
        breaks_opened = ledger.breaks,
        "reconciled"
    );
}

/// Deletes the reports of ticks of more than `days` ago.
///
/// # Errors
/// The database's.
pub async fn forget_ticks(pool: &PgPool, days: i32) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "delete from reconciliation_runs where tick < clock_timestamp() - make_interval(days => $1)",
        days
    )
    .execute(pool)
    .await?;
    Ok(deleted.rows_affected())
}
