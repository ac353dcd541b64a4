//! Latency: of one payment after the other while nothing else happens, of repeats, and of a crowd that comes
//! at once.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::client::{Client, pay_many};
use crate::cycle::{CONNECTIONS, now};
use crate::metric::Histogram;
use crate::report::{Crowd, Distribution, Idle, Replay};
use crate::site::Site;

/// The pause between two payments: longer than one takes while nothing else happens.
const PAUSE: Duration = Duration::from_millis(50);

/// How often each of the idle payments is posted again.
const REPEATS: u64 = 10;

/// Measures payments one after the other, and then the same again as replays.
pub(crate) async fn idle(site: &mut Site<'_>, payments: u64) -> Result<(Idle, Replay)> {
    let since = site.newest().await?;
    let mut client = Client::connect(&site.target).await?;
    let mut post = Vec::new();
    for number in 0..payments {
        post.push(client.pay("idle", number).await?);
        sleep(PAUSE).await;
    }
    let ended = site.ended(since, payments).await?;
    let idle = Idle { post: of(&post), settled: Distribution::of(ended.waits_ms) };

    let before = Histogram::of_posts(&client.metrics().await?);
    let mut replays = Vec::new();
    for number in (0..payments).cycle().take(usize::try_from(payments * REPEATS)?) {
        replays.push(client.pay("idle", number).await?);
    }
    let served = Histogram::of_posts(&client.metrics().await?).since(&before);
    let replay =
        Replay { client: of(&replays), server_p50_ms: served.p50_ms(), server_mean_ms: served.mean_ms() };
    Ok((idle, replay))
}

/// Measures many requests, a hundred at a time.
pub(crate) async fn crowd(site: &mut Site<'_>, requests: u64) -> Result<Crowd> {
    let since = site.newest().await?;
    let began = now();
    let post = pay_many(&site.target, "crowd", requests, CONNECTIONS).await?;
    let ended = site.ended(since, requests).await?;
    Ok(Crowd {
        requests,
        connections: CONNECTIONS,
        post: of(&post),
        settled: Distribution::of(ended.waits_ms),
        last_settled_s: ended.last_end - began,
    })
}

pub(crate) fn of(durations: &[Duration]) -> Distribution {
    Distribution::of(durations.iter().map(|duration| duration.as_secs_f64() * 1000.0).collect())
}
