//! The gateway as a whole: bound first, so that its address is known, then run.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::faults::FaultSwitch;
use crate::routes::{self, App};
use crate::settings::{ApiKey, Settings};
use crate::store::{self, Books};
use crate::writer::{Desk, Writer};

/// How long a start waits for a predecessor to release the books.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a shutdown waits for answers under way.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);
const JOURNAL_READERS_MAX: u32 = 4;

/// A gateway that listens but does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    listener: TcpListener,
    addr: SocketAddr,
    pool: PgPool,
    account: Arc<str>,
    api_key: Option<ApiKey>,
    desk: Desk,
    writer: Writer,
    is_alone: bool,
}

impl Gateway {
    /// Locks the books, brings their tables up to date and binds the address.
    ///
    /// # Errors
    /// The database is out of reach, another gateway holds its books, or the address is taken.
    pub async fn bind(settings: Settings) -> anyhow::Result<Gateway> {
        let options = store::connect_options(&settings.database_url)?;
        let books = Books::open(&options, TAKEOVER_PATIENCE).await?;
        let mut books = books.context(
            "another gateway holds the books in this database: \
             stop it, or set GATEWAY_DATABASE_URL to another database",
        )?;
        books.migrate().await?;
        let account = books.account().await?.into();
        let pool = PgPoolOptions::new()
            .max_connections(JOURNAL_READERS_MAX)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options.clone());
        let listener = TcpListener::bind(settings.addr).await.with_context(|| {
            format!("cannot listen on {}: set GATEWAY_ADDR to a free address", settings.addr)
        })?;
        let addr = listener.local_addr().context("cannot read the address that was bound")?;
        let (desk, writer) = Writer::new(options, books);
        let api_key = settings.api_key;
        Ok(Gateway { listener, addr, pool, account, api_key, desk, writer, is_alone: false })
    }

    /// Says that nothing else runs in this process, so that a fault may end it. By default crashes
    /// are refused.
    #[must_use]
    pub fn alone(self) -> Gateway {
        Gateway { is_alone: true, ..self }
    }

    /// The address that was bound.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown`, then finishes the calls that were taken up.
    ///
    /// # Errors
    /// The writer ended by a bug.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Gateway { listener, addr, pool, account, api_key, desk, writer, is_alone } = self;
        let switch = Arc::new(Mutex::new(FaultSwitch::off()));
        let (pool_of_app, until) = (pool.clone(), shutdown.clone());
        let app = App { desk, pool: pool_of_app, account, api_key, switch, is_alone, shutdown: until };
        let router = routes::router(app);
        let stop_writer = CancellationToken::new();
        let writing = tokio::spawn(writer.run(stop_writer.clone()));
        tracing::info!(%addr, "listening");

        let connections = TaskTracker::new();
        shutdown.run_until_cancelled(accept(&listener, &router, &connections, &shutdown)).await;
        drop(listener);
        connections.close();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "leaving connections that do not end");
        }
        stop_writer.cancel();
        writing.await.context("the writer ended by a bug")?;
        pool.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    connections: &TaskTracker,
    shutdown: &CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection::serve(stream, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                // The usual reason is too many open files. Others must close first; asking again at once
                // would spin.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
