//! Puts queue rows right that the queue itself leaves wrong. Each statement may be repeated, and takes a
//! batch.
//!
//! A job is only a hint. So ending one that should live, or running one that should not, costs a payment
//! nothing but time. Only rows that have been wrong for a while are looked at: what is on its way is left
//! alone.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgPool;
use ulid::Ulid;
use uuid::Uuid;

use super::{ORPHANED_AFTER, PAYMENTS, PaymentJob, jobs_for};
use crate::database::{durable, millis};
use crate::platform::metrics;
use domain::dead_letter::Class;

/// The time after which a job is lost. No job takes so long, and the queue itself had its chance.
const LOST_AFTER: Duration = ORPHANED_AFTER.saturating_mul(2);

/// A row that has been due for this time is in nobody's hands.
pub const OVERDUE_AFTER: Duration = Duration::from_mins(1);

/// The result of one repair.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repaired {
    /// How many rows were looked at.
    pub checked: i64,
    /// How many of these were wrong.
    pub found: i64,
    /// How many of these are right now.
    pub repaired: i64,
}

/// Gives a job to payments that have been due for [`OVERDUE_AFTER`] without a live one, up to `limit` of each
/// gateway, oldest first. Where a
/// worker runs, the sweep would take them all the same.
///
/// # Errors
/// Returns the database's error.
pub async fn overdue_payments(pool: &PgPool, limit: i64) -> sqlx::Result<Repaired> {
    let overdue = sqlx::query!(
        "select p.id, p.version,
                exists (select from apalis.jobs j
                         where j.job_type = $3 and j.idempotency_key = p.id || ':' || p.version
                           and (j.status in ('Pending', 'Queued', 'Running')
                                or j.status = 'Failed' and j.attempts < j.max_attempts)) as \"has_job!\"
           from gateways g
          cross join lateral (
                select id, version, due_at from payments
                 where gateway = g.name and due_at < now() - $1::bigint * interval '1 millisecond'
                 order by due_at limit $2) p",
        millis(OVERDUE_AFTER),
        limit,
        PAYMENTS
    )
    .fetch_all(pool)
    .await?;
    let jobless: Vec<_> = overdue.iter().filter(|row| !row.has_job).collect();
    let ids: Vec<Uuid> = jobless.iter().map(|row| row.id).collect();
    let versions: Vec<i32> = jobless.iter().map(|row| row.version).collect();
    let jobs = jobs_for(ids.iter().map(|&id| id.into()));
    let statement = sqlx::query!(
        "insert into apalis.jobs as j (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata,
                                       idempotency_key)
         select n.job_id, $5, job_for(n.job, p.gateway), 'Pending', 0, 1, now(), 0, ''::hstore, p.id || ':' || p.version
           from unnest($1::uuid[], $2::int[], $3::text[], $4::bytea[]) as n (id, version, job_id, job)
           join payments p on p.id = n.id and p.version = n.version
             on conflict (job_type, idempotency_key) do update
            set status = 'Pending', attempts = 0, run_at = now(), lock_by = null, lock_at = null, done_at = null,
                last_result = null
          where j.status in ('Done', 'Failed', 'Killed')",
        &ids,
        &versions,
        &jobs.ids,
        &jobs.bodies,
        PAYMENTS
    )
    .execute(pool);
    let repaired = durable("overdue", statement).await?.rows_affected();
    Ok(Repaired { checked: count(overdue.len()), found: count(jobless.len()), repaired: count(repaired) })
}

/// Takes back jobs that a worker got and never finished. A job that is lost for the first time is delivered
/// again. The second time it ends, as it may be what kills the workers. It is then parked, unless its payment
/// has ended.
///
/// # Errors
/// Returns the database's error.
pub async fn lost_jobs(pool: &PgPool, limit: i64) -> sqlx::Result<Repaired> {
    let statement = sqlx::query!(
        "with in_flight as materialized (
             select id, attempts > max_attempts
                        or lock_at is null
                        or lock_at not between clock_timestamp() - $1::bigint * interval '1 millisecond'
                                       and clock_timestamp() + $1 * interval '1 millisecond' as is_lost
               from apalis.jobs
              where status in ('Queued', 'Running')),
         lost as materialized (
             select id from apalis.jobs
              where id in (select id from in_flight where is_lost limit $2) and status in ('Queued', 'Running')
                for update skip locked),
         repaired as (
             update apalis.jobs j
                set status = case when attempts < max_attempts then 'Pending' else 'Killed' end,
                    attempts = attempts + 1,
                    done_at = case when attempts < max_attempts then null else clock_timestamp() end,
                    last_result = jsonb_build_object('Err', 'the worker that had it was lost'),
                    lock_by = null,
                    lock_at = null
               from lost
              where j.id = lost.id
             returning j.id, j.job_type, j.idempotency_key, j.job, j.status),
         parked as (
             insert into dead_letters (class, queue, job_id, job_key, job, error, parked_at)
             select $3, job_type, id, idempotency_key, job, 'each worker that had it was lost', clock_timestamp()
               from repaired r
              where status = 'Killed'
                and not exists (select from payments p
                                 where p.id = case when r.idempotency_key ~ '^[0-9a-f-]{36}:'
                                                   then left(r.idempotency_key, 36)::uuid end
                                   and p.terminal_at is not null)
                 on conflict do nothing
             returning id)
         select (select count(*) from in_flight) as \"checked!\",
                (select count(*) from in_flight where is_lost) as \"found!\",
                (select count(*) from repaired) as \"repaired!\",
                (select count(*) from parked) as \"parked!\"",
        millis(LOST_AFTER),
        limit,
        Class::RetryExhausted.as_str()
    )
    .fetch_one(pool);
    let row = durable("lost_jobs", statement).await?;
    metrics::buried(Class::RetryExhausted, row.parked.unsigned_abs());
    Ok(Repaired { checked: row.checked, found: row.found, repaired: row.repaired })
}

/// Ends and parks jobs that wait in vain. Such a job says nothing readable, is about no payment, or was
/// delivered more often than it may be. An unreadable id even keeps the queue from everything else. The
/// oldest come first, among those that should have run [`OVERDUE_AFTER`] ago.
///
/// # Errors
/// Returns the database's error.
pub async fn stray_jobs(pool: &PgPool, limit: i64) -> sqlx::Result<Repaired> {
    let waiting = sqlx::query!(
        "select id, job, attempts > max_attempts as \"is_worn!\"
           from apalis.jobs
          where job_type = $1
            and (status = 'Pending' or status = 'Failed' and attempts < max_attempts)
            and run_at < clock_timestamp() - $2::bigint * interval '1 millisecond'
          order by priority desc, run_at
          limit $3",
        PAYMENTS,
        millis(OVERDUE_AFTER),
        limit
    )
    .fetch_all(pool)
    .await?;
    let payment_of =
        |job: &[u8]| serde_json::from_slice::<PaymentJob>(job).ok().map(|job| job.payment_id.uuid());
    let named: Vec<Uuid> = waiting.iter().filter_map(|row| payment_of(&row.job)).collect();
    let known: HashMap<Uuid, bool> = sqlx::query!(
        "select id, terminal_at is not null as \"is_over!\" from payments where id = any($1)",
        &named
    )
    .fetch_all(pool)
    .await?
    .into_iter()
    .map(|row| (row.id, row.is_over))
    .collect();
    let stray: Vec<(&str, Stray)> = waiting
        .iter()
        .filter_map(|row| {
            let payment = payment_of(&row.job).map(|id| known.get(&id).copied());
            Some((row.id.as_str(), Stray::of(&row.id, payment, row.is_worn)?))
        })
        .collect();
    let ended = end(pool, &stray).await?;
    Ok(Repaired { checked: count(waiting.len()), found: count(stray.len()), repaired: count(ended) })
}

/// What is wrong with a job that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stray {
    UnreadableId,
    UnreadableBody,
    NoSuchPayment,
    Worn,
    /// The same as `Worn`, but its payment has ended, and nothing is lost with it.
    WornInVain,
}

impl Stray {
    /// Judges a job. `payment` is none if the body names none, else whether the payment exists, and whether
    /// it is over.
    fn of(id: &str, payment: Option<Option<bool>>, is_worn: bool) -> Option<Self> {
        match payment {
            _ if Ulid::from_string(id).is_err() => Some(Self::UnreadableId),
            None => Some(Self::UnreadableBody),
            Some(None) => Some(Self::NoSuchPayment),
            Some(Some(is_over)) if is_worn => Some(if is_over { Self::WornInVain } else { Self::Worn }),
            Some(Some(_)) => None,
        }
    }

    const fn class(self) -> Option<Class> {
        match self {
            Self::UnreadableId | Self::UnreadableBody | Self::NoSuchPayment => Some(Class::NonRetryable),
            Self::Worn => Some(Class::RetryExhausted),
            Self::WornInVain => None,
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Self::UnreadableId => "its id cannot be read",
            Self::UnreadableBody => "the body cannot be read",
            Self::NoSuchPayment => "there is no such payment",
            Self::Worn | Self::WornInVain => "each worker that had it was lost",
        }
    }
}

/// Ends these jobs, and parks those that have a class, in one statement.
async fn end(pool: &PgPool, stray: &[(&str, Stray)]) -> sqlx::Result<u64> {
    let ids: Vec<String> = stray.iter().map(|(id, _)| (*id).to_owned()).collect();
    let classes: Vec<Option<String>> =
        stray.iter().map(|(_, it)| it.class().map(|class| class.as_str().to_owned())).collect();
    let whys: Vec<String> = stray.iter().map(|(_, it)| it.why().to_owned()).collect();
    let statement = sqlx::query!(
        "with ended as (
             update apalis.jobs j
                set status = 'Killed', done_at = clock_timestamp(), last_result = jsonb_build_object('Err', s.why)
               from unnest($1::text[], $2::text[], $3::text[]) as s (id, class, why)
              where j.id = s.id and j.status in ('Pending', 'Failed')
             returning j.id, j.job_type, j.idempotency_key, j.job, s.class, s.why),
         parked as (
             insert into dead_letters (class, queue, job_id, job_key, job, error, parked_at)
             select class, job_type, id, idempotency_key, job, why, clock_timestamp() from ended where class is not null
                 on conflict do nothing
             returning class)
         select (select count(*) from ended) as \"ended!\",
                (select count(*) from parked where class = $4) as \"non_retryable!\",
                (select count(*) from parked where class = $5) as \"retry_exhausted!\"",
        &ids,
        &classes as &[Option<String>],
        &whys,
        Class::NonRetryable.as_str(),
        Class::RetryExhausted.as_str()
    )
    .fetch_one(pool);
    let ended = durable("stray_jobs", statement).await?;
    metrics::buried(Class::NonRetryable, ended.non_retryable.unsigned_abs());
    metrics::buried(Class::RetryExhausted, ended.retry_exhausted.unsigned_abs());
    Ok(ended.ended.unsigned_abs())
}

fn count(rows: impl TryInto<i64>) -> i64 {
    rows.try_into().unwrap_or(i64::MAX)
}
