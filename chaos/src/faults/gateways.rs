//! Two gateways, each with a merchant of its own. One of them is killed, or frozen, and a worker with it,
//! while both merchants pay. Then it is back, and it is the other one's turn.
//!
//! Must hold: the payments of the other gateway succeed at their first attempt, as if nothing were. What
//! waits for the gateway that is away spends no try by connections that are refused, and ends well once it is
//! back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::Scene;
use crate::process::Process;
use crate::till::{self, Lot, Sold};

/// The number of payments of each merchant while a gateway is away, and the time from one to the next.
struct Times {
    payments: u32,
    pause: Duration,
    rounds: u32,
}

const FULL: Times = Times { payments: 400, pause: Duration::from_millis(25), rounds: 10 };
const SHORT: Times = Times { payments: 15, pause: Duration::from_millis(20), rounds: 1 };

/// In full, how many times as long the other merchant's payments may take as while both gateways are well,
/// and what a machine that is busy may add.
const SLOWER_AT_MOST: f64 = 1.5;
const BUSY: f64 = 50.0;

/// How a gateway is away.
#[derive(Debug, Clone, Copy)]
enum Away {
    Killed,
    Frozen,
}

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let times = if scene.plan.is_short { SHORT } else { FULL };
    let well = pay(scene, &times).await?;
    scene.load.all_ended().await?;
    let usual: Vec<f64> = both(scene, well).await?.iter().map(|sold| sold.p95_ms as f64).collect();
    for round in 0..times.rounds {
        for away in [Away::Killed, Away::Frozen] {
            for shop in [0, 1] {
                outage(scene, &times, (shop, away), round.is_multiple_of(2), &usual).await?;
            }
        }
    }
    Ok(())
}

/// One gateway is away while both merchants pay, and comes back.
async fn outage(
    scene: &mut Scene<'_>,
    times: &Times,
    (shop, away): (usize, Away),
    kills_a_worker: bool,
    usual: &[f64],
) -> Result<()> {
    let other = 1 - shop;
    let gateway = gateway_of(scene, shop)?;
    let struck = match away {
        Away::Killed => gateway.kill9().await,
        Away::Frozen => gateway.freeze(),
    };
    scene.fired("gateways of two killed or frozen", struck.into());
    let from = pay(scene, times).await?;
    if kills_a_worker {
        let which = scene.one_of(scene.fleet.workers.len());
        let lived = scene.fleet.workers[which].kill9().await;
        scene.fired("workers killed", lived.into());
        scene.fleet.workers[which].revive().await?;
    }
    let (pool, merchant) = (scene.fleet.pool.clone(), scene.fleet.merchants.get(other).copied());
    let lot = Lot { merchant, from, to: till::now(&pool).await? };
    till::until("the other gateway's payments to end", async || {
        let sold = lot.read(&pool).await?;
        Ok(sold.succeeded == sold.payments)
    })
    .await?;
    let untouched = lot.read(&pool).await?;
    scene.demand(untouched.payments > 0 && untouched.retries_spent == 0, || {
        format!("{away:?}: the other gateway's payments felt it: {untouched:?}")
    });
    let most = usual.get(other).copied().unwrap_or_default() * SLOWER_AT_MOST + BUSY;
    // In a short run the machine would be measured. What a killed worker had in hand waits for its lease.
    scene.demand(scene.plan.is_short || kills_a_worker || untouched.p95_ms as f64 <= most, || {
        format!(
            "{away:?}: 95 in 100 of the other gateway's took {} ms, and {most} are allowed",
            untouched.p95_ms
        )
    });
    let gateway = gateway_of(scene, shop)?;
    gateway.thaw();
    gateway.revive().await?;
    scene.load.all_ended().await?;
    for sold in both(scene, from).await? {
        scene.demand(sold.succeeded == sold.payments, || {
            format!("{away:?}: all must have succeeded: {sold:?}")
        });
    }
    Ok(())
}

/// Both merchants pay, one payment after the other. Answers since when.
async fn pay(scene: &Scene<'_>, times: &Times) -> Result<chrono::DateTime<chrono::Utc>> {
    let from = till::now(&scene.fleet.pool).await?;
    for _ in 0..times.payments {
        scene.load.buy(0, "sim_ok");
        scene.load.buy(1, "sim_ok");
        sleep(times.pause).await;
    }
    Ok(from)
}

/// What became of each merchant's payments since then.
async fn both(scene: &Scene<'_>, from: chrono::DateTime<chrono::Utc>) -> Result<Vec<Sold>> {
    let to = till::now(&scene.fleet.pool).await?;
    let mut sold = Vec::new();
    for merchant in &scene.fleet.merchants {
        sold.push(Lot { merchant: Some(*merchant), from, to }.read(&scene.fleet.pool).await?);
    }
    Ok(sold)
}

/// The gateway of a merchant.
fn gateway_of<'a>(scene: &'a mut Scene<'_>, shop: usize) -> Result<&'a mut Process> {
    match shop {
        0 => Ok(&mut scene.fleet.gateway),
        _ => scene.fleet.second.as_mut().context("there is no second gateway"),
    }
}
