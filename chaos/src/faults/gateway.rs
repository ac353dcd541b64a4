//! The gateway misbehaves, by its own switches.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Scene;
use crate::fleet::Fleet;

/// How long a call without an answer is held: longer than workers wait.
const SILENCE_MS: u32 = 600;
/// How long the gateway may take to set a switch.
const PATIENCE: Duration = Duration::from_mins(3);

/// Makes it so slow that workers always hold payments.
pub(super) async fn answer_slowly(fleet: &Fleet) -> Result<()> {
    put(fleet, &json!({ "slow_ms": 300 })).await
}

/// Makes three in ten calls go wrong, in one way or another. One in a hundred charges the wrong amount.
pub(super) async fn misbehave(fleet: &Fleet, seed: u64) -> Result<()> {
    put(fleet, &faults(0.3, seed, 0.01)).await
}

/// Loses every answer to a charge.
pub(super) async fn lose_all_answers(fleet: &Fleet, seed: u64) -> Result<()> {
    put(fleet, &json!({ "seed": seed, "lost_response_rate": 1.0 })).await
}

/// Makes it answer to every charge that it did not carry it out.
pub(super) async fn carry_out_nothing(fleet: &Fleet) -> Result<()> {
    put(fleet, &json!({ "not_executed_rate": 1.0 })).await
}

/// Makes it answer no look-up.
pub(super) async fn look_up_nothing(fleet: &Fleet) -> Result<()> {
    put(fleet, &json!({ "lookup_error_rate": 1.0 })).await
}

/// Makes it misbehave as much as the dice say.
pub(super) async fn misbehave_somehow(scene: &mut Scene<'_>) -> Result<()> {
    let rate = scene.dice.random_range(0.0..0.3);
    let seed = scene.dice.random();
    put(scene.fleet, &faults(rate, seed, 0.0)).await
}

/// Makes it behave again, with all switches off.
pub(super) async fn behave(fleet: &Fleet) -> Result<()> {
    put(fleet, &json!({})).await
}

/// Every fault of the gateway, `rate` of all calls together. Charges of a wrong amount have a rate of
/// their own.
fn faults(rate: f64, seed: u64, wrong_amount_rate: f64) -> Value {
    let each = rate / 6.0;
    json!({
        // JSON numbers of the simulator are whole and signed.
        "seed": seed >> 1,
        "network_error_rate": each,
        "rate_429": each / 2.0,
        "not_executed_rate": each / 2.0,
        "error_5xx_rate": each,
        "timeout_rate": each,
        "timeout_delay_ms": SILENCE_MS,
        "lost_response_rate": each,
        "duplicate_rate": each,
        "wrong_amount_rate": wrong_amount_rate,
        "lookup_error_rate": rate / 3.0,
    })
}

async fn put(fleet: &Fleet, faults: &Value) -> Result<()> {
    let url = format!("{}/faults", fleet.gateway.address());
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        match http.put(&url).json(faults).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => bail!("the gateway refuses {faults}: {}", answer.text().await.unwrap_or_default()),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
    None.with_context(|| format!("the gateway does not answer at {url}"))
}
