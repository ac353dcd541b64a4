//! The worker claims due payments, asks the gateway, and settles.
//!
//! A payment comes to a worker by a job of the queue, at once, or by the sweep, if no job came for it. While
//! the breaker is open, the prober picks one payment at a time. All of them lead into [`attempt`], where the
//! claim decides, so that as many workers may run as the load needs. Periodic work is done by one worker for
//! all: [`schedule`].

use std::net::SocketAddr;
use std::ops::DerefMut;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use domain::decide::Policy;
use shared::database;
use shared::database::batch::Batcher;
use shared::gateway::Gateway;
use shared::gateway::outage::Outages;
use shared::operations::{installation, recovery};
use shared::payment::shares::Shares;
use shared::payment::transition::{Claiming, Lease, Settling};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

mod attempt;
mod breaker;
mod correction;
mod decision;
mod home;
mod http;
mod limit;
mod past;
mod probe;
mod remedy;
mod schedule;
mod settings;
mod sweep;

pub use settings::Settings;

use breaker::Breaker;
use limit::Limit;

/// What every attempt needs.
#[derive(Clone)]
struct Context {
    pool: PgPool,
    /// All hosts of its database, and which of them takes writes.
    site: Arc<database::Site>,
    gateway: Gateway,
    policy: Arc<Policy>,
    lease: Lease,
    name: Arc<str>,
    claims: Batcher<Claiming>,
    settlements: Batcher<Settling>,
    /// One for each gateway call at a time. A claim is taken only with one of these in hand, so that its
    /// charge can be sent at once.
    permits: Arc<Semaphore>,
    /// The number of permits.
    concurrency: usize,
    /// The tasks that claim and use claims, which a shutdown waits for.
    attempts: TaskTracker,
    last_sweep: Arc<sweep::LastSweep>,
    breaker: Arc<Breaker>,
    /// How the calls are shared out between merchants, and between charges and looks.
    shares: Arc<Shares>,
    /// When the gateway was away. No deadline of a doubt or a void counts that time.
    outages: Arc<Mutex<Outages>>,
    /// The pace of calls. A claim is taken only after it has given a call.
    limit: Arc<Limit>,
}

impl Context {
    fn outages(&self) -> impl DerefMut<Target = Outages> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections that claiming and settling keep for themselves.
const SEATS: u32 = 2;

/// A worker, connected and ready to run.
pub struct Worker {
    context: Context,
    settings: Settings,
    metrics: TcpListener,
    metrics_addr: SocketAddr,
}

impl Worker {
    /// Connects to the database, makes sure that its schema is up to date, and takes the address for
    /// its metrics.
    ///
    /// # Errors
    /// Settings contradict each other, or the address is taken. There is no database, or it lacks migrations,
    /// has too few connections, or is not the known one.
    pub async fn connect(settings: Settings) -> anyhow::Result<Self> {
        settings.check()?;
        shared::platform::metrics::start();
        let ours = settings.max_connections - shared::queue::LIBRARY_CONNECTIONS - SEATS;
        let name: Arc<str> = shared::queue::worker_name().into();
        let pool = database::connect_as(&settings.database_url, ours, &recovery::session_name(&name)).await?;
        database::require_migrated(&pool).await?;
        database::check_room(&pool, settings.max_connections).await?;
        installation::admit(&pool).await?;
        let shares = Arc::new(Shares::new(settings.concurrency));
        let claiming = Claiming {
            seat: database::Seat::new(pool.clone()),
            worker: name.clone(),
            lease: settings.lease,
            shares: shares.clone(),
        };
        let outages = Outages::before_now(&pool).await?;
        let context = Context {
            gateway: Gateway::new(
                &settings.gateway_url,
                settings.gateway_key.clone(),
                settings.policy.gateway_timeout,
            )?,
            claims: Batcher::new(claiming),
            settlements: Batcher::new(Settling { seat: database::Seat::new(pool.clone()) }),
            site: database::site(&pool),
            pool,
            policy: Arc::new(settings.policy.clone()),
            lease: settings.lease,
            name,
            permits: Arc::new(Semaphore::new(settings.concurrency)),
            concurrency: settings.concurrency,
            attempts: TaskTracker::new(),
            last_sweep: Arc::new(sweep::LastSweep::new()),
            breaker: Arc::new(Breaker::new(
                settings.breaker_failures,
                settings.breaker_open,
                settings.policy.gateway_timeout,
                (settings.concurrency, shares.clone()),
            )),
            shares,
            outages: Arc::new(Mutex::new(outages)),
            limit: Arc::new(Limit::new(settings.gateway_rate)),
        };
        let metrics = http::listen(settings.metrics_addr).await?;
        let metrics_addr = metrics.local_addr()?;
        Ok(Self { context, settings, metrics, metrics_addr })
    }

    /// The address of its metrics and its health.
    #[must_use]
    pub const fn metrics_addr(&self) -> SocketAddr {
        self.metrics_addr
    }

    /// Works until `shutdown`, then takes no new claims and lets the work under way end. For what remains at
    /// the deadline the lease runs out, and another worker looks it up.
    ///
    /// # Errors
    /// The database became another one than the known one, which ended the worker.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        // A token of its own, so that one of several workers in a process can end.
        let shutdown = shutdown.child_token();
        let Self { context, settings, metrics, .. } = self;
        tracing::info!(worker = %context.name, "working");
        let shown = http::Shown {
            pool: context.pool.clone(),
            last_sweep: context.last_sweep.clone(),
            sweep_patience: settings.sweep_patience(),
            shutdown: shutdown.clone(),
        };
        // Served to the last moment, so that a worker which is ending can still be asked.
        let _serving = AbortOnDropHandle::new(tokio::spawn(http::serve(metrics, shown)));
        // Done before anything is claimed, so that what the last crash left is still as it was.
        recovery::at_start(&context.pool, &context.name).await;
        // Done before any job is fetched: a job that nobody could look at would be used up for nothing.
        tokio::select! { () = probe::knock(&context) => {} () = shutdown.cancelled() => {} }
        let look = {
            let context = context.clone();
            move |payment| attempt::look_once_free(context.clone(), payment)
        };
        let (at_home, ..) = tokio::join!(
            async {
                let at_home = home::watch(&context, &shutdown).await;
                shutdown.cancel();
                at_home
            },
            shared::queue::work(context.pool.clone(), settings.concurrency, shutdown.clone(), look),
            probe::run(&context, settings.sweep, &shutdown),
            sweep::run(&context, settings.sweep, &shutdown),
            schedule::run(&context, settings.reconcile_every, settings.prune_after, &shutdown),
            async {
                // Attempts that still wait for their turn claim nothing any more.
                shutdown.cancelled().await;
                context.permits.close();
            },
        );
        context.attempts.close();
        if tokio::time::timeout(settings.drain_deadline(), context.attempts.wait()).await.is_err() {
            tracing::warn!("attempts still under way at the shutdown deadline; their leases will run out");
        }
        database::close(&context.pool).await;
        Ok(at_home?)
    }
}

/// The whole program, configured by the environment.
#[must_use]
pub fn main() -> ExitCode {
    shared::platform::process::run("worker", |shutdown| async move {
        let worker = Worker::connect(Settings::from_env()?).await?;
        shared::platform::process::announce(&serde_json::json!({
            "event": "ready",
            "service": "worker",
            "metrics": format!("http://{}", worker.metrics_addr()),
        }));
        Box::pin(worker.run(shutdown)).await
    })
}
