//! Sends public events to the endpoints of merchants: looks for endpoints that have something to be sent, and
//! gives each a round of its own.
//!
//! A round that hangs keeps one place, and its endpoint. A merchant has at most a quarter of the places,
//! since it has no more endpoints than that.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use shared::platform::metrics;
use shared::publish::delivery::{self, Sender};
use shared::publish::dial::Dialler;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Settings;

/// The most rounds at a time.
const ROUNDS: usize = 64;

/// The most rounds that use the database at a time.
const TURNS: usize = 3;

/// The pause between two looks that found nothing to do.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks until `shutdown`, and then lets the rounds under way end.
pub(crate) async fn run(pool: &PgPool, settings: &Settings, shutdown: &CancellationToken) {
    let Some(keys) = settings.webhook_keys.clone() else {
        tracing::info!("WEBHOOK_SECRET_KEY is not set: this worker sends nothing to endpoints");
        return;
    };
    let dialler = Dialler::new(settings.webhook_rules.clone(), settings.webhook_timeout);
    let turns = Arc::new(Semaphore::new(TURNS));
    let sender = Sender { pool: pool.clone(), keys, dialler, turns, haste: settings.webhook_haste };
    let (places, rounds) = (Arc::new(Semaphore::new(ROUNDS)), TaskTracker::new());
    while !shutdown.is_cancelled() {
        let found = match delivery::take(&sender, places.available_permits()).await {
            Ok(taken) => taken,
            Err(why) => {
                tracing::warn!(%why, "could not look for endpoints");
                Vec::new()
            }
        };
        let has_found = !found.is_empty();
        for taken in found {
            let Ok(place) = places.clone().try_acquire_owned() else { break };
            let sender = sender.clone();
            rounds.spawn(async move {
                match delivery::round(&sender, &taken).await {
                    Ok(round) => metrics::webhooks(round.delivered, round.failed, round.is_disabled),
                    Err(why) => tracing::error!(%why, "a round of deliveries failed; it is done again"),
                }
                drop(place);
            });
        }
        let pause = if has_found { PAUSE / 10 } else { PAUSE.mul_f64(rand::rng().random_range(0.8..1.2)) };
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    rounds.close();
    rounds.wait().await;
}
