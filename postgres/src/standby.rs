//! A second server that follows the first one, as a standby does, for tests and trials of a failover.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::cluster::Cluster;
use super::{Options, Owner, SUPERUSER, Server, connect, remove_everything};
use crate::data_dir::{DataDir, write_private};

impl Server {
    /// Starts a standby of this server, which follows it from now on and has the same password. What was in
    /// its directory goes.
    pub async fn standby(&self, options: Options) -> Result<Self> {
        let owner = Owner::of(&std::path::absolute(&options.data_dir)?.join("postgres"))?;
        let directory = DataDir::open_for(&options.data_dir, &owner)?;
        remove_everything(&directory).await?;
        let cluster = Cluster::in_directory(&directory);
        write_private(&cluster.password_file, &self.password)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&cluster.path)
            .context("cannot make the standby's directory")?;
        owner.give(&cluster.path)?;
        let mut command = owner.command(self.program("pg_basebackup"));
        command.arg("--pgdata").arg(&cluster.path).arg("--dbname").arg(self.url("postgres"));
        command.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"]);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
        let output = output.context("cannot run pg_basebackup")?;
        if !output.status.success() {
            bail!("pg_basebackup failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        // The new server takes the lock of its directory.
        drop(directory);
        Self::start(options).await
    }

    /// Makes a standby the primary, and waits until it takes writes.
    pub async fn promote(&self) -> Result<()> {
        let mut connection = connect(self.port, &self.password, SUPERUSER).await?;
        let is_promoted: bool =
            sqlx::query_scalar("select pg_promote(true, 60)").fetch_one(&mut connection).await?;
        connection.close().await?;
        if is_promoted { Ok(()) } else { bail!("the standby was not promoted in time") }
    }

    /// Executes a statement as superuser, in the database that every server has.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the statement.
    pub async fn execute(&self, statement: &str) -> Result<()> {
        let mut connection = connect(self.port, &self.password, SUPERUSER).await?;
        let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await;
        done.with_context(|| format!("cannot {statement}"))?;
        Ok(connection.close().await?)
    }

    /// The one number that a statement answers to the superuser.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the statement, or the answer is no number.
    pub async fn count(&self, statement: &str) -> Result<i64> {
        let mut connection = connect(self.port, &self.password, SUPERUSER).await?;
        let row = sqlx::query(AssertSqlSafe(statement)).fetch_one(&mut connection).await;
        let count = row.with_context(|| format!("cannot {statement}"))?.try_get(0)?;
        connection.close().await?;
        Ok(count)
    }

    /// The rows that a statement answers to the superuser, a text each.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the statement.
    pub async fn texts(&self, statement: &str) -> Result<Vec<String>> {
        let mut connection = connect(self.port, &self.password, SUPERUSER).await?;
        let rows = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(&mut connection).await;
        let texts = rows.with_context(|| format!("cannot {statement}"))?;
        connection.close().await?;
        Ok(texts)
    }

    /// The port where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}
