//! Processes are killed, frozen and started again.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use futures::future::{join_all, try_join_all};
use rand::RngExt as _;
use sqlx::Row as _;
use tokio::time::{Instant, sleep};

use super::Scene;
use crate::fleet::Fleet;
use crate::timing;

/// How long to wait for an API that has something to answer.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait until other workers have taken over from frozen ones.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(30);

/// The name of workers that were frozen while they held payments.
pub(super) const ZOMBIES: &str = "zombies";

/// How many seconds an id's time must be off the database's to count as another day's.
const ANOTHER_DAY_SECS: f64 = 40_000.0;

pub(super) async fn kill_a_worker(scene: &mut Scene<'_>) -> Result<()> {
    let which = scene.one_of(scene.fleet.workers.len());
    scene.pause_up_to(Duration::from_millis(30)).await;
    let lived = scene.fleet.workers[which].kill9().await;
    scene.fired("workers killed", lived.into());
    scene.fleet.workers[which].revive().await
}

/// Kills an API in mid-request, if one has requests under way soon.
pub(super) async fn kill_an_api(scene: &mut Scene<'_>) -> Result<()> {
    let which = scene.one_of(scene.fleet.apis.len());
    let deadline = Instant::now() + BUSY_PATIENCE;
    while scene.load.under_way(which) == 0 && Instant::now() < deadline {
        sleep(Duration::from_micros(200)).await;
    }
    let caught = scene.load.under_way(which);
    let lived = scene.fleet.apis[which].kill9().await;
    scene.fired("APIs killed", lived.into());
    scene.fired("requests under way at an API that was killed", caught.into());
    scene.fleet.apis[which].revive().await
}

pub(super) async fn kill_the_gateway(scene: &mut Scene<'_>) -> Result<()> {
    let lived = scene.fleet.gateway.kill9().await;
    scene.fired("gateways killed", lived.into());
    scene.pause_up_to(Duration::from_millis(500)).await;
    scene.fleet.gateway.revive().await
}

/// Freezes all workers but one, each while it holds payments. Once their leases are over and other workers
/// have what they held, it lets them go on.
pub(super) async fn make_zombies(scene: &mut Scene<'_>) -> Result<()> {
    let spared = scene.one_of(scene.fleet.workers.len());
    let deadline = Instant::now() + BUSY_PATIENCE;
    let mut awake: Vec<usize> = (0..scene.fleet.workers.len()).filter(|&number| number != spared).collect();
    let mut frozen = Vec::new();
    while !awake.is_empty() && Instant::now() < deadline {
        let busy = holders(scene.fleet).await?;
        let is_busy =
            |number: &usize| scene.fleet.workers[*number].pid().is_some_and(|pid| busy.contains(&pid));
        let (now, later): (Vec<usize>, Vec<usize>) = awake.into_iter().partition(is_busy);
        frozen.extend(now.into_iter().filter(|&number| scene.fleet.workers[number].freeze()));
        awake = later;
    }
    let held = holders(scene.fleet).await?;
    sleep(timing::LEASE).await;
    wait_until_taken_over(scene.fleet, &frozen).await?;
    let mut zombies = 0;
    for number in frozen {
        let worker = &mut scene.fleet.workers[number];
        let held_payments = worker.pid().is_some_and(|pid| held.contains(&pid));
        zombies += u64::from(worker.thaw() && held_payments);
    }
    scene.fired(ZOMBIES, zombies);
    Ok(())
}

/// Waits until none of these workers holds a payment any more. It gives up after a while, as what went on
/// without them is no reason to keep them frozen.
async fn wait_until_taken_over(fleet: &Fleet, frozen: &[usize]) -> Result<()> {
    let frozen: HashSet<u32> = frozen.iter().filter_map(|&number| fleet.workers[number].pid()).collect();
    let deadline = Instant::now() + TAKEOVER_PATIENCE;
    while !holders(fleet).await?.is_disjoint(&frozen) && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The processes that hold payments now.
async fn holders(fleet: &Fleet) -> Result<HashSet<u32>> {
    // A worker's name is payonce-<host>-<pid>-<random>, so its process number comes last but one.
    let pids: Vec<Option<String>> = sqlx::query_scalar(
        "select distinct substring(e.evidence->>'worker' from '-([0-9]+)-[^-]*$')
           from payments p
           join payment_events e on e.payment_id = p.id and e.version = p.version
          where p.due_at is not null and p.claim_token is not null",
    )
    .fetch_all(&fleet.pool)
    .await?;
    Ok(pids.into_iter().flatten().filter_map(|pid| pid.parse().ok()).collect())
}

/// Restarts all workers and APIs at once. Each is told to end, or is killed.
pub(super) async fn restart_all(scene: &mut Scene<'_>) -> Result<()> {
    let kills: Vec<bool> =
        (0..scene.plan.workers + scene.plan.apis).map(|_| scene.dice.random_bool(0.5)).collect();
    let processes = scene.fleet.workers.iter_mut().chain(&mut scene.fleet.apis).zip(&kills);
    let ended = processes.map(async |(process, &kill)| match kill {
        true => process.kill9().await,
        false => process.terminate().await,
    });
    let ended = join_all(ended).await.into_iter().filter(|&lived| lived).count();
    scene.fired("restarts", u64::try_from(ended)?);
    let all = scene.fleet.workers.iter_mut().chain(&mut scene.fleet.apis);
    try_join_all(all.map(|process| process.revive())).await.map(drop)
}

/// How many payments have an id whose time is of another day than the one on which the database
/// recorded them.
pub(super) async fn skewed_ids(fleet: &Fleet) -> Result<u64> {
    // The first 48 bits of an id are milliseconds since 1970.
    let row = sqlx::query(
        "select count(*) from payments
          where abs(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0
                    - extract(epoch from created_at)) > $1::float8",
    )
    .bind(ANOTHER_DAY_SECS)
    .fetch_one(&fleet.pool)
    .await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}
