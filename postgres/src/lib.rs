//! A private Postgres server, started from the installed programs: no set-up, no system service.
//!
//! It listens on the loopback interface only, with a random password that only this user can read. A database
//! superuser can run programs, so trusting everyone on this machine would give them this account. A server
//! that outlived its `payonce` (killed, not stopped) is found and used again.

mod binaries;
mod cluster;
pub mod data_dir;
mod launch;
mod owner;
mod postmaster;
mod roles;
mod standby;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use terminal::progress;
use tokio::time::{sleep, timeout};

use crate::binaries::Binaries;
use crate::cluster::Cluster;
use crate::data_dir::DataDir;
use crate::launch::Launch;
pub use crate::owner::Owner;
use crate::postmaster::{PidFile, Postmaster};

const SUPERUSER: &str = "postgres";
/// The database that every server has.
const MAINTENANCE: &str = "postgres";
/// How long a start may take. It is long, because recovery after a crash is part of it.
const START_DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a private server is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of its database, log and password.
    pub data_dir: PathBuf,
    /// The port where it listens. 0 takes a free one.
    pub port: u16,
    /// Whether to remove what is in the directory first.
    pub fresh: bool,
    /// How long the data is to live.
    pub lifetime: Lifetime,
    /// Settings of the server beyond ours, or in place of them.
    pub extra_settings: Vec<(String, String)>,
    /// The directory of the server's programs. None: they are looked for.
    pub programs: Option<PathBuf>,
}

impl Options {
    /// A lasting server on a free port.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: 0,
            fresh: false,
            lifetime: Lifetime::Lasting,
            extra_settings: Vec::new(),
            programs: None,
        }
    }
}

/// How long the data is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// For longer than the machine stays up: a commit survives a power cut.
    Lasting,
    /// For a test run: a commit survives the death of any process, but nothing waits for the disk.
    Passing,
}

impl Lifetime {
    fn settings(self) -> [(&'static str, &'static str); 3] {
        let fsync = match self {
            Self::Lasting => "on",
            Self::Passing => "off",
        };
        [("fsync", fsync), ("full_page_writes", fsync), ("synchronous_commit", "on")]
    }

    /// How clients prove that they know the password. An unoptimized test program takes 37 ms (measured) to
    /// answer a challenge, for every connection.
    fn authentication(self) -> &'static str {
        match self {
            Self::Lasting => "scram-sha-256",
            Self::Passing => "password",
        }
    }
}

/// The connection URLs of a database's roles.
#[derive(Debug, Clone)]
pub struct RoleUrls {
    /// The owner, for `payonce migrate` and `payonce rebuild`.
    pub owner: String,
    /// The role that serves, for APIs and workers.
    pub app: String,
    /// The role that reads, for `payonce verify` and dashboards.
    pub reader: String,
}

/// A running private server. When it is dropped, it is told to stop; [`Server::stop`] also waits until it
/// has stopped.
#[derive(Debug)]
pub struct Server {
    options: Options,
    directory: DataDir,
    owner: Owner,
    binaries: Binaries,
    password: String,
    port: u16,
    adopted: bool,
    postmaster: Postmaster,
}

impl Server {
    /// Starts a server, or finds the one that an earlier run left behind, and waits until it
    /// takes connections.
    pub async fn start(options: Options) -> Result<Self> {
        let binaries = match options.programs.clone() {
            Some(directory) => Binaries::in_directory(directory)?,
            None => Binaries::find()?,
        };
        let owner = Owner::of(&std::path::absolute(&options.data_dir)?.join("postgres"))?;
        let directory = DataDir::open_for(&options.data_dir, &owner)?;
        if options.fresh {
            remove_everything(&directory).await?;
        }
        let cluster = Cluster::in_directory(&directory);
        let password = cluster.password()?;
        if !cluster.path.is_dir() {
            let made = cluster.create(&binaries, &owner, &password, options.lifetime);
            progress::during("creating the database files", made).await?;
        }
        let left_behind = cluster.find_left_behind(&password);
        let left_behind = progress::during("waiting for the running PostgreSQL", left_behind).await?;
        let adopted = left_behind.is_some();
        let (postmaster, port) = match left_behind {
            Some(found) => (Postmaster::Adopted { pid: found.pid, cluster: cluster.path }, found.port),
            None => {
                let launch = Launch {
                    cluster: &cluster,
                    binaries: &binaries,
                    owner: &owner,
                    password: &password,
                    options: &options,
                };
                progress::during("starting PostgreSQL", launch.run(options.port)).await?
            }
        };
        Ok(Self { options, directory, owner, binaries, password, port, adopted, postmaster })
    }

    /// Starts it again on the same port, after it ended.
    pub async fn restart(&mut self) -> Result<()> {
        let launch = Launch {
            cluster: &Cluster::in_directory(&self.directory),
            binaries: &self.binaries,
            owner: &self.owner,
            password: &self.password,
            options: &self.options,
        };
        let (postmaster, _) = progress::during("starting PostgreSQL again", launch.run(self.port)).await?;
        self.postmaster = postmaster;
        self.adopted = false;
        Ok(())
    }

    /// The superuser's URL for the database of that name.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The URL for one of the roles that [`Server::make_roles`] made.
    fn url_as(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Makes the roles that share the work on an existing database, and answers their URLs.
    pub async fn make_roles(&self, database: &str) -> Result<RoleUrls> {
        let mut connection = connect(self.port, &self.password, database).await?;
        roles::make(&mut connection, database, &self.password).await?;
        connection.close().await?;
        Ok(RoleUrls {
            owner: self.url_as(roles::OWNER, database),
            app: self.url_as(shared::database::APP, database),
            reader: self.url_as(shared::database::READER, database),
        })
    }

    /// The number of the main process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.postmaster.pid().as_raw().unsigned_abs()
    }

    /// The path of a program that came with the server.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    /// The directory where everything is kept.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The directory that was asked for, where the system user that runs the server could not reach it. None
    /// where it could.
    #[must_use]
    pub fn moved_from(&self) -> Option<&Path> {
        self.directory.moved_from()
    }

    /// Whether an earlier run left this server behind.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Makes a database unless it exists. The name must be plain: lower-case letters, digits, underscores.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            bail!("{name} is no plain database name");
        }
        let mut connection = connect(self.port, &self.password, MAINTENANCE).await?;
        let created =
            sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await;
        connection.close().await?;
        match created {
            // duplicate_database
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => Ok(()),
            other => other.map(drop).with_context(|| format!("cannot create database {name}")),
        }
    }

    /// Waits until the server has ended without having been told to, and says how it did.
    pub async fn ended(&mut self) -> Result<String> {
        loop {
            if let Some(how) = self.postmaster.ended()? {
                return Ok(how);
            }
            sleep(LOOK_EVERY * 10).await;
        }
    }

    /// Stops it, breaking open connections, and waits until it is gone.
    pub async fn stop(mut self) -> Result<()> {
        progress::during("stopping PostgreSQL", self.postmaster.stop()).await
    }
}

async fn remove_everything(directory: &DataDir) -> Result<()> {
    let cluster = Cluster::in_directory(directory).path;
    if let Some(found) = PidFile::read(&cluster).filter(|found| found.is_server_of(&cluster)) {
        let mut postmaster = Postmaster::Adopted { pid: found.pid, cluster };
        progress::during("stopping the PostgreSQL of an earlier run", postmaster.stop()).await?;
    }
    directory.clear()
}

async fn connect(port: u16, password: &str, database: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(SUPERUSER)
        .password(password)
        .database(database)
        .ssl_mode(PgSslMode::Disable);
    // The port's process might be one that never answers.
    timeout(Duration::from_secs(10), PgConnection::connect_with(&options))
        .await
        .context("no answer from PostgreSQL")?
        .context("cannot connect to PostgreSQL")
}
