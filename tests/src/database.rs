//! Databases of one test each.

use std::path::PathBuf;
use std::thread;

use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;

use crate::guardian;
use crate::server::{self, Content};

/// A dump of a database, which stays as long as the test process lives.
#[derive(Debug, Clone)]
pub struct Dump(PathBuf);

/// A database that only this test uses. It is dropped with the value. After a failed test it stays for as
/// long as the test process lives, so that it can be inspected.
#[derive(Debug)]
pub struct TestDatabase {
    /// The superuser's connection URL.
    pub url: String,
    /// A few connections for the test itself.
    pub pool: PgPool,
    /// Its name on the test process's server. None where it is on a server of its own.
    name: Option<String>,
}

impl TestDatabase {
    /// A database with all of Payonce's tables, and nothing in them.
    pub async fn fresh() -> Self {
        Self::with(Content::Migrated).await
    }

    /// A database without tables, for a program that makes its own.
    pub async fn fresh_empty() -> Self {
        Self::with(Content::Empty).await
    }

    /// A database without tables, made with this end of `create database`.
    pub async fn made_with(how: &'static str) -> Self {
        Self::with(Content::Made(how)).await
    }

    /// A database of an encoding that Payonce refuses. The test's own connections are as the server
    /// makes them.
    ///
    /// # Panics
    /// The server cannot be reached.
    pub async fn unfit(how: &'static str) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        let url = server::create(&name, Content::Made(how)).await;
        let pool = PgPool::connect(&url).await.expect("a new database takes connections");
        Self { url, pool, name: Some(name) }
    }

    /// Dumps it as it is now, while others may be connected.
    ///
    /// # Panics
    /// It cannot be dumped.
    pub async fn dump(&self) -> Dump {
        let file = guardian::scratch().join(format!("dump-{:016x}", rand::random::<u64>()));
        let mut dump = Command::new(server::program("pg_dump"));
        dump.args(["-Fc", "-d", &self.url, "-f"]).arg(&file);
        let done = dump.output().await.expect("pg_dump can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Dump(file)
    }

    /// All that is in it now, as text.
    ///
    /// # Panics
    /// It cannot be dumped.
    pub async fn dump_text(&self) -> String {
        let dump = Command::new(server::program("pg_dump")).args(["-d", &self.url]).output().await;
        let dump = dump.expect("pg_dump can be run");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        String::from_utf8_lossy(&dump.stdout).into_owned()
    }

    /// A new database with the contents of the dump.
    ///
    /// # Panics
    /// It cannot be restored.
    pub async fn from_dump(dump: &Dump) -> Self {
        let database = Self::fresh_empty().await;
        let mut restore = Command::new(server::program("pg_restore"));
        restore.args(["--exit-on-error", "-d", &database.url]).arg(&dump.0);
        let done = restore.output().await.expect("pg_restore can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        database
    }

    async fn with(content: Content) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        let url = server::create(&name, content).await;
        let pool = shared::database::connect(&url, 4).await.expect("a new database takes connections");
        Self { url, pool, name: Some(name) }
    }

    /// A database that exists already, reached in another way.
    pub async fn at(url: String) -> Self {
        let pool = shared::database::connect(&url, 4).await.expect("the database takes connections");
        Self { url, pool, name: None }
    }

    /// A database on a server that belongs to the test, with all of Payonce's tables.
    pub(crate) async fn elsewhere(url: String) -> Self {
        let pool = shared::database::connect(&url, 4).await.expect("a new database takes connections");
        shared::database::migrate(&pool).await.expect("the migrations apply");
        may_log_in(&pool).await;
        Self { url, pool, name: None }
    }

    /// A database without tables on a server that belongs to the test.
    pub(crate) async fn empty_elsewhere(url: String) -> Self {
        let pool = shared::database::connect(&url, 4).await.expect("a new database takes connections");
        Self { url, pool, name: None }
    }

    /// The URL of APIs and workers: of the role that may only serve.
    #[must_use]
    pub fn app_url(&self) -> String {
        self.url_as(shared::database::APP, shared::database::APP)
    }

    /// The URL of the role that only reads.
    #[must_use]
    pub fn reader_url(&self) -> String {
        self.url_as(shared::database::READER, shared::database::READER)
    }

    /// The URL of another role.
    #[must_use]
    pub fn url_as(&self, role: &str, password: &str) -> String {
        let (_, place) = self.url.split_once('@').expect("a URL with a user in it");
        format!("postgres://{role}:{password}@{place}")
    }
}

/// Lets the roles that the migration made log in.
pub async fn may_log_in(pool: &PgPool) {
    for role in [shared::database::APP, shared::database::READER] {
        let alter = format!("alter role {role} login password '{role}'");
        sqlx::query(AssertSqlSafe(alter)).execute(pool).await.expect("the migration made the roles");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        if !thread::panicking() {
            server::drop_soon(name);
        } else if std::env::var_os(guardian::KEEP).is_some() {
            guardian::keep();
            eprintln!("database kept: psql {} (when done: kill -INT {})", self.url, server::pid());
        } else {
            eprintln!("database {name} goes with the test process; {}=1 keeps it", guardian::KEEP);
        }
    }
}
