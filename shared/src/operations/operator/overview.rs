//! How the whole stands, in a few numbers.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::database::millis;
use crate::gateway::outage::SILENT_AFTER;
use crate::operations::horizon::{self, Holder};
use crate::queue;

/// How the whole stands at one moment.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The moment, by the database's clock.
    pub at: DateTime<Utc>,
    /// Why nothing is accepted; none while payments are accepted.
    pub closed: Option<String>,
    /// Whether claims are allowed.
    pub may_claim: bool,
    /// The last payments that came in, by status or `held`: at most [`LATEST`] of them.
    pub latest: Vec<(String, i64)>,
    /// Payments on their way: not over, and not held.
    pub under_way: Capped,
    /// Those of them that were due a while ago and that no worker took.
    pub overdue: Capped,
    /// Gateways that a worker finds away, with the first reason, and since when.
    pub away: Vec<Away>,
    /// When the first of the payments on their way was due.
    pub first_due_at: Option<DateTime<Utc>>,
    /// When the oldest of them came in.
    pub oldest_created_at: Option<DateTime<Utc>>,
    /// Payments that wait for a person.
    pub held: Capped,
    /// Payments that wait for a person before they are charged.
    pub open_reviews: Capped,
    /// Refunds that wait for a person.
    pub held_refunds: Capped,
    /// Contradictions that are not closed.
    pub open_breaks: Capped,
    /// Dead letters that are not closed.
    pub open_letters: Capped,
    /// Jobs that wait for a worker.
    pub jobs_waiting: Capped,
    /// Those of them whose time has come.
    pub jobs_due: Capped,
    /// Workers that the queue heard of lately.
    pub workers: i64,
    /// When the books were last compared.
    pub reconciled_at: Option<DateTime<Utc>>,
    /// The holder that has kept dead rows from being cleared for longest; none if none can be seen.
    pub holder: Option<Holder>,
}

/// A gateway that a worker finds away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// The gateway's name.
    pub gateway: String,
    /// What the first of the workers found: a kind of failure.
    pub reason: String,
    /// When that worker found it.
    pub since: DateTime<Utc>,
    /// How many workers find so.
    pub workers: i64,
}

/// How many of the last payments are counted by status.
pub const LATEST: i64 = 10_000;
/// The number up to which rows are counted.
const CAP: i64 = 10_000;
/// How long a due payment may be on its way to a worker; the sweep looks twice a second.
const OVERDUE_MS: i64 = 10_000;

/// A number of rows, counted up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capped(i64);

impl Capped {
    /// Whether there are no rows.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether there is exactly one row.
    #[must_use]
    pub const fn is_one(self) -> bool {
        self.0 == 1
    }
}

impl std::fmt::Display for Capped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < CAP { write!(f, "{}", self.0) } else { write!(f, "{CAP}+") }
    }
}

/// How the whole stands now.
///
/// # Errors
/// Returns the database's error.
pub async fn overview(pool: &PgPool) -> sqlx::Result<Overview> {
    let latest = sqlx::query!(
        "select state as \"state!\", count(*) as \"count!\"
           from (select case when held_reason is null then status else 'held' end as state
                   from payments order by id desc limit $1) as latest
          group by state",
        LATEST
    )
    .fetch_all(pool)
    .await?;
    let doors = sqlx::query!("select must_restore, may_claim() as \"may_claim!\" from installation");
    let doors = doors.fetch_one(pool).await?;
    let under_way = sqlx::query!(
        "select least(count(*), $1) as \"count!\",
                least(count(*) filter (where alive.due_at < clock_timestamp() - $2::bigint * interval '1 millisecond'), $1) as \"overdue!\",
                min(alive.due_at) as first_due_at, min(alive.created_at) as oldest_created_at, clock_timestamp() as \"at!\"
           from gateways g
          cross join lateral (
                select due_at, created_at from payments
                 where gateway = g.name and due_at is not null order by due_at limit $1) as alive",
        CAP,
        OVERDUE_MS
    )
    .fetch_one(pool)
    .await?;
    let person = sqlx::query!(
        "select (select count(*) from (select from payments where held_reason is not null limit $1) as held) as \"held!\",
                (select count(*) from (select from reviews where status = 'open' limit $1) as open) as \"reviews!\",
                (select count(*) from (select from operations where held_reason is not null limit $1) as held) as \"refunds!\"",
        CAP
    )
    .fetch_one(pool)
    .await?;
    let open_breaks = sqlx::query_scalar!(
        "select count(*) as \"count!\" from (select from breaks where closed_at is null limit $1) as open",
        CAP
    )
    .fetch_one(pool)
    .await?;
    let open_letters = sqlx::query_scalar!(
        "select count(*) as \"count!\" from (select from dead_letters where closed_at is null limit $1) as open",
        CAP
    )
    .fetch_one(pool)
    .await?;
    let (jobs_waiting, jobs_due) = jobs(pool).await?;
    Ok(Overview {
        closed: doors.must_restore,
        may_claim: doors.may_claim,
        at: under_way.at,
        latest: latest.into_iter().map(|row| (row.state, row.count)).collect(),
        under_way: Capped(under_way.count),
        overdue: Capped(under_way.overdue),
        away: away(pool).await?,
        first_due_at: under_way.first_due_at,
        oldest_created_at: under_way.oldest_created_at,
        held: Capped(person.held),
        open_reviews: Capped(person.reviews),
        held_refunds: Capped(person.refunds),
        open_breaks: Capped(open_breaks),
        open_letters: Capped(open_letters),
        jobs_waiting,
        jobs_due,
        workers: workers(pool).await?,
        reconciled_at: reconciled_at(pool).await?,
        holder: horizon::read(pool).await?.holders.into_iter().next(),
    })
}

/// How many jobs wait for a worker, and of how many of them the time has come.
async fn jobs(pool: &PgPool) -> sqlx::Result<(Capped, Capped)> {
    let jobs = sqlx::query!(
        "select count(*) as \"waiting!\", count(*) filter (where run_at <= clock_timestamp()) as \"due!\"
           from (select run_at from apalis.jobs where job_type = $2 and status = 'Pending' limit $1) as waiting",
        CAP,
        queue::PAYMENTS
    )
    .fetch_one(pool)
    .await?;
    Ok((Capped(jobs.waiting), Capped(jobs.due)))
}

async fn away(pool: &PgPool) -> sqlx::Result<Vec<Away>> {
    sqlx::query_as!(
        Away,
        "select gateway, (array_agg(reason order by began_at))[1] as \"reason!\", min(began_at) as \"since!\",
                count(*) as \"workers!\"
           from gateway_outages
          where ended_at is null and touched_at > clock_timestamp() - $1::bigint * interval '1 millisecond'
          group by gateway order by gateway limit $2",
        millis(SILENT_AFTER),
        CAP
    )
    .fetch_all(pool)
    .await
}

async fn workers(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select count(*) as \"count!\"
           from (select from apalis.workers
                  where worker_type = $1 and last_seen > clock_timestamp() - $2::bigint * interval '1 second'
                  limit $3) as alive",
        queue::PAYMENTS,
        i64::try_from(queue::ORPHANED_AFTER.as_secs()).unwrap_or(i64::MAX),
        CAP
    )
    .fetch_one(pool)
    .await
}

async fn reconciled_at(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select finished_at as \"finished_at!\" from reconciliation_runs
          where finished_at is not null order by id desc limit 1"
    )
    .fetch_optional(pool)
    .await
}
