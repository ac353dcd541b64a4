//! A Postgres server of one test's own, which it may kill and start again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::{Lifetime, Options, Server};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::wait::{DEADLINE, wait_until};
use crate::{TestDatabase, guardian};

const DATABASE: &str = "payonce";

/// A server that only one test uses.
#[derive(Debug)]
pub struct PrivateServer {
    server: Server,
    directory: PathBuf,
    is_frozen: AtomicBool,
}

impl PrivateServer {
    /// Starts an empty server.
    pub async fn start() -> Self {
        Self::with(Vec::new(), None).await
    }

    /// Starts an empty server with this setting.
    pub async fn with_setting(name: &str, value: &str) -> Self {
        Self::with(vec![(name.to_owned(), value.to_owned())], None).await
    }

    /// Starts a server with the programs in that directory. The user who runs it may be unable to reach them,
    /// so they are copied.
    pub async fn of(programs: &Path) -> Self {
        let copy = guardian::scratch().join(format!("programs-{:08x}", rand::random::<u32>()));
        let parent = programs.parent().expect("programs are in a directory beside what they need");
        let copied = Command::new("cp").args(["-RL"]).arg(parent).arg(&copy).status();
        assert!(copied.expect("cp can be run").success(), "{} cannot be copied", parent.display());
        Self::with(Vec::new(), Some(copy.join("bin"))).await
    }

    /// Starts an empty server on which nothing happens but what the test does. It is for tests that count
    /// statements and what they read, by `pg_stat_statements` where the test makes the extension.
    ///
    /// On a shared server every new session, to any database, holds a snapshot for a moment. While one is
    /// held, dead entries of an index cannot be cleared out, and all statements read them.
    pub async fn quiet() -> Self {
        let settings = [("autovacuum", "off"), ("shared_preload_libraries", "pg_stat_statements")];
        Self::with(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), None).await
    }

    /// Starts an empty server with these settings.
    pub async fn with_settings(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Self::with(settings.collect(), None).await
    }

    async fn with(extra_settings: Vec<(String, String)>, programs: Option<PathBuf>) -> Self {
        let options = Options { programs, ..options(extra_settings) };
        let directory = options.data_dir.clone();
        let server = Server::start(options).await.expect("postgres starts");
        Self { server, directory, is_frozen: AtomicBool::new(false) }
    }

    /// Starts a standby of it, which follows from now on.
    pub async fn standby(&self) -> Self {
        let options = options(Vec::new());
        let directory = options.data_dir.clone();
        let server = self.server.standby(options).await.expect("the standby starts");
        Self { server, directory, is_frozen: AtomicBool::new(false) }
    }

    /// Makes this standby the primary.
    pub async fn promote(&self) {
        self.server.promote().await.expect("the standby can be promoted");
    }

    /// Its address as `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.user_and_place().1
    }

    /// Its address in two parts, `user:password` and `host:port`.
    pub(crate) fn user_and_place(&self) -> (String, String) {
        let url = self.server.url("");
        let (user, place) =
            url.trim_start_matches("postgres://").rsplit_once('@').expect("a URL with a user");
        (user.to_owned(), place.trim_end_matches('/').to_owned())
    }

    /// The URL of its one database. With others it names several hosts, as libpq does.
    #[must_use]
    pub fn url_with(&self, others: &[&Self]) -> String {
        let places: Vec<String> = others.iter().map(|other| other.address()).collect();
        let own = self.server.url(DATABASE);
        if places.is_empty() {
            return own;
        }
        own.replace(&self.address(), &format!("{},{}", self.address(), places.join(",")))
            + "?target_session_attrs=read-write"
    }

    /// Executes these statements on the server, each by itself, as its superuser.
    pub async fn execute(&self, sql: &str) {
        let mut connection =
            PgConnection::connect(&self.server.url("postgres")).await.expect("it takes connections");
        for statement in sql.split(';') {
            let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
            done.expect(statement);
        }
    }

    /// Sets this for the whole server, or takes it back, and returns once all sessions know it. The server
    /// tells its sessions before it begins another one.
    pub async fn set(&self, setting: &str, value: Option<&str>) {
        let change = match value {
            Some(value) => format!("alter system set {setting} = '{value}'"),
            None => format!("alter system reset {setting}"),
        };
        // It works even where nothing may be written.
        self.execute(&format!("set default_transaction_read_only = off; {change}")).await;
        let url = self.server.url("postgres");
        let mut connection = PgConnection::connect(&url).await.expect("it takes connections");
        let before: String = sqlx::query_scalar("select clock_timestamp()::text")
            .fetch_one(&mut connection)
            .await
            .expect("an answer");
        self.execute("select pg_reload_conf()").await;
        wait_until(format!("{setting} to be known"), async || {
            let mut fresh = PgConnection::connect(&url).await.expect("it takes connections");
            let heard = "select pg_conf_load_time() > $1::timestamptz";
            sqlx::query_scalar(heard).bind(&before).fetch_one(&mut fresh).await.expect("an answer")
        })
        .await;
    }

    /// Cuts every wait for a standby short, as an operator may, for as long as the value lives.
    pub fn cut_waits_short(&self) -> AbortOnDropHandle<()> {
        let url = self.server.url("postgres");
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connection = PgConnection::connect(&url).await.expect("it takes connections");
            let cut = "select count(pg_cancel_backend(pid)), pg_sleep(0.02) from pg_stat_activity where wait_event = 'SyncRep'";
            while sqlx::raw_sql(cut).execute(&mut connection).await.is_ok() {}
        }))
    }

    /// Waits until this standby has all that `primary` wrote.
    pub async fn has_all_of(&self, primary: &Self) {
        let mut connection =
            PgConnection::connect(&primary.server.url("postgres")).await.expect("it takes connections");
        let mut standby =
            PgConnection::connect(&self.server.url("postgres")).await.expect("it takes connections");
        let written: String = sqlx::query_scalar("select pg_current_wal_insert_lsn()::text")
            .fetch_one(&mut connection)
            .await
            .expect("a place in the log");
        wait_until("the standby to have it all", async || {
            let replayed = "select pg_last_wal_replay_lsn() >= $1::pg_lsn";
            sqlx::query_scalar(replayed).bind(&written).fetch_one(&mut standby).await.expect("an answer")
        })
        .await;
    }

    /// Stops all its processes, so that it answers no session, not even an open one.
    pub fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets its processes go on.
    pub fn thaw(&self) {
        self.is_frozen.store(false, Ordering::Relaxed);
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, signal: Signal) {
        let main = self.server.pid();
        // The main one comes first, and then starts no others.
        kill(Pid::from_raw(main.cast_signed()), signal).expect("our own server can be signalled");
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // A process that has just ended is no loss.
            let _ = kill(Pid::from_raw(child), signal);
        }
    }

    /// Ends it and removes its files. A test that failed leaves them to be inspected, until the test
    /// process ends.
    pub async fn remove(mut self) {
        self.end_by(Signal::SIGQUIT).await;
        fs::remove_dir_all(&self.directory).expect("a server that ended uses its files no more");
    }

    /// Makes its one database, with all of Payonce's tables.
    pub async fn database(&self) -> TestDatabase {
        self.server.create_database(DATABASE).await.expect("the database can be created");
        TestDatabase::elsewhere(self.server.url(DATABASE)).await
    }

    /// Makes its one database, empty.
    pub async fn empty_database(&self) -> TestDatabase {
        self.server.create_database(DATABASE).await.expect("the database can be created");
        TestDatabase::empty_elsewhere(self.server.url(DATABASE)).await
    }

    /// Starts it again as a standby that never hears of a primary: it can be read, and is in recovery.
    pub async fn into_recovery(&mut self) {
        self.end_by(Signal::SIGINT).await;
        let signal = self.server.data_dir().join("postgres/standby.signal");
        fs::write(signal, "").expect("the server's directory is writable");
        self.restart().await;
    }

    /// Makes its one database, whose URL names the others as possible primaries.
    pub async fn database_with(&self, others: &[&Self]) -> TestDatabase {
        self.server.create_database(DATABASE).await.expect("the database can be created");
        for other in others {
            other.has_all_of(self).await;
        }
        TestDatabase::elsewhere(self.url_with(others)).await
    }

    /// Ends it by this signal and waits until it is gone. SIGQUIT drops all connections at once; SIGKILL does
    /// not even tell the sessions.
    pub async fn end_by(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.server.pid().cast_signed());
        kill(pid, signal).expect("our own server can be signalled");
        let ended = timeout(DEADLINE, self.server.ended()).await;
        ended.expect("the server ends in time").expect("the server can be waited for");
    }

    /// Starts it again where it was, and waits until it takes connections.
    pub async fn restart(&mut self) {
        self.server.restart().await.expect("postgres starts again");
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // A frozen process does not end.
        if self.is_frozen.load(Ordering::Relaxed) {
            self.thaw();
        }
    }
}

fn options(extra_settings: Vec<(String, String)>) -> Options {
    let directory = guardian::scratch().join(format!("private-{:08x}", rand::random::<u32>()));
    Options { lifetime: Lifetime::Passing, extra_settings, ..Options::new(directory) }
}
