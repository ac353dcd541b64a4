//! The gauges: what stands in the database now, read by a few statements at a scrape.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::metrics::gauge;
use sqlx::PgPool;

use crate::operations::breaks::KINDS;
use crate::operations::horizon::{self, HOT_TABLES, Horizon};
use crate::platform::metrics::{
    self, BREAKS_OPEN, CLOSED, DEAD_LETTERS_OPEN, DEAD_ROWS, EVENTS_HELD_BACK, HOLDS_OLDEST_DUE, HOLDS_OPEN,
    PAYMENTS_HELD, PAYMENTS_OPEN, PAYMENTS_OVERDUE, QUEUE_JOBS, QUEUE_OLDEST, RECONCILIATION_AGE,
    REFUNDS_HELD, REFUNDS_OPEN, SESSIONS_HIDDEN, SNAPSHOT_AGE, SNAPSHOT_AGE_TRANSACTIONS, SNAPSHOT_PID,
    WEBHOOK_OLDEST,
};
use crate::queue;

/// How long the gauges are shown before they are read again: anybody may scrape, and the database has other
/// work.
const FRESH: Duration = Duration::from_secs(1);

/// If a long backlog makes reading slow, it takes at most one part in this many of the time.
const SHARE: u32 = 20;

/// No reading takes longer: by then the process that had the turn is gone.
const LONGEST: Duration = Duration::from_secs(10);

/// The time from which the gauges are read again.
static STALE_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// The numbers that the database shows.
struct Now {
    pending: f64,
    processing: f64,
    in_review: f64,
    /// All gateways. Below, how many of the payments of each are overdue.
    gateways: Vec<String>,
    overdue: Vec<f64>,
    held: f64,
    jobs_waiting: f64,
    oldest_job_age: f64,
    reconciliation_age: f64,
    dead_letters_open: f64,
    refunds_open: f64,
    refunds_held: f64,
    closed: f64,
    holds_open: f64,
    oldest_due_hold: f64,
    webhook_oldest: f64,
    held_back: f64,
    /// The number of open breaks of each of [`KINDS`]; none if that could not be read.
    breaks_open: Option<Vec<f64>>,
}

impl Now {
    const UNKNOWN: Self = Self {
        pending: f64::NAN,
        processing: f64::NAN,
        in_review: f64::NAN,
        gateways: Vec::new(),
        overdue: Vec::new(),
        held: f64::NAN,
        jobs_waiting: f64::NAN,
        oldest_job_age: f64::NAN,
        reconciliation_age: f64::NAN,
        dead_letters_open: f64::NAN,
        refunds_open: f64::NAN,
        refunds_held: f64::NAN,
        closed: f64::NAN,
        holds_open: f64::NAN,
        oldest_due_hold: f64::NAN,
        webhook_oldest: f64::NAN,
        held_back: f64::NAN,
        breaks_open: None,
    };
}

/// All metrics as text, with the gauges as the database shows them now.
pub async fn scrape(pool: &PgPool) -> String {
    refresh(pool).await;
    metrics::render()
}

/// Sets all gauges to what the database shows. If it does not answer they become "not a number", so that
/// nobody takes the past for the present.
async fn refresh(pool: &PgPool) {
    if !is_my_turn() {
        return;
    }
    let asked_at = Instant::now();
    let (now, fresh) = match read(pool).await {
        Ok(now) => (now, FRESH.max(asked_at.elapsed() * SHARE)),
        Err(why) => {
            tracing::warn!(%why, "could not read the gauges");
            (Now::UNKNOWN, FRESH)
        }
    };
    gauge!(PAYMENTS_OPEN, "status" => "pending").set(now.pending);
    gauge!(PAYMENTS_OPEN, "status" => "processing").set(now.processing);
    gauge!(PAYMENTS_OPEN, "status" => "in_review").set(now.in_review);
    show_overdue(&now);
    gauge!(PAYMENTS_HELD).set(now.held);
    gauge!(QUEUE_JOBS).set(now.jobs_waiting);
    gauge!(QUEUE_OLDEST).set(now.oldest_job_age);
    gauge!(RECONCILIATION_AGE).set(now.reconciliation_age);
    gauge!(DEAD_LETTERS_OPEN).set(now.dead_letters_open);
    gauge!(REFUNDS_OPEN).set(now.refunds_open);
    gauge!(REFUNDS_HELD).set(now.refunds_held);
    gauge!(CLOSED).set(now.closed);
    gauge!(HOLDS_OPEN).set(now.holds_open);
    gauge!(HOLDS_OLDEST_DUE).set(now.oldest_due_hold);
    gauge!(WEBHOOK_OLDEST).set(now.webhook_oldest);
    gauge!(EVENTS_HELD_BACK).set(now.held_back);
    for (n, &(kind, _)) in KINDS.iter().enumerate() {
        let open = now.breaks_open.as_ref().and_then(|open| open.get(n)).copied();
        gauge!(BREAKS_OPEN, "kind" => kind).set(open.unwrap_or(f64::NAN));
    }
    show_horizon(&horizon::read(pool).await);
    fresh_for(fresh);
}

/// Shows the overdue payments of each gateway: of each that was ever seen, also where nothing could be read.
fn show_overdue(now: &Now) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(now.gateways.iter().cloned());
    for gateway in &*seen {
        let at = now.gateways.iter().position(|name| name == gateway);
        let overdue = at.and_then(|at| now.overdue.get(at)).copied();
        gauge!(PAYMENTS_OVERDUE, "gateway" => gateway.clone()).set(overdue.unwrap_or(f64::NAN));
    }
}

/// Shows who keeps dead rows from being cleared.
fn show_horizon(horizon: &sqlx::Result<Horizon>) {
    let or_unknown = |of: &dyn Fn(&Horizon) -> f64| horizon.as_ref().map_or(f64::NAN, of);
    for &kind in horizon::KINDS {
        let oldest = |age: fn(&horizon::Holder) -> f64| {
            or_unknown(&|it| it.holders.iter().filter(|it| it.held_by == kind).map(age).fold(0.0, f64::max))
        };
        gauge!(SNAPSHOT_AGE, "held_by" => kind).set(oldest(|it| it.age_seconds.unwrap_or(0.0)));
        gauge!(SNAPSHOT_AGE_TRANSACTIONS, "held_by" => kind).set(oldest(|it| float(it.age_transactions)));
    }
    let pid = |it: &Horizon| it.holders.first().and_then(|it| it.pid).map_or(0.0, f64::from);
    gauge!(SNAPSHOT_PID).set(or_unknown(&pid));
    gauge!(SESSIONS_HIDDEN).set(or_unknown(&|it| float(it.hidden)));
    for (n, table) in HOT_TABLES.into_iter().enumerate() {
        gauge!(DEAD_ROWS, "table" => table).set(or_unknown(&|it| float(it.dead_rows[n])));
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts so many")]
const fn float(count: i64) -> f64 {
    count as f64
}

async fn read(pool: &PgPool) -> sqlx::Result<Now> {
    let kinds: Vec<String> = KINDS.iter().map(|&(kind, _)| kind.to_owned()).collect();
    sqlx::query_file_as!(Now, "queries/gauges.sql", queue::PAYMENTS, &kinds).fetch_one(pool).await
}

/// Whether the gauges are old enough to be read again. Until they have been, every other caller is told no.
fn is_my_turn() -> bool {
    let mut stale_at = STALE_AT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_stale = stale_at.is_none_or(|at| at <= Instant::now());
    if is_stale {
        *stale_at = Some(Instant::now() + LONGEST);
    }
    is_stale
}

fn fresh_for(duration: Duration) {
    *STALE_AT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + duration);
}
