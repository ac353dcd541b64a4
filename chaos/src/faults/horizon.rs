//! One session holds a snapshot while clients pay at an even rate. No dead row of the whole database can be
//! cleared meanwhile.
//!
//! Must hold: at the end payments take at most twice as long as in the beginning, and at least 95 in 100 as
//! many are settled.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use shared::operations::horizon;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, FromRow, PgConnection};

use super::Scene;
use crate::till;

/// How many times as long 95 in 100 payments may take at the end.
const SLOWER_AT_MOST: i64 = 2;
/// How much of the first tenth's throughput must be left at the end, in hundredths.
const LEFT_AT_LEAST: i64 = 95;
/// How much of the wanted rate must be settled in the first tenth, in hundredths. With less, the machine is
/// measured, and not the snapshot.
const KEEPS_UP: i64 = 90;

/// The payments of a tenth of the time.
#[derive(Debug, FromRow)]
struct Tenth {
    /// The time from acceptance to the end that 95 in 100 payments stay within, in microseconds.
    p95_us: i64,
    /// How many payments ended in it.
    settled: i64,
}

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let tenth = scene.plan.duration.unwrap_or_default() / 10;
    let mut session = hold(&scene.fleet.database_url()).await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await?;
    let from = till::now(&scene.fleet.pool).await?;
    scene.load.reach(1.0).await?;
    let to = till::now(&scene.fleet.pool).await?;

    let seen = horizon::read(&scene.fleet.pool).await?;
    let held = seen.holders.iter().find(|it| it.pid == Some(pid));
    ensure!(held.is_some(), "the snapshot was not held to the end: {seen:?}");
    scene.fired("snapshots held", 1);
    scene.measured("transactions begun since", held.map_or(0, |it| it.age_transactions.unsigned_abs()));
    scene.measured("dead rows of payments at the end", seen.dead_rows[0].unsigned_abs());
    scene.measured("dead rows of jobs at the end", seen.dead_rows[1].unsigned_abs());
    sqlx::query("rollback").execute(&mut session).await?;
    let first = read(&mut session, from, from + tenth).await?;
    let last = read(&mut session, to - tenth, to).await?;
    let size = "select pg_database_size(current_database()) / 1000000";
    let size: i64 = sqlx::query_scalar(size).fetch_one(&mut session).await?;
    session.close().await?;
    scene.measured("MB of the database at the end", size.unsigned_abs());
    judge(scene, &first, &last, tenth);
    Ok(())
}

/// A session that has read, and does nothing more, as a dump or a forgotten terminal does.
async fn hold(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)?.application_name("payonce chaos, a held snapshot");
    let mut session =
        PgConnection::connect_with(&options).await.context("cannot connect to hold a snapshot")?;
    let hold = "begin isolation level repeatable read; select from payments limit 1";
    sqlx::raw_sql(hold).execute(&mut session).await?;
    Ok(session)
}

/// The payments that were accepted, and those that ended, in that time. It reads the whole table, after
/// the measurement.
async fn read(session: &mut PgConnection, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Tenth> {
    let read = sqlx::query_as(
        "select coalesce(percentile_cont(0.95) within group (order by extract(epoch from terminal_at - created_at)::float8)
                             filter (where created_at >= $1 and created_at < $2) * 1000000, 0)::bigint as p95_us,
                count(*) filter (where terminal_at >= $1 and terminal_at < $2) as settled
           from payments",
    );
    Ok(read.bind(from).bind(to).fetch_one(session).await?)
}

fn judge(scene: &mut Scene<'_>, first: &Tenth, last: &Tenth, tenth: Duration) {
    for (which, it) in [("first tenth", first), ("last tenth", last)] {
        let (settled, took_ms) =
            (it.settled.unsigned_abs(), shared::database::millis(tenth).max(1).unsigned_abs());
        scene.measured(format!("{which}: p95 in µs from accepted to ended"), it.p95_us.unsigned_abs());
        scene.measured(format!("{which}: settled a second"), settled * 1000 / took_ms);
    }
    // In a short run the machine would be measured.
    if scene.plan.is_short {
        return;
    }
    let wanted = i64::from(scene.plan.rate.unwrap_or_default()) * shared::database::millis(tenth) / 1000;
    scene.demand(first.settled * 100 >= wanted * KEEPS_UP, || {
        "the machine does not settle as many a second as --rate asks for, even before much is held: take half of what make \
         bench-quick settles"
            .to_owned()
    });
    scene.demand(last.p95_us <= first.p95_us * SLOWER_AT_MOST, || {
        format!(
            "95 in 100 payments took {} µs in the last tenth, and {} in the first",
            last.p95_us, first.p95_us
        )
    });
    scene.demand(last.settled * 100 >= first.settled * LEFT_AT_LEAST, || {
        format!("{} payments ended in the last tenth, and {} in the first", last.settled, first.settled)
    });
}
