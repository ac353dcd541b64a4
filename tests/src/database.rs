//! Databases of one test each.

use std::thread;

use sqlx::PgPool;

use crate::guardian;
use crate::server::{self, Content};

/// A database that only this test uses. Dropped with the value, unless the test failed: then it stays for a
/// look, as long as the test process lives.
#[derive(Debug)]
pub struct TestDatabase {
    /// Where to connect.
    pub url: String,
    /// A few connections for the test itself.
    pub pool: PgPool,
    /// None where it goes with a server of its own.
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

    async fn with(content: Content) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        let url = server::create(&name, content).await;
        let pool = shared::db::connect(&url, 4).await.expect("a new database takes connections");
        Self { url, pool, name: Some(name) }
    }

    /// A database on a server that belongs to the test, with all of Payonce's tables.
    pub(crate) async fn elsewhere(url: String) -> Self {
        let pool = shared::db::connect(&url, 4).await.expect("a new database takes connections");
        shared::db::migrate(&pool).await.expect("the migrations apply");
        Self { url, pool, name: None }
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
