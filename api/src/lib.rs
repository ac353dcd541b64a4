//! The HTTP API: records each payment once, and shows where payments stand.
//!
//! Read in this order: [`routes`] (which paths there are), [`request`] (what is accepted), `routes::payments`
//! (the handlers), [`problem`] (the answers to what is wrong).

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::Request;
use axum::middleware::map_response;
use shared::database::batch::Batcher;
use shared::database::{self, Seat};
use shared::merchant::auth::Authenticating;
use shared::merchant::jwt::Jwts;
use shared::merchant::jwt::issuer::Issuer;
use shared::merchant::usage::Usage;
use shared::operations::installation;
use shared::payment::store::Reading;
use shared::payment::transition::Accepting;
use shared::platform::listener::{self, Limits, Timely, Tls};
use shared::publish::address::Rules;
use shared::publish::seal::SealingKeys;
use shared::queue::bell::Bell;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

mod accounts;
mod admin_key;
mod board;
mod body;
mod card_number;
mod clean;
mod contract;
mod correlation;
mod cors;
mod credentials;
mod etag;
mod fault;
mod head;
mod limit;
mod measure;
mod news;
mod operator;
mod packed;
mod pages;
mod prefer;
mod problem;
mod query;
mod refusal;
mod render;
mod request;
mod routes;
mod secured;
mod seed;
mod settings;
mod sign_in;
mod wait;

use admin_key::operators::Operators;
use admin_key::tries::Tries;
pub use cors::{NoOrigin, Origins};
use credentials::Credentials;
pub use settings::Settings;

/// The API's contract, as a document of OpenAPI 3.1.
#[must_use]
pub fn openapi() -> &'static str {
    &contract::document::DOCUMENT
}

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
    streams: Arc<news::Streams>,
    limit: Arc<limit::Limit>,
    operators: Arc<Operators>,
    usage: Arc<Usage>,
    webhook_keys: Option<SealingKeys>,
    webhook_rules: Rules,
    chaos_mode: bool,
    shutdown: CancellationToken,
}

/// The connections that accepting, reading, authenticating, moving money and reading its keys keep for
/// themselves.
const SEATS: u32 = 5;

/// The most connections of operators at a time, to their pages and to the job board each. Some of the board's
/// stay open.
const OPERATORS: usize = 128;

/// The most connections at a time of whoever reads the metrics.
const WATCHERS: usize = 64;

/// The API, bound to its addresses and ready to serve.
pub struct Server {
    pool: PgPool,
    settings: Settings,
    tls: Option<Tls>,
    api: Door,
    ops: Door,
    board: Option<Door>,
    metrics: Door,
}

/// An address that was taken.
struct Door {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Connects to the database, makes sure that its schema is up to date, and takes all addresses.
    ///
    /// # Errors
    /// There is no database, or it lacks migrations, has too few connections, or is not the known one. Or an
    /// address is taken, or the certificate cannot be used.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        shared::platform::metrics::start(&settings.buckets);
        measure::describe();
        let tls = settings.tls.clone().map(Tls::read).transpose()?;
        let pool =
            database::connect_as(&settings.database_url, settings.max_connections - SEATS, "payonce api")
                .await?;
        database::require_migrated(&pool).await?;
        database::check_room(&pool, settings.max_connections).await?;
        installation::admit(&pool).await?;
        seed::from_environment(&pool, &settings).await?;
        let api = Door::open("API_ADDR", settings.api_addr).await?;
        let ops = Door::open("OPS_ADDR", settings.ops_addr).await?;
        let metrics = Door::open("METRICS_ADDR", settings.metrics_addr).await?;
        let board = match settings.board_addr {
            Some(addr) => Some(Door::open("BOARD_ADDR", addr).await?),
            None => None,
        };
        Ok(Self { pool, settings, tls, api, ops, board, metrics })
    }

    /// The URL of the API.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.api.url(self.tls.is_some())
    }

    /// The URL of the listener of the operators' pages, which stand below `/ops`.
    #[must_use]
    pub fn ops_url(&self) -> String {
        self.ops.url(self.tls.is_some())
    }

    /// The URL of the job board, where there is one.
    #[must_use]
    pub fn board_url(&self) -> Option<String> {
        self.board.as_ref().map(|board| board.url(self.tls.is_some()))
    }

    /// The URL of the listener of the metrics, which never speaks TLS.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        self.metrics.url(false)
    }

    /// Serves until `shutdown`, then lets the requests under way end.
    ///
    /// # Errors
    /// None: it serves as long as it may.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let waiters = wait::Waiters::start(self.pool.clone(), shutdown.clone());
        let streams = news::Streams::start(self.pool.clone(), shutdown.clone());
        let seat = || Seat::new(self.pool.clone());
        let accepts = Batcher::new(Accepting { seat: seat(), bell: Bell::new(self.pool.clone()) });
        let authentications = Batcher::new(Authenticating::by(&self.pool));
        let usage = Arc::new(Usage::default());
        let jwts = self.settings.jwt.clone().map(|jwt| Jwts::new(jwt, &self.pool));
        let issuer = jwts.as_ref().map(Jwts::issuer);
        let operators = Arc::new(Operators {
            keys: admin_key::AdminKeys::new(&self.settings.admin_key, &self.settings.admin_keys),
            authentications: authentications.clone(),
            credentials: Credentials { peppers: self.settings.peppers.clone(), jwts },
            usage: usage.clone(),
            tries: Tries::new(self.settings.admin_tries),
        });
        let limit = Arc::new(self.settings.limit(self.pool.clone()));
        let _beside = self.beside(&limit, &usage, issuer, &shutdown);
        let app = Arc::new(Parts {
            authentications,
            accepts,
            reads: Batcher::new(Reading { seat: seat() }),
            accounts: accounts::Accounts::new(&self.pool),
            waiters,
            streams,
            limit: limit.clone(),
            operators,
            usage,
            webhook_keys: self.settings.webhook_keys.clone(),
            webhook_rules: self.settings.webhook_rules.clone(),
            chaos_mode: self.settings.chaos_mode,
            shutdown: shutdown.clone(),
            pool: self.pool.clone(),
        });
        let (pool, serve) = (self.pool.clone(), self.serve(app, shutdown.clone()));
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        tokio::select! {
            () = serve => {}
            () = deadline => tracing::warn!("requests still under way at the shutdown deadline; cut off"),
        }
        limit.leave().await;
        database::close(&pool).await;
        Ok(())
    }

    /// Starts what goes on beside requests, for as long as the handles are kept.
    fn beside(
        &self,
        limit: &Arc<limit::Limit>,
        usage: &Arc<Usage>,
        issuer: Option<Arc<Issuer>>,
        shutdown: &CancellationToken,
    ) -> Vec<AbortOnDropHandle<()>> {
        let (pool, peppers) = (self.pool.clone(), self.settings.peppers.clone());
        let (limit, usage, shutdown) = (limit.clone(), usage.clone(), shutdown.clone());
        let mut tasks = vec![
            tokio::spawn(async move { limit.keep(shutdown).await }),
            tokio::spawn({
                let (pool, peppers) = (pool.clone(), peppers.clone());
                async move { usage.keep_written(&pool, &peppers).await }
            }),
            tokio::spawn(async move { seed::watch_peppers(&pool, &peppers).await }),
        ];
        tasks.extend(issuer.map(|issuer| tokio::spawn(async move { issuer.keep_current().await })));
        tasks.into_iter().map(AbortOnDropHandle::new).collect()
    }

    /// Serves on all addresses, until `shutdown` and the end of the requests under way.
    async fn serve(self, app: App, shutdown: CancellationToken) {
        let others = 2 * OPERATORS + WATCHERS;
        let room = listener::room_for(self.settings.client_connections + others);
        let clients = Limits::with(room.saturating_sub(others).max(1));
        let is_tls = self.tls.is_some();
        let marked =
            |router: Router| if is_tls { router.layer(map_response(secured::by_tls)) } else { router };
        let operators = app.operators.clone();
        let api = marked(routes::router(app, &self.settings));
        let api = ServiceExt::<Request<Timely>>::map_response(api, routes::without_paths);
        let ops = marked(operator::listener(&self.pool, operators.clone()));
        let board = self.board.map(|door| (door, marked(board::router(&self.pool, operators))));
        let metrics = routes::metrics::router(self.pool.clone());
        let tls = self.tls;
        let keeping = tls.clone().map(|tls| tokio::spawn(tls.keep_current(shutdown.clone())));
        let _keeping_current = keeping.map(AbortOnDropHandle::new);
        let at = |door: Door, tls: Option<Tls>, router: Router, limits: Limits| {
            listener::serve(door.listener, tls, router, limits, shutdown.clone())
        };
        tokio::join!(
            listener::serve(self.api.listener, tls.clone(), api, clients, shutdown.clone()),
            at(self.ops, tls.clone(), ops, Limits::with(OPERATORS)),
            async {
                if let Some((door, board)) = board {
                    at(door, tls.clone(), board, Limits::with(OPERATORS)).await;
                }
            },
            at(self.metrics, None, metrics, Limits::with(WATCHERS)),
        );
    }
}

impl Door {
    async fn open(setting: &str, addr: SocketAddr) -> anyhow::Result<Self> {
        let taken = || {
            format!("{setting}: cannot listen on {addr}; choose another address, or port 0 for a free one")
        };
        let listener = TcpListener::bind(addr).await.with_context(taken)?;
        let addr = listener.local_addr().with_context(taken)?;
        Ok(Self { listener, addr })
    }

    fn url(&self, is_tls: bool) -> String {
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }
}

/// The whole program, configured by the environment.
#[must_use]
pub fn main() -> ExitCode {
    shared::platform::process::run("api", |shutdown| async move {
        let server = Server::bind(Settings::from_env()?).await?;
        shared::platform::process::announce(&serde_json::json!({
            "event": "ready",
            "service": "api",
            "api": server.api_url(),
            "ops": server.ops_url(),
            "board": server.board_url(),
            "metrics": server.metrics_url(),
        }));
        server.run(shutdown).await
    })
}
