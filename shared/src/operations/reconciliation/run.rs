//! The row of a run: which process carries it out, how far it has come, what it found.
//!
//! Invariants: one tick is under way at a time. A process that goes on with a run takes it from the one that
//! had it, which then writes nothing more. What a page found is saved with the place that it led to, in one
//! transaction.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Findings, Report, Trigger};
use crate::database::{InTime as _, durable, millis};
use crate::operations::{breaks, recovery};

/// A run that has not been touched for this time was broken off: no page takes a tenth of it. So was a run
/// that was touched as far in the future: the clock was wrong.
const BROKEN_OFF_AFTER: Duration = Duration::from_mins(1);

/// How many times as long as a page took a run rests after it. Payments come first: nine tenths of the time
/// are left to them, even if a million stored ones are walked over.
const REST: u32 = 9;

/// The longest rest, which ends long before a run looks broken off.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The number up to which open breaks are counted.
const BREAKS_COUNTED: i64 = 1_000;

domain::words! {
    /// The parts of a run, in their order.
    Step {
        /// Due times and hints are put right.
        Repair = "repair",
        /// The gateway's journal is copied and compared.
        Journal = "journal",
        /// The payments are compared, page by page.
        Payments = "payments",
        /// The accounts are added up.
        Balances = "balances",
        /// The gateway's list of charges is compared.
        Charges = "charges",
        /// The run is over.
        Done = "done",
    }
}

/// A run under way.
pub(super) struct Run {
    pub(super) id: i64,
    holder: Uuid,
    pub(super) step: Step,
    /// The last payment that was compared; none means that the walk begins with the first one.
    pub(super) compared_up_to: Option<Uuid>,
    /// When the pass over all payments began that this run is part of.
    pub(super) pass_began_at: DateTime<Utc>,
    pub(super) findings: Findings,
    /// When the run last came from a rest.
    rested_at: Instant,
    hurry: CancellationToken,
}

struct Row {
    id: i64,
    step: String,
    compared_up_to: Option<Uuid>,
    pass_began_at: Option<DateTime<Utc>>,
    started_at: DateTime<Utc>,
    counts: Json<Findings>,
}

/// The run's row. A tick goes on in the books where the last one ended. The same tick again, or the next one
/// after a while, goes on with a run that was broken off.
pub(super) async fn begin(
    pool: &PgPool,
    trigger: Trigger,
    hurry: &CancellationToken,
) -> sqlx::Result<Option<Run>> {
    let holder = Uuid::now_v7();
    let row = match trigger {
        Trigger::Tick(tick) => begin_tick(pool, tick, holder).await?,
        Trigger::Command => Some(begin_command(pool, holder).await?),
    };
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Run {
        id: row.id,
        holder,
        // A step that only another version knows is that version's to go on with.
        step: row.step.parse().map_err(|why| sqlx::Error::Decode(Box::new(why)))?,
        compared_up_to: row.compared_up_to,
        pass_began_at: row.pass_began_at.unwrap_or(row.started_at),
        findings: row.counts.0,
        rested_at: Instant::now(),
        hurry: hurry.clone(),
    }))
}

async fn begin_tick(pool: &PgPool, tick: DateTime<Utc>, holder: Uuid) -> sqlx::Result<Option<Row>> {
    let statement = sqlx::query_as!(
        Row,
        "with unfinished as materialized (
             select id, tick, touched_at from reconciliation_runs
              where trigger = 'tick' and finished_at is null
                for update),
         taken as (
             update reconciliation_runs r
                set holder = $2, touched_at = clock_timestamp()
               from unfinished u
              where r.id = u.id
                and (u.tick = $1
                     or u.touched_at not between clock_timestamp() - $3::bigint * interval '1 millisecond'
                                             and clock_timestamp() + $3 * interval '1 millisecond')
             returning r.*),
         made as (
             insert into reconciliation_runs (trigger, tick, holder, compared_up_to, pass_began_at)
             select 'tick', $1, $2, last.compared_up_to, last.pass_began_at
               from (select) one
               left join lateral (select * from reconciliation_runs where trigger = 'tick' order by id desc limit 1) last
                 on true
              where not exists (select from unfinished)
                 on conflict do nothing
             returning *)
         select id as \"id!\", step as \"step!\", compared_up_to, pass_began_at, started_at as \"started_at!\",
                counts as \"counts!: Json<Findings>\"
           from (select * from taken union all select * from made) run",
        tick,
        holder,
        millis(BROKEN_OFF_AFTER)
    )
    .fetch_optional(pool);
    durable("reconcile_begin", statement).await
}

async fn begin_command(pool: &PgPool, holder: Uuid) -> sqlx::Result<Row> {
    let statement = sqlx::query_as!(
        Row,
        "insert into reconciliation_runs (trigger, holder) values ('command', $1)
         returning id, step, compared_up_to, pass_began_at, started_at, counts as \"counts: Json<Findings>\"",
        holder
    )
    .fetch_one(pool);
    durable("reconcile_begin", statement).await
}

impl Run {
    /// Leaves the database to payments for a while between two pages, unless the run is in a hurry.
    pub(super) async fn rest(&mut self) {
        let rest = (self.rested_at.elapsed() * REST).min(LONGEST_REST);
        tokio::select! { () = tokio::time::sleep(rest) => {} () = self.hurry.cancelled() => {} }
        self.rested_at = Instant::now();
    }

    /// Writes down how far the run has come. False if another process has it by now: then nothing may be
    /// committed.
    pub(super) async fn save(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let saved = sqlx::query!(
            "update reconciliation_runs
                set step = $3, compared_up_to = $4, pass_began_at = $5, counts = $6,
                    touched_at = clock_timestamp()
              where id = $1 and holder = $2 and finished_at is null",
            self.id,
            self.holder,
            self.step.as_str(),
            self.compared_up_to,
            self.pass_began_at,
            Json(&self.findings) as Json<&Findings>
        )
        .execute(connection)
        .await?;
        Ok(saved.rows_affected() == 1)
    }

    /// Writes down that a step with nothing more to commit is over. False if another process has the run by
    /// now.
    pub(super) async fn step_done(&self, pool: &PgPool) -> sqlx::Result<bool> {
        let mut connection = pool.acquire().in_time().await?;
        durable("reconcile_step", self.save(&mut connection)).await
    }

    /// Closes the run. None if another process has it by now.
    pub(super) async fn finish(mut self, pool: &PgPool) -> sqlx::Result<Option<Report>> {
        self.findings.breaks_open = breaks::count_open(pool, BREAKS_COUNTED).await?;
        // If the pass is over, the next run begins another one.
        let statement = sqlx::query!(
            "update reconciliation_runs
                set finished_at = clock_timestamp(), counts = $3, step = 'done',
                    pass_began_at = case when compared_up_to is not null then pass_began_at end
              where id = $1 and holder = $2 and finished_at is null
             returning started_at, finished_at as \"finished_at!\"",
            self.id,
            self.holder,
            Json(&self.findings) as Json<&Findings>
        )
        .fetch_optional(pool);
        let row = durable("reconcile_finish", statement).await?;
        Ok(row.map(|row| Report {
            run: self.id,
            started_at: row.started_at,
            finished_at: row.finished_at,
            findings: self.findings,
        }))
    }
}

/// A run as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    /// The run's number in `reconciliation_runs`.
    pub id: i64,
    /// What asked for the run: `tick` or `command`.
    pub trigger: String,
    /// When the run started.
    pub started_at: DateTime<Utc>,
    /// When the run was done; none while it is under way, or if it was broken off.
    pub finished_at: Option<DateTime<Utc>>,
    /// What the run has found so far.
    pub findings: Findings,
}

/// The last runs before number `before`, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, before: Option<i64>, limit: i64) -> sqlx::Result<Vec<Stored>> {
    let rows = sqlx::query!(
        "select id, trigger, started_at, finished_at, counts as \"counts: Json<Findings>\"
           from reconciliation_runs where id < $1 order by id desc limit $2",
        before.unwrap_or(i64::MAX),
        limit
    )
    .fetch_all(pool)
    .await?;
    let stored = rows.into_iter().map(|row| Stored {
        id: row.id,
        trigger: row.trigger,
        started_at: row.started_at,
        finished_at: row.finished_at,
        findings: row.counts.0,
    });
    Ok(stored.collect())
}

/// Deletes the reports of ticks and of starts of more than `days` ago, and the sums of passes that no run
/// goes on with.
///
/// # Errors
/// Returns the database's error.
pub async fn forget(pool: &PgPool, days: i32) -> sqlx::Result<u64> {
    let reports = sqlx::query!(
        "delete from reconciliation_runs where tick < clock_timestamp() - make_interval(days => $1)",
        days
    )
    .execute(pool);
    let deleted = durable("prune_reports", reports).await?.rows_affected();
    let sums = sqlx::query!(
        "delete from account_sums s
          where pass_began_at < clock_timestamp() - make_interval(days => $1)
            and not exists (select from reconciliation_runs r where r.pass_began_at = s.pass_began_at)",
        days
    )
    .execute(pool);
    durable("prune_sums", sums).await?;
    Ok(deleted + recovery::forget(pool, days).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_run(hurry: CancellationToken) -> Run {
        Run {
            id: 1,
            holder: Uuid::nil(),
            step: Step::Payments,
            compared_up_to: None,
            pass_began_at: DateTime::UNIX_EPOCH,
            findings: Findings::default(),
            rested_at: Instant::now(),
            hurry,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_rests_many_times_as_long_as_a_page_took() {
        let mut run = a_run(CancellationToken::new());
        for page in [Duration::from_millis(30), Duration::from_millis(200)] {
            tokio::time::advance(page).await;
            let before = Instant::now();
            run.rest().await;
            // The clock of the runtime has whole milliseconds.
            let rested = before.elapsed();
            assert!(
                rested >= page * REST && rested <= page * REST + Duration::from_millis(2),
                "{rested:?} after {page:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_in_a_hurry_does_not_rest() {
        let hurry = CancellationToken::new();
        let mut run = a_run(hurry.clone());
        tokio::time::advance(Duration::from_millis(30)).await;
        hurry.cancel();
        let before = Instant::now();
        run.rest().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
