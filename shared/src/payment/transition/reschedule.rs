//! The event `rescheduled`: due times that no wait of ours can have led to are pulled near.
//!
//! All times are the database's. If its clock was ahead for a moment, rows written meanwhile are due when
//! that time comes, and no worker looks before.
//!
//! Invariant: after a reconciliation no payment is due further away than any wait. No claim is given or taken
//! by that.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::decide::Policy;
use domain::ids::PaymentId;
use domain::status::EventType;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable, millis};
use crate::platform::metrics;
use crate::queue;
use crate::queue::schedule::SCHEDULES;

/// How far away a due time may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// The distance from now beyond which no wait of ours leads.
    pub too_far: Duration,
    /// How long a claim whose end was too far away lasts from now on.
    pub lease: Duration,
}

impl Waits {
    /// The limits for workers whose settings are not known.
    pub const UNKNOWN: Self = Self { too_far: Duration::from_hours(1), lease: Duration::from_mins(15) };

    /// The limits for workers that ask gateways by these policies.
    #[must_use]
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a Policy>, lease: Duration) -> Self {
        let too_far = policies.into_iter().map(|policy| policy.too_far(lease)).max();
        Self { too_far: too_far.unwrap_or(Self::UNKNOWN.too_far), lease }
    }
}

/// The rows that were pulled near.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rescheduled {
    /// The payments, and when each had been due.
    pub payments: Vec<(PaymentId, DateTime<Utc>)>,
    /// The number of jobs, of any queue.
    pub jobs: u64,
    /// The number of voids that breaks ask for.
    pub remedies: u64,
}

impl Rescheduled {
    /// How many rows there are in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.payments.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.jobs)
            .saturating_add(self.remedies)
    }
}

/// Pulls near what is due too far away, up to `limit` payments and jobs. Of payments the furthest come first.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn reschedule(pool: &PgPool, waits: Waits, limit: i64) -> sqlx::Result<Rescheduled> {
    let far = sqlx::query!(
        "select p.id, p.version
           from gateways g
          cross join lateral (
                select id, version, due_at from payments
                 where gateway = g.name and due_at > now() + $1::bigint * interval '1 millisecond'
                 order by due_at desc limit $2) p
          order by p.due_at desc limit $2",
        millis(waits.too_far),
        limit
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let ids: Vec<Uuid> = far.iter().map(|row| row.id).collect();
    let versions: Vec<i32> = far.iter().map(|row| row.version).collect();
    let jobs = queue::jobs_for(ids.iter().map(|&id| id.into()));
    let statement = sqlx::query_file!(
        "queries/payment_reschedule.sql",
        &ids,
        &versions,
        &jobs.ids,
        &jobs.bodies,
        millis(waits.too_far),
        millis(waits.lease),
        queue::PAYMENTS,
        SCHEDULES,
        limit
    )
    .fetch_all(pool)
    .in_time();
    let rows = durable("reschedule", statement).await?;
    let of_all = rows.first().map(|row| (row.jobs.unsigned_abs(), row.remedies.unsigned_abs()));
    let (jobs, remedies) = of_all.unwrap_or_default();
    let payments = rows.into_iter().filter_map(|row| Some((row.id?.into(), row.was_due_at?)));
    let done = Rescheduled { payments: payments.collect(), jobs, remedies };
    done.payments.iter().for_each(|_| metrics::event_written(EventType::Rescheduled.as_str()));
    let count = u64::try_from(done.payments.len()).unwrap_or(u64::MAX);
    metrics::rescheduled("payment", count);
    metrics::rescheduled("job", done.jobs);
    metrics::rescheduled("void", done.remedies);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_of_ours_is_too_far() {
        let policy = Policy {
            backoff_max: Duration::from_mins(20),
            verify_waits: vec![Duration::from_mins(30), Duration::from_secs(1)],
            ..Policy::default()
        };
        for lease in [Duration::from_secs(30), Duration::from_mins(40)] {
            let too_far = Waits::of([&policy], lease).too_far;
            assert!((1..=40).all(|n| policy.backoff(n) < too_far));
            assert!(policy.verify_waits.iter().all(|&wait| wait < too_far) && lease < too_far);
        }
        assert!(Waits::of([&Policy::default()], Duration::from_secs(30)).too_far < Waits::UNKNOWN.too_far);
    }
}
