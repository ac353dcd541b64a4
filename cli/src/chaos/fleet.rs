//! All that a run starts: databases, gateway, APIs and workers, as processes that it can kill.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::future::{join_all, try_join_all};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Url;
use shared::fault;
use shared::ids::MerchantId;
use sqlx::PgPool;

use super::guardian::Guardian;
use super::plan::{Plan, Scenario};
use super::process::Process;
use super::proxy::{Healing, Proxy};
use super::timing;
use crate::postgres::{Lifetime, Options, Server};
use crate::service;

const DATABASE: &str = "payonce";
const GATEWAY_DATABASE: &str = "gateway";
const STRANGER_DATABASE: &str = "stranger";
const ADMIN_KEY: &str = "nobody-looks-at-this-board";
/// Few, so that they can be taken away.
const CONNECTIONS_MAX: &str = "120";
const CONNECTIONS_PER_API: &str = "10";
const CONNECTIONS_PER_WORKER: &str = "12";
/// How far the clocks of two processes may be apart, in seconds.
const SKEW_SECS: i64 = 86_400;

/// The wires that can be disturbed.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) workers_to_database: Proxy,
    pub(super) apis_to_database: Proxy,
    pub(super) workers_to_gateway: Proxy,
}

impl Wires {
    pub(super) fn all(&self) -> [&Proxy; 3] {
        [&self.workers_to_database, &self.apis_to_database, &self.workers_to_gateway]
    }
}

/// A database server that can be killed.
#[derive(Debug)]
pub(super) struct Database {
    server: Server,
    guardian: Guardian,
}

impl Database {
    async fn start(directory: &Path, guardian: &Guardian) -> Result<Self> {
        let mut options = Options::new(directory);
        options.lifetime = Lifetime::Passing;
        let settings =
            [("max_connections", CONNECTIONS_MAX), ("min_wal_size", "32MB"), ("max_wal_size", "64MB")];
        options.extra_settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let server = Box::pin(Server::start(options)).await?;
        guardian.server(server.pid());
        // As root it may be elsewhere, where the user that runs it can work.
        guardian.directory(server.data_dir());
        Ok(Self { server, guardian: guardian.clone() })
    }

    /// Kills its main process, and waits until that is gone; tells whether it lived.
    pub(super) async fn kill9(&mut self) -> Result<bool> {
        let pid = self.server.pid();
        let lived = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).is_ok();
        self.server.ended().await?;
        self.guardian.gone(pid);
        Ok(lived)
    }

    /// Starts it again where it was, after it ended.
    pub(super) async fn restart(&mut self) -> Result<()> {
        Box::pin(self.server.restart()).await?;
        self.guardian.server(self.server.pid());
        Ok(())
    }

    /// Whether it ended, by itself.
    pub(super) async fn has_ended(&mut self) -> bool {
        let look = std::time::Duration::from_millis(1);
        tokio::time::timeout(look, self.server.ended()).await.is_ok()
    }

    pub(super) fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    async fn stop(self) -> Result<()> {
        let pid = self.server.pid();
        self.server.stop().await?;
        self.guardian.gone(pid);
        Ok(())
    }
}

/// Where a run keeps what.
#[derive(Debug)]
pub(super) struct Places {
    /// Logs, history and databases.
    pub(super) directory: PathBuf,
    /// The database, where it must not lie in there.
    pub(super) database: Option<PathBuf>,
}

/// Everything that was started.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) database: Database,
    /// The gateway's own server, where ours is broken and the gateway is to be the judge.
    gateway_database: Option<Database>,
    pub(super) gateway: Process,
    /// A gateway that is not ours, where there is one.
    pub(super) stranger: Option<Process>,
    pub(super) apis: Vec<Process>,
    pub(super) workers: Vec<Process>,
    pub(super) wires: Option<Wires>,
    /// Past all wires.
    pub(super) pool: PgPool,
    /// Of each merchant.
    pub(super) secrets: Vec<String>,
    pub(super) merchants: Vec<MerchantId>,
}

impl Fleet {
    pub(super) async fn start(plan: &Plan, places: &Places, guardian: &Guardian) -> Result<Self> {
        let directory = &places.directory;
        let own = places.database.clone().unwrap_or_else(|| directory.join("database"));
        let database = Database::start(&own, guardian).await?;
        database.server.create_database(DATABASE).await?;
        let gateway_database = match breaks_the_database(plan.scenario) {
            true => Some(Database::start(&directory.join("gateway-database"), guardian).await?),
            false => None,
        };
        let books = gateway_database.as_ref().unwrap_or(&database);
        books.server.create_database(GATEWAY_DATABASE).await?;

        let pool = shared::db::connect(&database.url(DATABASE), 4).await?;
        shared::db::migrate(&pool).await?;
        let (mut merchants, mut secrets) = (Vec::new(), Vec::new());
        for shop in 1..=plan.scenario.shops() {
            let merchant = shared::merchant::find_or_create(&pool, &format!("chaos {shop}")).await?;
            secrets.push(shared::auth::create_key(&pool, merchant.id, "payonce chaos").await?.secret);
            merchants.push(merchant.id);
        }

        let gateway = |number, database| {
            let environment = [("GATEWAY_DATABASE_URL", books.url(database)), any_port("GATEWAY_ADDR")];
            let environment = everywhere(environment);
            Process::start(service::Command::Simgateway, number, environment, directory, guardian)
        };
        let stranger = if plan.scenario == Scenario::WrongDoor {
            books.server.create_database(STRANGER_DATABASE).await?;
            Some(gateway(2, STRANGER_DATABASE).await?)
        } else {
            None
        };
        let gateway = gateway(1, GATEWAY_DATABASE).await?;
        let urls = Urls::of(plan.scenario, &database.url(DATABASE), gateway.address()).await?;
        let api = |n| {
            let environment = api_environment(plan, &urls, n);
            Process::start(service::Command::Api, n + 1, environment, directory, guardian)
        };
        let worker = |n| {
            let environment = worker_environment(plan, &urls, n);
            Process::start(service::Command::Worker, n + 1, environment, directory, guardian)
        };
        let (apis, workers) = tokio::try_join!(
            try_join_all((0..plan.apis).map(api)),
            try_join_all((0..plan.workers).map(worker))
        )?;
        let wires = urls.wires;
        Ok(Self {
            database,
            gateway_database,
            gateway,
            stranger,
            apis,
            workers,
            wires,
            pool,
            secrets,
            merchants,
        })
    }

    /// Where the database is, past all wires.
    pub(super) fn database_url(&self) -> String {
        self.database.url(DATABASE)
    }

    /// Lets everything run that does not. What ended by itself is started again, as any supervisor would; gives how many
    /// those were.
    pub(super) async fn heal(&mut self) -> Result<u64> {
        for wire in self.wires.iter().flat_map(Wires::all) {
            wire.heal(Healing::Resume);
        }
        let mut ended = 0;
        if self.database.has_ended().await {
            self.database.restart().await?;
            ended += 1;
        }
        let processes = self.workers.iter_mut().chain(&mut self.apis).chain([&mut self.gateway]);
        let revived = join_all(processes.map(async |process| {
            process.thaw();
            let lived = process.is_alive();
            process.revive().await.map(|()| u64::from(!lived))
        }));
        for one in revived.await {
            ended += one?;
        }
        Ok(ended)
    }

    /// Ends everything, the databases last.
    pub(super) async fn stop(mut self) -> Result<()> {
        let processes = self.workers.iter_mut().chain(&mut self.apis).chain([&mut self.gateway]);
        join_all(processes.chain(&mut self.stranger).map(Process::kill9)).await;
        shared::db::close(&self.pool).await;
        for database in self.gateway_database.into_iter().chain([self.database]) {
            database.stop().await?;
        }
        Ok(())
    }
}

const fn breaks_the_database(scenario: Scenario) -> bool {
    matches!(scenario, Scenario::Postgres | Scenario::Connections | Scenario::DiskFull | Scenario::All)
}

const fn disturbs_wires(scenario: Scenario) -> bool {
    matches!(scenario, Scenario::SlowDatabase | Scenario::Partition | Scenario::WrongDoor | Scenario::All)
}

/// Where APIs and workers find the database and the gateway.
struct Urls {
    apis_database: String,
    workers_database: String,
    gateway: String,
    wires: Option<Wires>,
}

impl Urls {
    async fn of(scenario: Scenario, database: &str, gateway: &str) -> Result<Self> {
        let (apis_database, workers_database) = (database.to_owned(), database.to_owned());
        if !disturbs_wires(scenario) {
            return Ok(Self { apis_database, workers_database, gateway: gateway.to_owned(), wires: None });
        }
        let wires = Wires {
            workers_to_database: Proxy::start(address(database)?).await?,
            apis_to_database: Proxy::start(address(database)?).await?,
            workers_to_gateway: Proxy::start(address(gateway)?).await?,
        };
        Ok(Self {
            apis_database: through(database, &wires.apis_to_database)?,
            workers_database: through(database, &wires.workers_to_database)?,
            gateway: through(gateway, &wires.workers_to_gateway)?,
            wires: Some(wires),
        })
    }
}

pub(super) fn address(url: &str) -> Result<SocketAddr> {
    let port = Url::parse(url)?.port().context("an address without a port")?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

/// The same URL, by way of the proxy.
fn through(url: &str, proxy: &Proxy) -> Result<String> {
    let mut url = Url::parse(url)?;
    url.set_port(Some(proxy.addr().port())).ok().context("an address without a port")?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

type Environment = Vec<(&'static str, String)>;

fn any_port(variable: &'static str) -> (&'static str, String) {
    (variable, "127.0.0.1:0".to_owned())
}

/// What every process is told.
fn everywhere(more: impl IntoIterator<Item = (&'static str, String)>) -> Environment {
    let level = shared::config::optional("RUST_LOG").unwrap_or_else(|| "warn".to_owned());
    [("RUST_LOG", level), ("LOG_FORMAT", "json".to_owned())].into_iter().chain(more).collect()
}

fn api_environment(plan: &Plan, urls: &Urls, number: usize) -> Environment {
    let told = everywhere([
        ("DATABASE_URL", urls.apis_database.clone()),
        ("DATABASE_CONNECTIONS", CONNECTIONS_PER_API.to_owned()),
        ("ADMIN_KEY", ADMIN_KEY.to_owned()),
        ("CHAOS_MODE", matches!(plan.scenario, Scenario::Api | Scenario::All).to_string()),
        any_port("API_ADDR"),
        any_port("BOARD_ADDR"),
    ]);
    told.into_iter().chain(faults(plan, number)).collect()
}

fn worker_environment(plan: &Plan, urls: &Urls, number: usize) -> Environment {
    let told = everywhere([
        ("DATABASE_URL", urls.workers_database.clone()),
        ("DATABASE_CONNECTIONS", CONNECTIONS_PER_WORKER.to_owned()),
        ("GATEWAY_URL", urls.gateway.clone()),
        any_port("METRICS_ADDR"),
    ]);
    let timing = timing::of(plan).into_iter().map(|(name, value)| (name, value.to_owned()));
    // The APIs' clocks come first.
    told.into_iter().chain(timing).chain(faults(plan, plan.apis + number)).collect()
}

/// The faults that this process itself was told of go on to what it starts, so that a guard can be taken away; and the
/// clocks, which go wrong one way and the other in turn.
fn faults(plan: &Plan, number: usize) -> Option<(&'static str, String)> {
    let ours = shared::config::optional(fault::VARIABLE);
    let skew = (plan.scenario == Scenario::ClockSkew).then(|| {
        let step = i64::try_from(number / 2 + 1).unwrap_or(1) * SKEW_SECS;
        format!("clock={}", if number.is_multiple_of(2) { step } else { -step })
    });
    let all: Vec<String> = ours.into_iter().chain(skew).collect();
    (!all.is_empty()).then(|| (fault::VARIABLE, all.join(",")))
}
