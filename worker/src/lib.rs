//! The worker claims due payments, asks the gateway, and settles.
//!
//! A payment comes to a worker by a job of the queue, at once, or by the sweep, if no job came for it. While
//! the breaker is open, the prober picks one payment at a time. All of them lead into [`attempt`], where the
//! claim decides, so that as many workers may run as the load needs. Periodic work is done by one worker for
//! all: [`schedule`].

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use futures::future::join_all;
use shared::database;
use shared::operations::{installation, recovery};
use shared::queue::PaymentJob;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

mod attempt;
mod breaker;
mod correction;
mod decision;
mod desk;
mod holds;
mod home;
mod http;
mod limit;
mod past;
mod probe;
mod refund;
mod remedy;
mod schedule;
mod settings;
mod sweep;
mod webhooks;

pub use settings::Settings;

use desk::{Context, Desks};

/// A worker, connected and ready to run.
pub struct Worker {
    desks: Desks,
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
        shared::platform::metrics::start(&settings.buckets);
        let ours = settings.max_connections - shared::queue::LIBRARY_CONNECTIONS - settings.seats();
        let name: Arc<str> = shared::queue::worker_name().into();
        let pool = database::connect_as(&settings.database_url, ours, &recovery::session_name(&name)).await?;
        database::require_migrated(&pool).await?;
        database::check_room(&pool, settings.max_connections).await?;
        installation::admit(&pool).await?;
        let desks = Desks::open(pool, &settings, &name).await?;
        let metrics = http::listen(settings.metrics_addr).await?;
        let metrics_addr = metrics.local_addr()?;
        Ok(Self { desks, settings, metrics, metrics_addr })
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
        let Self { desks, settings, metrics, .. } = self;
        tracing::info!(worker = %desks.worker, gateways = desks.names(), "working");
        let shown = http::Shown {
            desks: desks.clone(),
            sweep_patience: settings.sweep_patience(),
            shutdown: shutdown.clone(),
        };
        // Served to the last moment, so that a worker which is ending can still be asked.
        let _serving = AbortOnDropHandle::new(tokio::spawn(http::serve(metrics, shown)));
        // Done before anything is claimed, so that what the last crash left is still as it was.
        recovery::at_start(&desks.pool, &desks.worker).await;
        let door_read = Notify::new();
        let (at_home, ..) = tokio::join!(
            async {
                let at_home = home::watch(&desks, &shutdown).await;
                shutdown.cancel();
                at_home
            },
            fetch_jobs(&desks, &door_read, &shutdown),
            join_all(desks.each().map(|desk| at_desk(desk, &settings, &door_read, &shutdown))),
            schedule::run(&desks, &settings, &shutdown),
            holds::run(&desks.pool, settings.sweep, &shutdown),
            webhooks::run(&desks.pool, &settings, &shutdown),
            async {
                // Attempts that still wait for their turn claim nothing any more.
                shutdown.cancelled().await;
                desks.each().for_each(|desk| desk.permits.close());
            },
        );
        desks.attempts.close();
        if tokio::time::timeout(settings.drain_deadline(), desks.attempts.wait()).await.is_err() {
            tracing::warn!("attempts still under way at the shutdown deadline; their leases will run out");
        }
        database::close(&desks.pool).await;
        Ok(at_home?)
    }
}

/// Hands each job to the desk that it is a hint for, once the first door has been read: a job that nobody
/// could look at would be used up for nothing. Of a gateway without a desk the payment stays due, for a
/// worker that has one.
async fn fetch_jobs(desks: &Desks, door_read: &Notify, shutdown: &CancellationToken) {
    tokio::select! { () = door_read.notified() => {} () = shutdown.cancelled() => {} }
    let look = {
        let desks = desks.clone();
        move |job: PaymentJob| {
            let desk = desks.of(&job.gateway).cloned();
            async move {
                match desk {
                    Some(desk) => attempt::look_once_free(desk, job.payment_id).await,
                    None => Ok(()),
                }
            }
        }
    };
    shared::queue::work(desks.pool.clone(), desks.calls(), shutdown.clone(), look).await;
}

/// Works at one desk until `shutdown`, from the moment at which its gateway's door has been read.
async fn at_desk(desk: &Context, settings: &Settings, door_read: &Notify, shutdown: &CancellationToken) {
    tokio::select! { () = probe::knock(desk) => {} () = shutdown.cancelled() => {} }
    door_read.notify_one();
    tokio::join!(probe::run(desk, settings.sweep, shutdown), sweep::run(desk, settings.sweep, shutdown));
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
