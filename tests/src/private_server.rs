//! A Postgres server of one test's own, which it may kill and start again.

use std::fs;
use std::path::PathBuf;

use cli::postgres::{Lifetime, Options, Server};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use crate::wait::DEADLINE;
use crate::{TestDatabase, guardian};

const DATABASE: &str = "payonce";

/// A server that nobody else uses.
#[derive(Debug)]
pub struct PrivateServer {
    server: Server,
    directory: PathBuf,
}

impl PrivateServer {
    /// Starts one, empty.
    pub async fn start() -> Self {
        Self::with(Vec::new()).await
    }

    /// Starts one, empty, on which nothing happens but what the test does, for tests that count statements and what they read:
    /// by `pg_stat_statements` where the test makes the extension.
    ///
    /// On a server that others use, whoever connects to it, to any of its databases, holds a snapshot for a moment, and while
    /// one is held nobody clears dead entries out of an index: everybody reads them.
    pub async fn quiet() -> Self {
        let settings = [("autovacuum", "off"), ("shared_preload_libraries", "pg_stat_statements")];
        Self::with(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await
    }

    async fn with(extra_settings: Vec<(String, String)>) -> Self {
        let directory = guardian::scratch().join(format!("private-{:08x}", rand::random::<u32>()));
        let options =
            Options { lifetime: Lifetime::Passing, extra_settings, ..Options::new(directory.clone()) };
        let server = Server::start(options).await.expect("postgres starts");
        Self { server, directory }
    }

    /// Ends it and removes its files. What failed leaves them for a look, until the test process ends.
    pub async fn remove(mut self) {
        self.end_by(Signal::SIGQUIT).await;
        fs::remove_dir_all(&self.directory).expect("a server that ended uses its files no more");
    }

    /// Its one database, with all of Payonce's tables.
    pub async fn database(&self) -> TestDatabase {
        self.server.create_database(DATABASE).await.expect("the database can be created");
        TestDatabase::elsewhere(self.server.url(DATABASE)).await
    }

    /// Ends it by this signal and waits until it is gone: SIGQUIT drops all connections at once, SIGKILL does not
    /// even tell the sessions.
    pub async fn end_by(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.server.pid().cast_signed());
        kill(pid, signal).expect("our own server can be signalled");
        let ended = timeout(DEADLINE, self.server.ended()).await;
        ended.expect("the server ends in time").expect("the server can be waited for");
    }

    /// Starts it again, where it was, and waits until it takes connections.
    pub async fn restart(&mut self) {
        self.server.restart().await.expect("postgres starts again");
    }
}
