//! Throughput: from HTTP to settled, accepting alone, and draining alone what was accepted.

use std::time::{Instant, SystemTime};

use anyhow::Result;

use crate::client::pay_many;
use crate::cost::Meter;
use crate::report::Cycle;
use crate::site::Site;

/// The number of clients at a time.
pub(crate) const CONNECTIONS: u64 = 100;

/// Payments before the measurement, so that connections are open and plans are made.
const WARM_UP: u64 = 500;

pub(crate) async fn warm_up(site: &mut Site<'_>, at_most: u64) -> Result<()> {
    let payments = WARM_UP.min(at_most);
    let since = site.newest().await?;
    pay_many(&site.target, "warm", payments, CONNECTIONS).await?;
    site.ended(since, payments).await.map(drop)
}

pub(crate) async fn measure(site: &mut Site<'_>, payments: u64) -> Result<Cycle> {
    let workers = site.workers.len();
    let count = payments as f64;

    let since = site.newest().await?;
    let meter = Meter::start(site).await?;
    let began = now();
    pay_many(&site.target, "whole", payments, CONNECTIONS).await?;
    let ended = site.ended(since, payments).await?;
    let settled_per_s = count / (ended.last_end - began);
    let cost = meter.stop(site, payments).await?;

    site.stop_workers().await?;
    let since = site.newest().await?;
    let began = Instant::now();
    pay_many(&site.target, "alone", payments, CONNECTIONS).await?;
    let accepted_per_s = count / began.elapsed().as_secs_f64();

    site.add_workers(workers).await?;
    let ended = site.ended(since, payments).await?;
    let drained_per_s = count / (ended.last_end - ended.first_claim);

    let stored = site.stored;
    Ok(Cycle { stored, workers, payments, settled_per_s, accepted_per_s, drained_per_s, cost })
}

/// The time that the database on the same machine sees too, in seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
