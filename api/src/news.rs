//! The open streams of public events, and whose of them there is news for. One statement asks for all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ids::MerchantId;
use domain::public_event::EventId;
use shared::publish::reader;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::problem::Problem;

/// The pause between two such statements.
const INTERVAL: Duration = Duration::from_millis(200);

/// The most streams of a merchant at one process.
const OF_A_MERCHANT: usize = 16;

/// The most streams at one process.
const IN_ALL: usize = 256;

/// The newest event of a merchant that was seen.
type Newest = watch::Sender<Option<EventId>>;

/// The open streams of this process.
#[derive(Default)]
pub(crate) struct Streams {
    open: Mutex<HashMap<Uuid, Newest>>,
}

/// The place of an open stream. It is given back when the client has gone.
pub(crate) struct Seat {
    newest: watch::Receiver<Option<EventId>>,
}

impl Streams {
    /// Starts the one task that asks, until `shutdown`.
    pub(crate) fn start(pool: PgPool, shutdown: CancellationToken) -> Arc<Self> {
        let streams = Arc::new(Self::default());
        let looking = streams.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
                looking.look(&pool).await;
            }
        });
        streams
    }

    /// A place for one more stream of this merchant.
    pub(crate) fn open(&self, merchant: MerchantId) -> Result<Seat, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, newest| newest.receiver_count() > 0);
        if open.values().map(Newest::receiver_count).sum::<usize>() >= IN_ALL {
            return Err(Problem::TooManyStreams(IN_ALL));
        }
        let newest = open.entry(merchant.uuid()).or_insert_with(|| watch::Sender::new(None));
        if newest.receiver_count() >= OF_A_MERCHANT {
            return Err(Problem::TooManyStreams(OF_A_MERCHANT));
        }
        Ok(Seat { newest: newest.subscribe() })
    }

    async fn look(&self, pool: &PgPool) {
        let merchants: Vec<Uuid> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|_, newest| newest.receiver_count() > 0);
            open.keys().copied().collect()
        };
        if merchants.is_empty() {
            return;
        }
        match reader::newest(pool, &merchants).await {
            Ok(found) => {
                let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                for (merchant, newest) in found {
                    open.get(&merchant).map(|seen| seen.send_replace(Some(newest)));
                }
            }
            Err(why) => tracing::warn!(%why, "could not look for news of streams"),
        }
    }
}

impl Seat {
    /// Returns once there is an event after this place.
    pub(crate) async fn news_after(&mut self, place: Option<EventId>) {
        // An error means that the sender is gone, which outlives its receivers.
        drop(self.newest.wait_for(|newest| *newest > place).await);
    }
}
