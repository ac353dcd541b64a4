//! Wakes the queue's workers: after the commit, and once for all that was enqueued meanwhile.
//!
//! A notification is a hint. Polling finds every job that no bell rang for.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use ulid::Ulid;

use super::PAYMENTS;
use crate::database::{InTime as _, durable};

/// The pause between two rings. Every ring makes every idle worker ask for jobs, so many jobs share one.
const PAUSE: Duration = Duration::from_millis(5);

/// Rings for the queue of payments. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bell {
    rung: Arc<Notify>,
    _ringing: Arc<AbortOnDropHandle<()>>,
}

impl Bell {
    /// A bell that rings in this database.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let rung = Arc::new(Notify::new());
        let ringing = tokio::spawn(keep_ringing(pool, rung.clone()));
        Self { rung, _ringing: Arc::new(AbortOnDropHandle::new(ringing)) }
    }

    /// Says that a job was enqueued and committed. Does not wait.
    pub fn ring(&self) {
        self.rung.notify_one();
    }
}

async fn keep_ringing(pool: PgPool, rung: Arc<Notify>) {
    loop {
        rung.notified().await;
        // The library listens for this. Of the id it reads only that it is one.
        let payload =
            serde_json::json!({ "job_type": PAYMENTS, "id": Ulid::generate().to_string() }).to_string();
        let statement = sqlx::query("select pg_notify('apalis::job::insert', $1)").bind(payload);
        if let Err(why) = durable("bell", statement.execute(&pool).in_time()).await {
            tracing::debug!(%why, "could not wake the workers; they poll");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
