//! The private Postgres server of a test process.
//!
//! It lives in a thread with a runtime of its own, since each test's runtime ends with the test. That thread
//! also makes and drops the databases, over a single connection.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;

use postgres::{Lifetime, Options, Server};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};

use crate::guardian;

const TEMPLATE: &str = "payonce_template";
/// Enough connections for several tests at once, each with a few processes and their pools.
const MAX_CONNECTIONS: &str = "400";

static SERVER: LazyLock<TestServer> = LazyLock::new(TestServer::start);

/// The contents of a new database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    /// All of Payonce's tables.
    Migrated,
    /// Nothing: no tables at all.
    Empty,
    /// Nothing; the statement that makes it has this end.
    Made(&'static str),
}

#[derive(Debug)]
enum Request {
    Create { name: String, content: Content, done: oneshot::Sender<()> },
    Drop { name: String },
}

#[derive(Debug)]
struct TestServer {
    /// A connection URL, complete except for the name of the database.
    url: String,
    pid: u32,
    /// The directory of the server's programs.
    programs: PathBuf,
    requests: mpsc::UnboundedSender<Request>,
}

/// Makes a database and answers its URL.
pub(crate) async fn create(name: &str, content: Content) -> String {
    let (done, wait) = oneshot::channel();
    let request = Request::Create { name: name.to_owned(), content, done };
    SERVER.requests.send(request).expect("the server's thread runs");
    wait.await.expect("the database can be created");
    format!("{}{name}", SERVER.url)
}

/// Drops a database, even while sessions are connected to it. Returns at once.
pub(crate) fn drop_soon(name: &str) {
    // The thread is gone only when the whole server is.
    let _ = SERVER.requests.send(Request::Drop { name: name.to_owned() });
}

/// The path of a program that came with the server.
pub(crate) fn program(name: &str) -> PathBuf {
    SERVER.programs.join(name)
}

/// The number of the server's main process.
pub(crate) fn pid() -> u32 {
    SERVER.pid
}

impl TestServer {
    fn start() -> Self {
        let (started, wait) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be built");
                runtime.block_on(serve(started));
            })
            .expect("a thread can be started");
        wait.recv().expect("the server started; if not, its thread said why")
    }
}

async fn serve(started: std::sync::mpsc::Sender<TestServer>) {
    let server = Server::start(options()).await.expect("postgres starts");
    guardian::remove(server.data_dir());
    server.create_database(TEMPLATE).await.expect("the template can be created");
    // Closed again, because a database in use cannot be a template.
    let pool = shared::database::connect(&server.url(TEMPLATE), 2).await.expect("postgres takes connections");
    shared::database::migrate(&pool).await.expect("the migrations apply");
    crate::database::may_log_in(&pool).await;
    pool.close().await;

    let mut connection =
        PgConnection::connect(&server.url("postgres")).await.expect("postgres takes connections");
    let (requests, mut waiting) = mpsc::unbounded_channel();
    let programs = server.program("postgres").parent().expect("a program is in a directory").to_owned();
    let ready = TestServer { url: server.url(""), pid: server.pid(), programs, requests };
    started.send(ready).expect("somebody waits for the server");
    while let Some(request) = waiting.recv().await {
        fulfil(request, &mut connection).await;
    }
}

async fn fulfil(request: Request, connection: &mut PgConnection) {
    let statement = match &request {
        Request::Create { name, content: Content::Migrated, .. } => {
            format!("create database {name} template {TEMPLATE}")
        }
        Request::Create { name, content: Content::Empty, .. } => format!("create database {name}"),
        Request::Create { name, content: Content::Made(how), .. } => format!("create database {name} {how}"),
        Request::Drop { name } => format!("drop database {name} with (force)"),
    };
    let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(connection).await;
    match (done, request) {
        (Ok(_), Request::Create { done, .. }) => {
            // The test may have ended meanwhile.
            let _ = done.send(());
        }
        (Ok(_), Request::Drop { .. }) => {}
        (Err(error), _) => eprintln!("{statement}: {error}"),
    }
}

fn options() -> Options {
    let mut options = Options::new(guardian::scratch().join("server"));
    options.lifetime = Lifetime::Passing;
    options.extra_settings = vec![("max_connections".to_owned(), MAX_CONNECTIONS.to_owned())];
    options
}
