//! The gateway stays silent about some payments of one merchant, and about nothing else.
//!
//! Must hold: another merchant's payments take no longer for that. A breaker that opens by such a silence, or
//! silent payments that have every call, show in how long the others take, or in that nothing ends any more.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::{Scene, gateway};
use crate::load::Load;
use crate::till::{self, Lot, Sold};

const HEALTHY: usize = 0;
const SILENT: usize = 1;

/// In full, how many times as long the others may take with silence as without.
const SLOWER_AT_MOST: f64 = 1.5;

/// Payments a second of the merchant that the gateway answers, and for how long. `silent` says how many
/// silent ones come meanwhile, round by round.
struct Act {
    rate: u32,
    lasts: Duration,
    silent: &'static [u32],
}

const FULL: [Act; 2] = [
    Act { rate: 10, lasts: Duration::from_secs(60), silent: &[1, 10, 500] },
    Act { rate: 100, lasts: Duration::from_secs(60), silent: &[500] },
];

const SHORT: [Act; 1] = [Act { rate: 20, lasts: Duration::from_secs(2), silent: &[41] }];

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let acts: &[Act] = if scene.plan.is_short { &SHORT } else { &FULL };
    if !scene.plan.is_short {
        // Slow, as a distant gateway is. Beside that, the times of the machine and the sweep are small.
        gateway::answer_slowly(scene.fleet).await?;
    }
    for act in acts {
        let without = round(scene, act, 0).await?;
        for &silent in act.silent {
            let with = round(scene, act, silent).await?;
            let slower_at_most = without.p95_ms as f64 * SLOWER_AT_MOST;
            // In a short run the machine would be measured.
            scene.demand(scene.plan.is_short || with.p95_ms as f64 <= slower_at_most, || {
                format!(
                    "at {} payments a second, 95 in 100 took {} ms without silence and {} ms with {silent} silent ones",
                    act.rate, without.p95_ms, with.p95_ms
                )
            });
        }
    }
    Ok(())
}

/// Makes one round, to the end of all its payments. Answers how the payments ended that the gateway answers.
async fn round(scene: &mut Scene<'_>, Act { rate, lasts, .. }: &Act, silent: u32) -> Result<Sold> {
    let from = till::now(&scene.fleet.pool).await?;
    tokio::join!(
        spread(scene.load, (HEALTHY, "sim_ok"), rate * u32::try_from(lasts.as_secs())?, *lasts),
        spread(scene.load, (SILENT, "sim_doubt"), silent, *lasts.min(&Duration::from_secs(1)) / 2),
    );
    scene.fired("payments about which the gateway stays silent", silent.into());
    scene.load.all_ended().await?;
    let to = till::now(&scene.fleet.pool).await?;
    let lot = |shop: usize| Lot { merchant: scene.fleet.merchants.get(shop).copied(), from, to };
    let healthy = lot(HEALTHY).read(&scene.fleet.pool).await?;
    let doubtful = lot(SILENT).read(&scene.fleet.pool).await?;
    scene.demand(healthy.succeeded == healthy.payments && healthy.payments > 0, || {
        format!("with {silent} silent ones: {healthy:?} must all have succeeded")
    });
    scene.demand(doubtful.reversed == doubtful.payments && doubtful.payments == i64::from(silent), || {
        format!("{silent} silent ones: {doubtful:?} must all have been reversed")
    });
    let named = format!("at {rate}/s with {silent:>3} silent ones");
    scene.measured(format!("{named}, ms of 95 in 100"), healthy.p95_ms.unsigned_abs());
    scene.measured(format!("{named}, ms of the longest"), healthy.longest_ms.unsigned_abs());
    Ok(healthy)
}

/// Buys `count` times, evenly over that time.
async fn spread(
    load: &std::sync::Arc<Load>,
    (shop, method): (usize, &'static str),
    count: u32,
    over: Duration,
) {
    let began = Instant::now();
    for number in 0..count {
        sleep_until(began + over * number / count.max(1)).await;
        load.buy(shop, method);
    }
}
