//! A database server of a run. It can be killed, started again, and followed by another one that takes
//! its place.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::{Lifetime, Options, Server};

use super::guardian::Guardian;

/// The most connections of a server. They are few, so that they can all be taken.
const CONNECTIONS_MAX: &str = "120";

fn options(directory: &Path, port: u16, is_measured: bool) -> Options {
    // A server that is measured waits for the disk, as servers do elsewhere.
    let (lifetime, [min_wal, max_wal]) = match is_measured {
        true => (Lifetime::Lasting, ["1GB", "4GB"]),
        false => (Lifetime::Passing, ["32MB", "64MB"]),
    };
    let settings = [
        ("max_connections", CONNECTIONS_MAX),
        ("min_wal_size", min_wal),
        ("max_wal_size", max_wal),
        // A standby that is told nothing for a while does not connect anew.
        ("wal_receiver_timeout", "0"),
        ("wal_sender_timeout", "0"),
    ];
    let extra_settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Options { lifetime, port, extra_settings, ..Options::new(directory) }
}

/// A database server that can be killed, or one elsewhere that cannot.
#[derive(Debug)]
pub(super) enum Database {
    /// A server that we started.
    Ours { server: Box<Server>, guardian: Guardian },
    /// A server that others started: it runs, and its database is empty.
    Elsewhere { url: String },
}

impl Database {
    pub(super) async fn start(directory: &Path, guardian: &Guardian, is_measured: bool) -> Result<Self> {
        let server = Box::pin(Server::start(options(directory, 0, is_measured))).await?;
        Ok(Self::guarded(server, guardian))
    }

    fn guarded(server: Server, guardian: &Guardian) -> Self {
        guardian.server(server.pid());
        // As root the data directory may be elsewhere, where the user that runs the server can work.
        guardian.directory(server.data_dir());
        Self::Ours { server: Box::new(server), guardian: guardian.clone() }
    }

    fn server(&self) -> Result<&Server> {
        match self {
            Self::Ours { server, .. } => Ok(server),
            Self::Elsewhere { url } => bail!("the database at {url} is not ours to do that with"),
        }
    }

    /// A standby that follows this server, in that directory and at that port (0: any). What was in the
    /// directory goes.
    pub(super) async fn follow(&self, directory: &Path, port: u16, guardian: &Guardian) -> Result<Self> {
        let standby = Box::pin(self.server()?.standby(options(directory, port, false))).await?;
        Ok(Self::guarded(standby, guardian))
    }

    /// Makes a standby the primary.
    pub(super) async fn promote(&self) -> Result<()> {
        self.server()?.promote().await
    }

    /// Executes these statements as superuser.
    pub(super) async fn execute(&self, statements: &[&str]) -> Result<()> {
        for statement in statements {
            self.server()?.execute(statement).await?;
        }
        Ok(())
    }

    /// The one number that a statement answers to the superuser.
    pub(super) async fn count(&self, statement: &str) -> Result<i64> {
        self.server()?.count(statement).await
    }

    /// The rows that a statement answers to the superuser, a text each.
    pub(super) async fn texts(&self, statement: &str) -> Result<Vec<String>> {
        self.server()?.texts(statement).await
    }

    /// Makes a database unless it exists.
    pub(super) async fn create(&self, name: &str) -> Result<()> {
        match self {
            Self::Ours { server, .. } => server.create_database(name).await,
            Self::Elsewhere { .. } => Ok(()),
        }
    }

    /// The path of a program that came with the server.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf> {
        self.server().map(|server| server.program(name))
    }

    /// The server's data directory and port.
    pub(super) fn place(&self) -> Result<(PathBuf, u16)> {
        self.server().map(|server| (server.data_dir().to_owned(), server.port()))
    }

    /// Kills its main process, and waits until that is gone. Answers whether it lived.
    pub(super) async fn kill9(&mut self) -> Result<bool> {
        let Self::Ours { server, guardian } = self else { return Ok(false) };
        let pid = server.pid();
        let lived = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).is_ok();
        server.ended().await?;
        guardian.gone(pid);
        Ok(lived)
    }

    /// Starts it again where it was, after it ended.
    pub(super) async fn restart(&mut self) -> Result<()> {
        let Self::Ours { server, guardian } = self else { return Ok(()) };
        Box::pin(server.restart()).await?;
        guardian.server(server.pid());
        Ok(())
    }

    /// Whether it has ended by itself.
    pub(super) async fn has_ended(&mut self) -> bool {
        let Self::Ours { server, .. } = self else { return false };
        let look = std::time::Duration::from_millis(1);
        tokio::time::timeout(look, server.ended()).await.is_ok()
    }

    pub(super) fn url(&self, database: &str) -> String {
        match self {
            Self::Ours { server, .. } => server.url(database),
            Self::Elsewhere { url } => url.clone(),
        }
    }

    pub(super) async fn stop(self) -> Result<()> {
        let Self::Ours { server, guardian } = self else { return Ok(()) };
        let pid = server.pid();
        server.stop().await?;
        guardian.gone(pid);
        Ok(())
    }
}

/// The URL of that database. Where there is a standby, the URL names it as the second host.
pub(super) fn url_of_either(primary: &Database, standby: Option<&Database>, name: &str) -> Result<String> {
    let url = primary.url(name);
    let Some(standby) = standby else { return Ok(url) };
    let [first, second] = [primary.place()?.1, standby.place()?.1].map(|port| format!("127.0.0.1:{port}"));
    Ok(format!("{}?target_session_attrs=read-write", url.replace(&first, &format!("{first},{second}"))))
}
