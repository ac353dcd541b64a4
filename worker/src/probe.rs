//! The prober reads the gateway's door, sends the probes, and tells the other workers.
//!
//! Invariant: a read is about no payment and needs no claim. A probe is a claim like any other, but uses up
//! no try. What other workers say makes this one look, and decides nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use domain::outcome::FailureKind;
use shared::gateway::door::Closed;
use shared::gateway::outage::{self, Others};
use shared::payment::store::{self, Candidate};
use shared::platform::metrics;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::breaker::Task;
use crate::{Context, attempt};

/// How many of the payments, and of the merchants, that were asked about last are asked about last again.
const REMEMBERED: usize = 100;

/// How often the gateway is asked who it is while all is well.
const IDENTIFY_AGAIN: Duration = Duration::from_secs(10);

/// How often a worker whose breaker is open says at least that it lives.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What the prober remembers from one round to the next.
#[derive(Debug, Default)]
struct Prober {
    payments: VecDeque<Uuid>,
    merchants: VecDeque<Uuid>,
    others: Others,
    /// The failure that was last written down, and when. None while the breaker is closed.
    said: Option<(FailureKind, Instant)>,
    /// Since when the breaker has been open.
    away_since: Option<Instant>,
    /// When the gateway was last asked who it is.
    identified_at: Option<Instant>,
}

/// Goes on until `shutdown`, and reads what other workers say every `interval`.
pub(crate) async fn run(context: &Context, interval: Duration, shutdown: &CancellationToken) {
    let mut prober = Prober::default();
    while !shutdown.is_cancelled() {
        match context.breaker.task() {
            Task::Wait(_) if prober.is_to_identify(context) => identify(context).await,
            Task::Knock => {
                prober.identified_at = Some(Instant::now());
                knock(context).await;
            }
            Task::Probe => prober.probe(context).await,
            Task::Wait(until) => {
                let pause =
                    until.map_or(interval, |at| at.saturating_duration_since(Instant::now()).min(interval));
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = context.breaker.changed() => {}
                }
            }
        }
        prober.write_down(context).await;
        if let Err(why) = prober.listen(context).await {
            tracing::debug!(%why, "could not read what other workers say of the gateway");
        }
    }
    if prober.said.is_some()
        && let Err(why) = outage::is_over(&context.pool, context.who()).await
    {
        tracing::debug!(%why, "could not write down that this worker's outage ends with it");
    }
}

/// Reads the door, and tells the breaker.
pub(crate) async fn knock(context: &Context) {
    match context.gateway.knock(&context.pool).await {
        Ok(()) => context.breaker.knocked(None),
        Err(Closed::Gateway(failed)) => {
            metrics::door_closed(context.gateway_name(), failed.kind);
            if failed.kind == FailureKind::NotTheGateway {
                tracing::error!(
                    event = "not_the_gateway",
                    gateway = %context.gateway_name(),
                    why = failed.detail,
                    "something else answers at the gateway's address"
                );
            }
            context.breaker.knocked(Some(failed.kind));
        }
        Err(Closed::Database(why)) => {
            tracing::warn!(%why, "could not tell whether the gateway is the known one");
            context.breaker.knocked_in_vain();
        }
    }
}

/// Asks who the gateway is. A gateway that says nothing just now is not asked again at once; another gateway
/// closes the door.
async fn identify(context: &Context) {
    if let Err(Closed::Gateway(failed)) = context.gateway.identify(&context.pool).await
        && failed.kind == FailureKind::NotTheGateway
    {
        context.breaker.warned();
    }
}

impl Prober {
    fn is_to_identify(&mut self, context: &Context) -> bool {
        let is_time = self.identified_at.is_none_or(|at| at.elapsed() >= IDENTIFY_AGAIN);
        let is_time = is_time && !context.breaker.is_open();
        if is_time {
            self.identified_at = Some(Instant::now());
        }
        is_time
    }

    /// Asks about one payment: one that waits for its charge, of another merchant than the last ones. Where
    /// there is none, it is the payment in doubt that was looked at longest ago.
    async fn probe(&mut self, context: &Context) {
        let candidate = match self.candidate(context).await {
            Ok(candidate) => candidate,
            Err(why) => {
                tracing::warn!(%why, "could not look for a payment to ask the gateway about");
                return tokio::time::sleep(SAY_AGAIN / 10).await;
            }
        };
        let Some(Candidate { id, merchant_id, .. }) = candidate else {
            return context.breaker.nothing_to_probe();
        };
        remember(&mut self.payments, id);
        remember(&mut self.merchants, merchant_id);
        let Ok(permit) = context.permits.clone().acquire_owned().await else { return };
        let Some(pass) = context.breaker.admit_probe() else { return };
        if let Err(why) = attempt::look_with(context.clone(), id.into(), permit, pass).await {
            tracing::warn!(payment_id = %id, ?why, "could not claim the payment to ask the gateway about");
        }
    }

    async fn candidate(&mut self, context: &Context) -> sqlx::Result<Option<Candidate>> {
        let (payments, merchants): (Vec<_>, Vec<_>) =
            (self.payments.iter().copied().collect(), self.merchants.iter().copied().collect());
        let gateway = context.gateway_name();
        match store::to_probe(&context.pool, gateway, &payments, &merchants).await? {
            Some(candidate) => Ok(Some(candidate)),
            // All candidates were asked about lately.
            None => {
                self.payments.clear();
                store::to_probe(&context.pool, gateway, &[], &merchants).await
            }
        }
    }

    /// Writes down what changed, or that the outage goes on.
    async fn write_down(&mut self, context: &Context) {
        let now = Instant::now();
        match context.breaker.away() {
            Some(_) => context.outages().began(now),
            None => context.outages().ended(now),
        }
        let written = match (context.breaker.away(), self.said) {
            (None, None) => return self.away_since = None,
            (None, Some(_)) => {
                self.away_since = None;
                outage::is_over(&context.pool, context.who()).await.map(|()| self.said = None)
            }
            (Some(why), said) => {
                let last = said.map(|(last, _)| last);
                let reason = why.or(last).unwrap_or(FailureKind::Timeout);
                let is_fresh = said.is_some_and(|(_, at)| now.duration_since(at) < SAY_AGAIN);
                if is_fresh && last == Some(reason) {
                    return;
                }
                let since = now.duration_since(*self.away_since.get_or_insert(now));
                let said = outage::is_open(&context.pool, context.who(), reason, since).await;
                said.map(|()| self.said = Some((reason, now)))
            }
        };
        if let Err(why) = written {
            tracing::debug!(%why, "could not write down how this worker finds the gateway");
        }
    }

    /// Reads what other workers say. News of theirs makes this worker look for itself.
    async fn listen(&mut self, context: &Context) -> sqlx::Result<()> {
        let others = outage::of_others(&context.pool, context.who()).await?;
        let before = std::mem::replace(&mut self.others, others);
        if others.outages > before.outages && others.open > 0 {
            context.breaker.warned();
        }
        if others.over > before.over {
            context.breaker.encouraged();
        }
        Ok(())
    }
}

fn remember(last: &mut VecDeque<Uuid>, id: Uuid) {
    last.retain(|known| *known != id);
    last.push_back(id);
    if last.len() > REMEMBERED {
        last.pop_front();
    }
}
