//! When the gateway was away, as each worker found: what workers tell each other, and the time that deadlines
//! do not count.
//!
//! Invariant: a worker writes its own rows only. A worker's word decides nothing for another, since often the
//! way there is what is broken: it makes the other look for itself. The outage of a worker that died ends
//! with its last word.

use std::time::{Duration, Instant};

use domain::ids::GatewayName;
use domain::outcome::FailureKind;
use sqlx::PgPool;

use crate::database::{InTime as _, millis};

/// A worker with an open breaker that has said nothing for this time is gone.
pub const SILENT_AFTER: Duration = Duration::from_secs(60);

/// Writes down that this worker's breaker for a gateway has been open for `since`.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn is_open(
    pool: &PgPool,
    (gateway, worker): (&GatewayName, &str),
    reason: FailureKind,
    since: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into gateway_outages (gateway, worker, began_at, touched_at, reason)
         select $1, $2, at - $4::bigint * interval '1 millisecond', at, $3 from (select clock_timestamp() as at) as now
             on conflict (gateway, worker) where ended_at is null
             do update set touched_at = excluded.touched_at, reason = excluded.reason",
        gateway.as_str(),
        worker,
        reason.as_str(),
        millis(since)
    )
    .execute(pool)
    .in_time()
    .await
    .map(drop)
}

/// Writes down that this worker's breaker for a gateway is closed again.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn is_over(pool: &PgPool, (gateway, worker): (&GatewayName, &str)) -> sqlx::Result<()> {
    sqlx::query!(
        "update gateway_outages set ended_at = clock_timestamp(), touched_at = clock_timestamp()
          where gateway = $1 and worker = $2 and ended_at is null",
        gateway.as_str(),
        worker
    )
    .execute(pool)
    .in_time()
    .await
    .map(drop)
}

/// The words of the other workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Others {
    /// How many of them are alive and have their breaker open.
    pub open: i64,
    /// How many outages they found.
    pub outages: i64,
    /// How many of these outages are over.
    pub over: i64,
}

/// The words of the other workers about a gateway in the last hour.
///
/// # Errors
/// Returns the database's error.
pub async fn of_others(pool: &PgPool, (gateway, worker): (&GatewayName, &str)) -> sqlx::Result<Others> {
    sqlx::query_as!(
        Others,
        "select count(*) filter (where ended_at is null
                                   and touched_at > clock_timestamp() - $3::bigint * interval '1 millisecond') as \"open!\",
                count(*) as \"outages!\", count(*) filter (where ended_at is not null) as \"over!\"
           from gateway_outages
          where gateway = $1 and worker <> $2 and touched_at > clock_timestamp() - interval '1 hour'",
        gateway.as_str(),
        worker,
        millis(SILENT_AFTER)
    )
    .fetch_one(pool)
    .in_time()
    .await
}

/// Deletes outages whose last word is more than `days` old. No deadline looks back that far.
///
/// # Errors
/// Returns the database's error.
pub async fn forget(pool: &PgPool, days: i32) -> sqlx::Result<u64> {
    let statement = sqlx::query!(
        "delete from gateway_outages where touched_at < clock_timestamp() - make_interval(days => $1)",
        days
    );
    Ok(statement.execute(pool).in_time().await?.rows_affected())
}

/// The time in which the gateway was away, in milliseconds from this worker's start. It has what all workers
/// found before, and what this one has found since.
#[derive(Debug)]
pub struct Outages {
    started: Instant,
    /// The beginnings and ends in order, none touching another. The last one has no end while it lasts.
    away: Vec<(i64, Option<i64>)>,
}

impl Outages {
    /// The outages of a gateway that all workers found before now.
    ///
    /// # Errors
    /// Returns the database's error.
    pub async fn before_now(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<Self> {
        let rows = sqlx::query!(
            "select (extract(epoch from began_at - clock_timestamp()) * 1000)::bigint as \"began!\",
                    (extract(epoch from coalesce(ended_at, touched_at) - clock_timestamp()) * 1000)::bigint as \"ended!\"
               from gateway_outages
              where gateway = $1
              order by began_at",
            gateway.as_str()
        )
        .fetch_all(pool)
        .in_time()
        .await?;
        Ok(Self::of(Instant::now(), rows.into_iter().map(|row| (row.began, row.ended.min(0)))))
    }

    /// These outages, in the order of their beginnings, in milliseconds from `started`.
    fn of(started: Instant, outages: impl Iterator<Item = (i64, i64)>) -> Self {
        let mut away: Vec<(i64, Option<i64>)> = Vec::new();
        for (began, ended) in outages {
            match away.last_mut() {
                Some((_, Some(last))) if *last >= began => *last = ended.max(*last),
                _ => away.push((began, Some(ended))),
            }
        }
        Self { started, away }
    }

    /// Notes that the gateway is away from now on. A repetition changes nothing.
    pub fn began(&mut self, now: Instant) {
        if self.away.last().is_none_or(|(_, ended)| ended.is_some()) {
            self.away.push((self.since_start(now), None));
        }
    }

    /// Notes that the gateway is back. A repetition changes nothing.
    pub fn ended(&mut self, now: Instant) {
        let now = self.since_start(now);
        if let Some((_, ended @ None)) = self.away.last_mut() {
            *ended = Some(now);
        }
    }

    /// The part of `age`, up to `now`, in which the gateway was there.
    #[must_use]
    pub fn without(&self, age: Duration, now: Instant) -> Duration {
        let to = self.since_start(now);
        let from = to.saturating_sub(millis(age));
        let away: i64 = self
            .away
            .iter()
            .rev()
            .take_while(|(_, ended)| ended.is_none_or(|ended| ended > from))
            .map(|(began, ended)| (ended.unwrap_or(to).min(to) - (*began).max(from)).max(0))
            .sum();
        age.saturating_sub(Duration::from_millis(away.unsigned_abs()))
    }

    fn since_start(&self, now: Instant) -> i64 {
        millis(now.saturating_duration_since(self.started))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn time_in_which_the_gateway_was_away_does_not_count() {
        let start = Instant::now();
        let mut outages =
            Outages::of(start, [(-5_000, -4_000), (-4_500, -3_000), (-2_000, -1_000)].into_iter());
        outages.began(start + ms(1_000));
        outages.began(start + ms(1_500));
        assert_eq!(outages.without(ms(10_000), start), ms(7_000));
        assert_eq!(outages.without(ms(3_500), start), ms(2_000));
        assert_eq!(outages.without(ms(1_000), start + ms(2_500)), ms(0), "it is away now");
        outages.ended(start + ms(3_000));
        outages.ended(start + ms(9_000));
        assert_eq!(outages.without(ms(1_000), start + ms(2_500)), ms(0));
        assert_eq!(outages.without(ms(4_000), start + ms(4_000)), ms(2_000));
        assert_eq!(outages.without(ms(500), start + ms(9_000)), ms(500));
        assert_eq!(outages.without(Duration::MAX, start), Duration::MAX - ms(3_000));
    }
}
