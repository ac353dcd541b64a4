//! The HTTP API: records each payment once, and shows where payments stand.
//!
//! Read in this order: [`routes`] (which paths there are), [`request`] (what is accepted), `routes::payments`
//! (the handlers), [`problem`] (the answers to what is wrong).

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use shared::database::batch::Batcher;
use shared::database::{self, Seat};
use shared::merchant::auth::Authenticating;
use shared::operations::installation;
use shared::payment::store::Reading;
use shared::payment::transition::Accepting;
use shared::platform::listener::{self, Limits};
use shared::queue::bell::Bell;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

mod accounts;
mod admin_key;
mod board;
mod body;
mod card_number;
mod clean;
mod correlation;
mod fault;
mod head;
mod limit;
mod measure;
mod operator;
mod problem;
mod query;
mod refusal;
mod render;
mod request;
mod routes;
mod settings;
mod wait;

pub use settings::Settings;

/// How long requests under way may take to end after the shutdown began.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What every handler needs. Each request clones it several times, so it is one pointer.
type App = Arc<Parts>;

struct Parts {
    pool: PgPool,
    authentications: Batcher<Authenticating>,
    accepts: Batcher<Accepting>,
    reads: Batcher<Reading>,
    accounts: accounts::Accounts,
    waiters: Arc<wait::Waiters>,
    limit: Arc<limit::Limit>,
    admin_keys: admin_key::AdminKeys,
    chaos_mode: bool,
    shutdown: CancellationToken,
}

/// The connections that accepting, reading, authenticating, moving money and reading its keys keep for
/// themselves.
const SEATS: u32 = 5;

/// The most connections of operators at a time. Some of the job board's stay open.
const OPERATORS: usize = 256;

/// The API, bound to its addresses and ready to serve.
pub struct Server {
    pool: PgPool,
    settings: Settings,
    api: TcpListener,
    board: TcpListener,
    api_addr: SocketAddr,
    board_addr: SocketAddr,
}

impl Server {
    /// Connects to the database, makes sure that its schema is up to date, and takes both addresses.
    ///
    /// # Errors
    /// There is no database, or it lacks migrations, has too few connections, or is not the known one. Or an
    /// address is taken.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        shared::platform::metrics::start();
        let pool =
            database::connect_as(&settings.database_url, settings.max_connections - SEATS, "payonce api")
                .await?;
        database::require_migrated(&pool).await?;
        database::check_room(&pool, settings.max_connections).await?;
        installation::admit(&pool).await?;
        let (api, api_addr) = listen("API_ADDR", settings.api_addr).await?;
        let (board, board_addr) = listen("BOARD_ADDR", settings.board_addr).await?;
        Ok(Self { pool, settings, api, board, api_addr, board_addr })
    }

    /// The address on which the API listens.
    #[must_use]
    pub const fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// The address on which the job board and the operator's page listen.
    #[must_use]
    pub const fn board_addr(&self) -> SocketAddr {
        self.board_addr
    }

    /// Serves until `shutdown`, then lets the requests under way end.
    ///
    /// # Errors
    /// None: it serves as long as it may.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let waiters = wait::Waiters::start(self.pool.clone(), shutdown.clone());
        let seat = || Seat::new(self.pool.clone());
        let accepts = Batcher::new(Accepting { seat: seat(), bell: Bell::new(self.pool.clone()) });
        let admin_keys = admin_key::AdminKeys::new(&self.settings.admin_key, &self.settings.admin_keys);
        let board = board::router(&self.pool, admin_keys.clone());
        let chaos_mode = self.settings.chaos_mode;
        let limit = Arc::new(limit::Limit::new(self.settings.rate));
        let _keeping_small = AbortOnDropHandle::new(tokio::spawn({
            let limit = limit.clone();
            async move { limit.keep_small().await }
        }));
        let app = Arc::new(Parts {
            authentications: Batcher::new(Authenticating { seat: seat() }),
            accepts,
            reads: Batcher::new(Reading { seat: seat() }),
            accounts: accounts::Accounts::new(&self.pool),
            waiters,
            limit,
            admin_keys,
            chaos_mode,
            shutdown: shutdown.clone(),
            pool: self.pool.clone(),
        });
        let room = listener::room_for(self.settings.client_connections + OPERATORS);
        let clients = Limits::with(room.saturating_sub(OPERATORS).max(1));
        let serve = async {
            tokio::join!(
                listener::serve(self.api, routes::router(app), clients, shutdown.clone()),
                listener::serve(self.board, board, Limits::with(OPERATORS), shutdown.clone()),
            )
        };
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        tokio::select! {
            _ = serve => {}
            () = deadline => tracing::warn!("requests still under way at the shutdown deadline; cut off"),
        }
        database::close(&self.pool).await;
        Ok(())
    }
}

async fn listen(setting: &str, addr: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let taken =
        || format!("{setting}: cannot listen on {addr}; choose another address, or port 0 for a free one");
    let listener = TcpListener::bind(addr).await.with_context(taken)?;
    let addr = listener.local_addr().with_context(taken)?;
    Ok((listener, addr))
}

/// The whole program, configured by the environment.
#[must_use]
pub fn main() -> ExitCode {
    shared::platform::process::run("api", |shutdown| async move {
        let server = Server::bind(Settings::from_env()?).await?;
        shared::platform::process::announce(&serde_json::json!({
            "event": "ready",
            "service": "api",
            "api": format!("http://{}", server.api_addr()),
            "board": format!("http://{}", server.board_addr()),
        }));
        server.run(shutdown).await
    })
}
