//! The gauges: what stands in the database now, by one statement for each scrape.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use sqlx::PgPool;

use super::{
    BREAKS_OPEN, DEAD_LETTERS_OPEN, PAYMENTS_HELD, PAYMENTS_OPEN, PAYMENTS_OVERDUE, QUEUE_JOBS, QUEUE_OLDEST,
    RECONCILIATION_AGE,
};
use crate::breaks::KINDS;
use crate::queue;

/// Whoever scrapes more often sees the same numbers again: anybody may scrape, and the database has other work.
const FRESH: Duration = Duration::from_secs(1);

/// And where the backlog is so long that reading takes a while, at most one part in so many of the time goes into it.
const SHARE: u32 = 20;

/// No reading takes longer: by then whoever had the turn is gone.
const LONGEST: Duration = Duration::from_secs(10);

/// From when on the gauges are read again.
static STALE_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// What the database shows.
struct Now {
    pending: f64,
    processing: f64,
    overdue: f64,
    held: f64,
    jobs_waiting: f64,
    oldest_job_age: f64,
    reconciliation_age: f64,
    dead_letters_open: f64,
    /// How many breaks are open of each of [`KINDS`]; none where that could not be read.
    breaks_open: Option<Vec<f64>>,
}

impl Now {
    const UNKNOWN: Self = Self {
        pending: f64::NAN,
        processing: f64::NAN,
        overdue: f64::NAN,
        held: f64::NAN,
        jobs_waiting: f64::NAN,
        oldest_job_age: f64::NAN,
        reconciliation_age: f64::NAN,
        dead_letters_open: f64::NAN,
        breaks_open: None,
    };
}

/// Sets all gauges to what the database shows; to "not a number" where it does not answer, so that nobody takes the
/// past for the present.
pub(super) async fn refresh(pool: &PgPool) {
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
    gauge!(PAYMENTS_OVERDUE).set(now.overdue);
    gauge!(PAYMENTS_HELD).set(now.held);
    gauge!(QUEUE_JOBS).set(now.jobs_waiting);
    gauge!(QUEUE_OLDEST).set(now.oldest_job_age);
    gauge!(RECONCILIATION_AGE).set(now.reconciliation_age);
    gauge!(DEAD_LETTERS_OPEN).set(now.dead_letters_open);
    for (n, &(kind, _)) in KINDS.iter().enumerate() {
        let open = now.breaks_open.as_ref().and_then(|open| open.get(n)).copied();
        gauge!(BREAKS_OPEN, "kind" => kind).set(open.unwrap_or(f64::NAN));
    }
    fresh_for(fresh);
}

async fn read(pool: &PgPool) -> sqlx::Result<Now> {
    let kinds: Vec<String> = KINDS.iter().map(|&(kind, _)| kind.to_owned()).collect();
    sqlx::query_file_as!(Now, "queries/gauges.sql", queue::PAYMENTS, &kinds).fetch_one(pool).await
}

/// Whether the gauges are old enough to be read again; until they have been, everybody else is told no.
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
