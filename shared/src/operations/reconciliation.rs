//! Reconciliation: our books compared with each other and with the gateway's, and what the machine may repair
//! repaired.
//!
//! Jobs and queue rows are only hints, so errors in them are put right. Money and histories are not: what
//! differs is a break for a person. A run goes step by step, a page at a time. Each page commits together
//! with how far the run has come. So a process that goes on after a crash finds everything once. Nothing here
//! holds a lock or a snapshot for longer than a page. Nothing asks the gateway about a single payment: that
//! needs a claim.
//!
//! Read in this order:
//! - `run`: keeps the run's row;
//! - `copy`: copies the gateway's journal;
//! - `books`: compares the gateway's books;
//! - `charges`: says whose a charge is;
//! - `payments`: walks over the payments;
//! - `balances`: adds up accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::GatewayName;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::gateway::books::Bounds;
use crate::operations::breaks::{self, Opened};
use crate::payment::transition::{self, Waits};
use crate::queue::repair::{self, Repaired};

mod balances;
mod books;
mod charges;
pub(crate) mod copy;
mod payments;
mod run;

use run::{Run, Step};
pub use run::{Stored, forget, list};

/// Rows in one page.
const PAGE: i64 = 1_000;

/// How many pages of what is due too far away are pulled near in one run.
const RESCHEDULED_PAGES: usize = 100;

/// What asks for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A tick of the schedule. It walks over a share of the payments and runs once, even if several workers
    /// get the tick.
    Tick(DateTime<Utc>),
    /// A person's command. It walks over all payments.
    Command,
}

impl Trigger {
    /// How many pages of our payments a run compares. The next tick goes on from there.
    const fn payment_pages(self) -> usize {
        match self {
            Self::Tick(_) => 100,
            Self::Command => usize::MAX,
        }
    }

    /// How far a run copies the gateway's journal; the next run goes on from there. A tick copies more than a
    /// gateway writes until the next one, and leaves most of its time to the other steps.
    const fn journal_bounds(self) -> Bounds {
        match self {
            Self::Tick(_) => Bounds { pages: 1_000, time: Duration::from_mins(2) },
            Self::Command => Bounds { pages: usize::MAX, time: Duration::from_hours(1) },
        }
    }

    /// How far a run compares the gateway's charges. The next tick goes on from there.
    const fn charge_bounds(self) -> Bounds {
        match self {
            Self::Tick(_) => Bounds { pages: 10, time: Duration::from_mins(2) },
            Self::Command => Bounds { pages: usize::MAX, time: Duration::from_hours(1) },
        }
    }
}

/// The result of one comparison.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many rows were looked at.
    pub checked: i64,
    /// How many were found wrong, without those that a person has closed for the same facts.
    pub found: i64,
    /// How many were put right.
    pub repaired: i64,
    /// How many breaks were opened for a person: fewer than `found` if some were open already.
    pub breaks: i64,
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.checked += more.checked;
        self.found += more.found;
        self.repaired += more.repaired;
        self.breaks += more.breaks;
    }

    /// The counts of a comparison of `checked` rows that opened these breaks.
    fn of(checked: usize, opened: &Opened) -> Self {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Self { checked: count(checked), found: opened.found, repaired: 0, breaks: count(opened.opened.len()) }
    }
}

impl From<Repaired> for Counts {
    fn from(Repaired { checked, found, repaired }: Repaired) -> Self {
        Self { checked, found, repaired, breaks: 0 }
    }
}

/// Whether the gateway's books were compared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayBooks {
    /// No gateway was given.
    #[default]
    NotAsked,
    /// The books were compared.
    Compared,
    /// The gateway shows no books.
    NotOffered,
    /// The books were read as far as one run goes. The next one goes on from there.
    Partly,
    /// The gateway did not answer. The next run goes on where this one could not.
    Unreachable,
    /// A page of the books does not lead on, so that a reader never comes to an end. The next run tries
    /// again.
    Faulty,
}

/// The result of a run, comparison by comparison. It is stored as it is.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// Due times of payments, jobs and voids; wrong is one that is further away than any wait.
    pub due_times: Counts,
    /// Payments long due; wrong is one without a live job.
    pub overdue: Counts,
    /// Queue rows in flight or waiting; wrong is one that was lost, or that leads to no payment.
    pub queue: Counts,
    /// Movements of money at the gateway since the last run; wrong is one that no payment of ours accounts
    /// for.
    pub journal: Counts,
    /// Payments beside the gateway's journal; wrong is one that ended otherwise.
    pub gateway: Counts,
    /// Payments beside the ledger; wrong is one that it does not agree with.
    pub ledger: Counts,
    /// Payments beside their events; wrong is one whose events do not lead to its row.
    pub history: Counts,
    /// Accounts, whenever all transfers have been added up; wrong is one that has less than before.
    pub balances: Counts,
    /// Charges as the gateway lists them now; wrong is one that it denies after having confirmed it.
    pub charges: Counts,
    /// Whether the gateways' books were compared: the least that was done at one of them.
    pub gateway_books: GatewayBooks,
    /// Why they were not, or not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_books_why: Option<String>,
    /// The same, gateway by gateway.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub books_of: BTreeMap<GatewayName, GatewayBooks>,
    /// Gateways whose list of charges was compared to its end.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub lists_of: BTreeSet<GatewayName>,
    /// Breaks that were open when the run ended, counted up to a thousand.
    pub breaks_open: i64,
}

impl Findings {
    /// Notes how far the books of a gateway were compared, and why no further.
    fn read(&mut self, gateway: &GatewayName, books: GatewayBooks, why: Option<String>) {
        self.books_of.insert(gateway.clone(), books);
        self.gateway_books = self.books_of.values().max().copied().unwrap_or_default();
        if let Some(why) = why {
            let why = if gateway.is_default() { why } else { format!("{gateway}: {why}") };
            let before = self.gateway_books_why.take().filter(|before| *before != why);
            self.gateway_books_why = Some(before.map_or(why.clone(), |before| format!("{before}; {why}")));
        }
    }

    /// Whether a gateway has shown its books in this run, and not all of its list of charges was compared.
    fn is_to_be_listed(&self, gateway: &GatewayName) -> bool {
        matches!(self.books_of.get(gateway), Some(GatewayBooks::Compared | GatewayBooks::Partly))
            && !self.lists_of.contains(gateway)
    }

    /// Each comparison with its name.
    #[must_use]
    pub const fn each(&self) -> [(&'static str, Counts); 9] {
        [
            ("due too far away", self.due_times),
            ("overdue payments", self.overdue),
            ("queue rows", self.queue),
            ("gateway's journal", self.journal),
            ("payments against it", self.gateway),
            ("payments against the ledger", self.ledger),
            ("payments against their events", self.history),
            ("account balances", self.balances),
            ("gateway's list of charges", self.charges),
        ]
    }
}

/// A finished run, with its findings.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The run's number in `reconciliation_runs`.
    pub run: i64,
    /// When the run started.
    pub started_at: DateTime<Utc>,
    /// When the run was done.
    pub finished_at: DateTime<Utc>,
    /// What the run found.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Report {
    /// Whether something waits that only a person can put right, found now or earlier.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        self.findings.breaks_open > 0
    }
}

/// Runs one reconciliation, or goes on with the tick that was broken off. None if there is nothing to do: the
/// tick is done, another one is under way, or another process took this run over. Without gateways only our
/// own books are compared. What is due later than `waits` allow is pulled near. Until `hurry` is cancelled
/// the run rests after each page for nine times as long as the page took, but at most five seconds.
///
/// # Errors
/// The database's error. What was found before stays found.
pub async fn run(
    pool: &PgPool,
    gateways: &[Gateway],
    waits: Waits,
    trigger: Trigger,
    hurry: &CancellationToken,
) -> sqlx::Result<Option<Report>> {
    let Some(mut run) = run::begin(pool, trigger, hurry).await? else { return Ok(None) };
    loop {
        let is_still_ours = match run.step {
            Step::Repair => repaired(pool, waits, &mut run).await?,
            Step::Journal => books::journal(pool, gateways, &mut run, trigger.journal_bounds()).await?,
            Step::Payments => payments::walk(pool, &mut run, trigger.payment_pages()).await?,
            Step::Balances => balances::compare(pool, &mut run).await?,
            Step::Charges => books::charges(pool, gateways, &mut run, trigger).await?,
            Step::Done => {
                let report = run.finish(pool).await?;
                report.iter().for_each(say);
                return Ok(report);
            }
        };
        if !is_still_ours {
            tracing::warn!(run = run.id, "somebody else goes on with this reconciliation");
            return Ok(None);
        }
    }
}

/// Puts the queue right. Repeated after a crash, it finds right what was put right before.
async fn repaired(pool: &PgPool, waits: Waits, run: &mut Run) -> sqlx::Result<bool> {
    run.findings.due_times = due_times(pool, waits).await?;
    run.findings.overdue = repair::overdue_payments(pool, PAGE).await?.into();
    let mut queue = Counts::from(repair::lost_jobs(pool, PAGE).await?);
    queue.add(repair::stray_jobs(pool, PAGE).await?.into());
    run.findings.queue = queue;
    run.step = Step::Journal;
    run.step_done(pool).await
}

/// Pulls near what is due too far away, page by page. Any further pages are for the next run.
async fn due_times(pool: &PgPool, waits: Waits) -> sqlx::Result<Counts> {
    let mut counts = Counts::default();
    for _ in 0..RESCHEDULED_PAGES {
        let done = transition::reschedule(pool, waits, PAGE).await?;
        for (payment_id, was_due_at) in &done.payments {
            tracing::warn!(event = "rescheduled", %payment_id, %was_due_at, "due further away than any wait; pulled near");
        }
        if done.jobs + done.remedies > 0 {
            let (jobs, voids) = (done.jobs, done.remedies);
            tracing::warn!(event = "rescheduled", jobs, voids, "due further away than any wait; pulled near");
        }
        let count = i64::try_from(done.count()).unwrap_or(i64::MAX);
        counts.add(Counts { checked: count, found: count, repaired: count, breaks: 0 });
        if count < PAGE {
            break;
        }
    }
    Ok(counts)
}

/// Logs one line for each break, since a person must look at each.
fn say_opened(opened: &Opened) {
    for (subject, kind) in &opened.opened {
        match subject {
            breaks::Subject::Payment(payment_id) => {
                tracing::error!(event = "break_opened", %payment_id, kind, "two books contradict each other");
            }
            breaks::Subject::Other(subject) => {
                tracing::error!(event = "break_opened", subject, kind, "two books contradict each other");
            }
        }
    }
}

/// Logs one line for the run.
fn say(report: &Report) {
    let findings = &report.findings;
    tracing::info!(
        event = "reconciled",
        run = report.run,
        due_too_far = findings.due_times.found,
        overdue_without_job = findings.overdue.found,
        jobs_repaired = findings.queue.repaired,
        gateway_books = ?findings.gateway_books,
        journal_effects = findings.journal.checked,
        payments_compared = findings.ledger.checked,
        differs = findings.each()
            .iter()
            .skip(3).map(|(_, counts)| counts.found).sum::<i64>(),
        breaks_opened = findings.each().iter().map(|(_, counts)| counts.breaks).sum::<i64>(),
        breaks_open = findings.breaks_open,
        "reconciled"
    );
}
