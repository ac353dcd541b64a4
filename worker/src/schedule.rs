//! The work of every tick, done by one of all workers: reconciliation and pruning.

use std::sync::Arc;
use std::time::Duration;

use shared::gateway::Gateway;
use shared::operations::reconciliation::{self, Trigger};
use shared::payment::risk;
use shared::payment::transition::Waits;
use shared::platform::metrics;
use shared::queue::prune;
use shared::queue::schedule::{self, Schedule, Tick};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{Desks, Settings};

/// How long to wait where a tick could not be enqueued.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The longest time that a tick's work may take. Beyond it the connection counts as dead, and another tick
/// begins anew.
const LONGEST: Duration = Duration::from_mins(10);

/// How long the reports of ticks are kept; older ones are not worth their room.
const REPORTS_KEPT_DAYS: i32 = 30;

/// Makes a tick each `RECONCILE_EVERY_MS` until `shutdown`, and carries out the ticks, of all workers, that
/// this worker gets.
pub(crate) async fn run(desks: &Desks, settings: &Settings, shutdown: &CancellationToken) {
    let Desks { pool, .. } = desks;
    let policies = settings.gateways.iter().map(|gateway| &gateway.policy);
    let waits = Waits::of(policies, settings.lease.lease);
    let carry_out = {
        let (pool, gateways): (_, Arc<[Gateway]>) = (pool.clone(), desks.gateways().into());
        let (prune_after, shutdown) = (settings.prune_after, shutdown.clone());
        move |tick| carry_out(pool.clone(), (gateways.clone(), waits), tick, prune_after, shutdown.clone())
    };
    tokio::join!(
        ticking(pool, settings.reconcile_every, shutdown),
        schedule::work(pool.clone(), shutdown.clone(), carry_out)
    );
}

/// Enqueues the ticks. The first one is the tick that the start falls into, so that what the last crash left
/// is looked at now.
async fn ticking(pool: &PgPool, every: Duration, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        let wait = schedule::tick(pool, every).await.unwrap_or_else(|why| {
            tracing::warn!(%why, "could not enqueue a tick");
            AGAIN_AFTER
        });
        tokio::select! { () = tokio::time::sleep(wait) => {} () = shutdown.cancelled() => {} }
    }
}

async fn carry_out(
    pool: PgPool,
    (gateways, waits): (Arc<[Gateway]>, Waits),
    tick: Tick,
    prune_after: Duration,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let work = async {
        match tick.schedule {
            Schedule::Reconcile => {
                let trigger = Trigger::Tick(tick.tick);
                let run = reconciliation::run(&pool, &gateways, waits, trigger, &shutdown).await;
                metrics::reconciled(match &run {
                    Ok(Some(_)) => "finished",
                    Ok(None) => "left",
                    Err(_) => "failed",
                });
                run.map(drop)
            }
            Schedule::Prune => prune(&pool, prune_after).await,
        }
    };
    let done = tokio::time::timeout(LONGEST, work).await;
    let done =
        done.map_err(|_| "it does not end".to_owned()).and_then(|done| done.map_err(|why| why.to_string()));
    done.map_err(|why| {
        tracing::error!(why, schedule = ?tick.schedule, "a tick failed; the next one tries again");
        why
    })
}

async fn prune(pool: &PgPool, after: Duration) -> sqlx::Result<()> {
    let pruned = prune::run(pool, after).await?;
    let counters = risk::forget(pool).await?;
    let reports = reconciliation::forget(pool, REPORTS_KEPT_DAYS).await?;
    tracing::info!(
        event = "pruned",
        jobs = pruned.jobs,
        workers = pruned.workers,
        reports,
        counters,
        "pruned"
    );
    Ok(())
}
