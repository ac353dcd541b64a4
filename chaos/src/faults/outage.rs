//! The gateway is away, or answers that it cannot charge, while hardly anything is paid. Then it is back.
//!
//! Must hold: nothing fails, no try is used up where no request left us, and histories stay short. Everything
//! ends soon after the gateway's return, whatever is left to ask about.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Scene, gateway};
use crate::till::{self, Lot, Sold};

/// The most rows of a payment's history, on average, however long the gateway was away.
const EVENTS_AT_MOST: i64 = 16;

/// How soon after the gateway's return everything has ended: the last pause before the door is read, a probe,
/// and a start one call at a time. A gateway that answered that it cannot is left alone for a minute more.
const BACK_WITHIN: Duration = Duration::from_secs(60);
const ABLE_WITHIN: Duration = Duration::from_secs(120);
/// How soon a doubt has ended: after two looks that find nothing, and the waits between them.
const SURE_WITHIN: Duration = Duration::from_secs(120);

/// How many payments come one by one, and the time from one to the next.
type Pace = (u32, Duration);

const SOME: usize = 3;

/// The times of the whole script.
struct Times {
    paces: [Pace; 2],
    /// How long the gateway cannot charge. Below, how long only doubts wait for it.
    unable: Duration,
    doubtful: Duration,
}

const FULL: Times = Times {
    paces: [(6, Duration::from_secs(300)), (20, Duration::from_secs(15))],
    unable: Duration::from_secs(150),
    doubtful: Duration::from_secs(120),
};

const SHORT: Times = Times {
    paces: [(3, Duration::from_millis(400)), (6, Duration::from_millis(100))],
    unable: Duration::from_millis(500),
    doubtful: Duration::from_millis(500),
};

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let times = if scene.plan.is_short { SHORT } else { FULL };
    scene.load.buy(0, "sim_ok");
    scene.load.all_ended().await?;
    away(scene, &times).await?;
    unable(scene, &times).await?;
    only_doubts(scene, &times).await
}

/// The gateway is away: connections are refused.
async fn away(scene: &mut Scene<'_>, times: &Times) -> Result<()> {
    let from = till::now(&scene.fleet.pool).await?;
    kill(scene).await;
    for (count, pause) in times.paces {
        for _ in 0..count {
            scene.load.buy(0, "sim_ok");
            sleep(pause).await;
        }
    }
    wait_until_open(scene).await?;
    scene.fleet.gateway.revive().await?;
    let sold = back(scene, "away", from, BACK_WITHIN).await?;
    scene.demand(sold.retries_spent == 0, || format!("away: tries were used up: {sold:?}"));
    scene.demand(sold.events <= sold.payments * EVENTS_AT_MOST, || {
        format!("away: {} rows of history for {} payments", sold.events, sold.payments)
    });
    Ok(())
}

/// The gateway answers, to both merchants, that it did not carry out the charge.
async fn unable(scene: &mut Scene<'_>, times: &Times) -> Result<()> {
    let from = till::now(&scene.fleet.pool).await?;
    gateway::carry_out_nothing(scene.fleet).await?;
    for _ in 0..SOME * 2 {
        scene.load.buy(0, "sim_ok");
        scene.load.buy(1, "sim_ok");
    }
    wait_until_open(scene).await?;
    scene.fired("gateways that carry out nothing", 1);
    for _ in 0..SOME {
        sleep(times.unable / u32::try_from(SOME)?).await;
        scene.load.buy(0, "sim_ok");
    }
    gateway::behave(scene.fleet).await?;
    back(scene, "unable", from, ABLE_WITHIN).await.map(drop)
}

/// The gateway is killed while there are only payments in doubt, and is away for longer than a doubt
/// may last.
async fn only_doubts(scene: &mut Scene<'_>, times: &Times) -> Result<()> {
    let from = till::now(&scene.fleet.pool).await?;
    gateway::look_up_nothing(scene.fleet).await?;
    // A look finds the charges of the first kind as soon as the gateway is back; of the second it finds
    // nothing at first.
    for _ in 0..SOME {
        scene.load.buy(0, "sim_timeout_charged");
        scene.load.buy(1, "sim_timeout_not_charged");
    }
    let pool = scene.fleet.pool.clone();
    let some = i64::try_from(SOME * 2)?;
    till::until("the doubts", async || Ok(till::in_doubt(&pool).await?.0 == some)).await?;
    kill(scene).await;
    wait_until_open(scene).await?;
    sleep(times.doubtful).await;
    scene.fleet.gateway.revive().await?;
    back(scene, "doubts", from, SURE_WITHIN).await.map(drop)
}

async fn kill(scene: &mut Scene<'_>) {
    let lived = scene.fleet.gateway.kill9().await;
    scene.fired("gateways killed", lived.into());
}

async fn wait_until_open(scene: &Scene<'_>) -> Result<()> {
    let pool = &scene.fleet.pool;
    till::until("a breaker to open", async || Ok(till::breakers_open(pool).await? > 0)).await
}

/// Demands that everything since then ends well, and soon, and that the breakers close, now that the gateway
/// is back.
async fn back(
    scene: &mut Scene<'_>,
    what: &str,
    from: chrono::DateTime<chrono::Utc>,
    within: Duration,
) -> Result<Sold> {
    let pool = scene.fleet.pool.clone();
    let back_at = till::now(&pool).await?;
    scene.load.all_ended().await?;
    till::until("all breakers to close", async || Ok(till::breakers_open(&pool).await? == 0)).await?;
    let sold = Lot { merchant: None, from, to: till::now(&pool).await? }.read(&pool).await?;
    scene.demand(sold.succeeded == sold.payments && sold.payments > 0, || {
        format!("{what}: all must have succeeded: {sold:?}")
    });
    let took = sold.last_at.map_or(0, |at| (at - back_at).num_milliseconds().max(0)).unsigned_abs();
    // In a short run the machine would be measured.
    scene.demand(scene.plan.is_short || Duration::from_millis(took) <= within, || {
        format!("{what}: the last payment ended {took} ms after the gateway's return")
    });
    scene.measured(format!("{what}: ms from its return to the last end"), took);
    scene.measured(format!("{what}: rows of history"), sold.events.unsigned_abs());
    scene.measured(format!("{what}: payments"), sold.payments.unsigned_abs());
    Ok(sold)
}
