//! The private Postgres of a run: durable as in production, and watched statement by statement where that
//! is installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use postgres::{Options, Server};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// The server, and the directory that goes with it.
pub(crate) struct BenchServer {
    server: Server,
    directory: PathBuf,
    /// Whether it counts statements.
    pub(crate) counts_statements: bool,
}

impl BenchServer {
    pub(crate) async fn start(directory: PathBuf) -> Result<Self> {
        let mut options = Options::new(&directory);
        let server = Server::start(options.clone()).await?;
        let mut plain = Self { server, directory, counts_statements: false };
        let mut connection = plain.connect("postgres").await?;
        let installed: bool = sqlx::query_scalar(
            "select exists (select from pg_available_extensions where name = 'pg_stat_statements')",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        plain.server.stop().await?;
        options.extra_settings = vec![("min_wal_size".to_owned(), WAL_KEPT.to_owned())];
        if installed {
            // The library must be loaded from the start.
            let library = ("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned());
            options.extra_settings.push(library);
        }
        plain.server = Server::start(options).await?;
        plain.counts_statements = installed;
        plain.age().await?;
        Ok(plain)
    }

    /// Makes the files of the write-ahead log now. A server in use overwrites files that it has written
    /// before, while a new one must make each first, which takes as long as many commits.
    async fn age(&self) -> Result<()> {
        let mut connection = self.connect("postgres").await?;
        for _ in 0..WAL_FILES {
            sqlx::query("select pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()")
                .execute(&mut connection)
                .await?;
        }
        sqlx::query("checkpoint").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    pub(crate) async fn version(&self) -> Result<String> {
        let mut connection = self.connect("postgres").await?;
        Ok(sqlx::query_scalar("show server_version").fetch_one(&mut connection).await?)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The path of a program that came with the server.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.server.program(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.server.data_dir()
    }

    /// A connection with the server's own settings and no limits, for measuring.
    pub(crate) async fn connect(&self, database: &str) -> Result<PgConnection> {
        let options: PgConnectOptions = self.url(database).parse()?;
        PgConnection::connect_with(&options).await.context("cannot connect to PostgreSQL")
    }

    /// Makes an empty database of that name, in place of one that was there.
    pub(crate) async fn create(&self, database: &str) -> Result<()> {
        self.drop(database).await?;
        self.server.create_database(database).await
    }

    pub(crate) async fn drop(&self, database: &str) -> Result<()> {
        let mut connection = self.connect("postgres").await?;
        let drop = format!("drop database if exists {database} with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Stops it and removes its files.
    pub(crate) async fn remove(self) -> Result<()> {
        let kept = self.server.data_dir().to_owned();
        self.server.stop().await?;
        for directory in [kept, self.directory] {
            if directory.exists() {
                std::fs::remove_dir_all(&directory)
                    .with_context(|| format!("cannot remove {}", directory.display()))?;
            }
        }
        Ok(())
    }
}

/// The size of the write-ahead log that the server writes between two checkpoints, by its own default.
const WAL_KEPT: &str = "1GB";
const WAL_FILES: u32 = 64;

/// The longest wait of a run for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
