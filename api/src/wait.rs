//! Long polls: which payments clients wait for. One statement asks for all of them, not one for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ids::PaymentId;
use shared::payment::store;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The pause between two such statements.
const INTERVAL: Duration = Duration::from_millis(50);

/// The payments that clients wait for.
#[derive(Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<Uuid, watch::Sender<bool>>>,
}

impl Waiters {
    /// Starts the one task that asks, until `shutdown`.
    pub(crate) fn start(pool: PgPool, shutdown: CancellationToken) -> Arc<Self> {
        let waiters = Arc::new(Self::default());
        let looking = waiters.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
                looking.look(&pool).await;
            }
        });
        waiters
    }

    /// Waits until the payment has ended or is held for a person, or this time is over, or `shutdown` begins.
    pub(crate) async fn at_rest_within(
        &self,
        payment: PaymentId,
        wait: Duration,
        shutdown: &CancellationToken,
    ) {
        tokio::select! {
            () = self.at_rest(payment) => {}
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Returns once the payment has ended, or is held for a person.
    async fn at_rest(&self, payment: PaymentId) {
        let mut at_rest = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(payment.uuid())
            .or_insert_with(|| watch::Sender::new(false))
            .subscribe();
        // An error means that the sender is gone, which happens only after it has sent.
        drop(at_rest.wait_for(|&at_rest| at_rest).await);
    }

    async fn look(&self, pool: &PgPool) {
        let ids: Vec<Uuid> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|_, at_rest| at_rest.receiver_count() > 0);
            waiting.keys().copied().collect()
        };
        if ids.is_empty() {
            return;
        }
        match store::at_rest(pool, &ids).await {
            Ok(at_rest) => {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                for sender in at_rest.iter().filter_map(|id| waiting.remove(id)) {
                    sender.send_replace(true);
                }
            }
            Err(why) => tracing::warn!(%why, "could not look for payments that ended or are held"),
        }
    }
}
