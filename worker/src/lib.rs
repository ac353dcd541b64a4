//! The worker: claims due payments, asks the gateway, settles.
//!
//! Two things bring a payment to a worker: a job of the queue, at once, and the sweep, for whatever no job came for. Both
//! lead into [`attempt::look`], where the claim decides; run as many workers as the load needs.

use std::process::ExitCode;
use std::sync::Arc;

use shared::db;
use shared::gateway::Gateway;
use shared::payment::transition::Lease;
use shared::retry::Policy;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod attempt;
mod settings;
mod sweep;

pub use settings::Settings;

/// What every attempt needs.
#[derive(Clone)]
struct Context {
    pool: PgPool,
    gateway: Gateway,
    policy: Arc<Policy>,
    lease: Lease,
    /// Named in the events of its claims.
    name: Arc<str>,
    /// A claim is taken only with one of these in hand, so that its charge can be sent at once.
    permits: Arc<Semaphore>,
    /// Attempts under way.
    attempts: TaskTracker,
}

/// A worker, connected and ready to run.
pub struct Worker {
    context: Context,
    settings: Settings,
}

impl Worker {
    /// Connects to the database and makes sure that its schema is up to date.
    ///
    /// # Errors
    /// Settings that contradict each other, no database, or one that lacks migrations.
    pub async fn connect(settings: Settings) -> anyhow::Result<Self> {
        settings.check()?;
        let pool = db::connect(&settings.database_url, settings.max_connections).await?;
        db::require_migrated(&pool).await?;
        let context = Context {
            gateway: Gateway::new(&settings.gateway_url, settings.policy.gateway_timeout)?,
            pool,
            policy: Arc::new(settings.policy.clone()),
            lease: settings.lease,
            name: shared::queue::worker_name().into(),
            permits: Arc::new(Semaphore::new(settings.concurrency)),
            attempts: TaskTracker::new(),
        };
        Ok(Self { context, settings })
    }

    /// Works until `shutdown`, then lets what is under way end: no new claims, and for what remains at the deadline the
    /// lease runs out and another worker looks it up.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { context, settings } = self;
        tracing::info!(worker = %context.name, "working");
        let look = {
            let context = context.clone();
            move |payment| attempt::look(context.clone(), payment)
        };
        tokio::join!(
            shared::queue::work(context.pool.clone(), settings.concurrency, shutdown.clone(), look),
            sweep::run(&context, settings.sweep, &shutdown),
            async {
                // Whoever still waits for its turn claims nothing any more.
                shutdown.cancelled().await;
                context.permits.close();
            },
        );
        context.attempts.close();
        if tokio::time::timeout(settings.drain_deadline(), context.attempts.wait()).await.is_err() {
            tracing::warn!("attempts still under way at the shutdown deadline; their leases will run out");
        }
        db::close(&context.pool).await;
    }
}

/// The whole program, configured by the environment.
#[must_use]
pub fn main() -> ExitCode {
    shared::process::run("worker", |shutdown| async move {
        let worker = Worker::connect(Settings::from_env()?).await?;
        shared::process::announce(&serde_json::json!({ "event": "ready", "service": "worker" }));
        worker.run(shutdown).await;
        Ok::<_, anyhow::Error>(())
    })
}
