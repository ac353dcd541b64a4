//! All that a run starts: databases, gateway, APIs and workers, as processes that it can kill.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use domain::ids::MerchantId;
use futures::future::{join_all, try_join_all};
use reqwest::Url;
use shared::platform::fault;
use sqlx::{ConnectOptions as _, PgPool};

use super::database::{self, Database};
use super::guardian::Guardian;
use super::past;
use super::plan::{Plan, Scenario, Trait};
use super::process::Process;
use super::proxy::{Healing, Proxy};
use super::second;
use super::shops;
use super::timing;
use crate::service;

const DATABASE: &str = "payonce";
const GATEWAY_DATABASE: &str = "gateway";
const STRANGER_DATABASE: &str = "stranger";
const SECOND_DATABASE: &str = "second_gateway";
pub(super) const ADMIN_KEY: &str = "nobody-looks-at-this-board";
const CONNECTIONS_PER_API: &str = "10";
const CONNECTIONS_PER_WORKER: &str = "13";
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

/// The directories of a run.
#[derive(Debug)]
pub(super) struct Places {
    /// The directory of logs, history and databases.
    pub(super) directory: PathBuf,
    /// The database's directory, where it must not lie in the other one.
    pub(super) database: Option<PathBuf>,
}

/// Everything that was started.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) database: Database,
    /// The standby that follows the database, and takes its place. None where there is none.
    pub(super) standby: Option<Database>,
    /// The name of the database, on its server, that is ours.
    name: String,
    /// The directory of logs and backups.
    pub(super) directory: PathBuf,
    /// The gateway's own server, where ours is broken and the gateway is to be the judge.
    gateway_database: Option<Database>,
    pub(super) gateway: Process,
    /// The second gateway, with a merchant of its own. None where the scenario needs none.
    pub(super) second: Option<Process>,
    /// A gateway of another account. None where the scenario needs none.
    pub(super) stranger: Option<Process>,
    pub(super) apis: Vec<Process>,
    pub(super) workers: Vec<Process>,
    pub(super) wires: Option<Wires>,
    /// Connections past all wires.
    pub(super) pool: PgPool,
    /// The API key of each merchant.
    pub(super) secrets: Vec<String>,
    pub(super) merchants: Vec<MerchantId>,
}

impl Fleet {
    pub(super) async fn start(plan: &Plan, places: &Places, guardian: &Guardian) -> Result<Self> {
        let directory = &places.directory;
        let own = places.database.clone().unwrap_or_else(|| directory.join("database"));
        let is_measured = plan.scenario == Scenario::HeldSnapshot && !plan.is_short;
        let database = match &plan.elsewhere {
            Some(elsewhere) => Database::Elsewhere { url: elsewhere.url.clone() },
            None => Database::start(&own, guardian, is_measured).await?,
        };
        database.create(DATABASE).await?;
        let gateway_database = match plan.scenario.has(Trait::BreaksDatabase) {
            true => Some(Database::start(&directory.join("gateway-database"), guardian, false).await?),
            false => None,
        };
        let books = gateway_database.as_ref().unwrap_or(&database);
        let pool = shared::database::connect(&database.url(DATABASE), 4).await?;
        match &plan.old {
            Some(old) => past::migrate_by(old, &database.url(DATABASE)).await?,
            None => shared::database::migrate(&pool).await?,
        }
        let Gateways { first: gateway, second, stranger } =
            Gateways::start(plan.scenario, books, directory, guardian).await?;
        let old = plan.old.as_deref().map(|old| (old, database.url(DATABASE)));
        let (merchants, secrets) = shops::open(&pool, plan.scenario, second.as_ref(), old).await?;
        let standby = if has_a_standby(plan) {
            Some(database.follow(&directory.join("database-2"), 0, guardian).await?)
        } else {
            None
        };
        let reached_at = database::url_of_either(&database, standby.as_ref(), DATABASE)?;
        let mut urls = Urls::of(plan.scenario, &reached_at, gateway.address()).await?;
        if let Some(second) = &second {
            urls.gateways = Some(second::name_both(directory, gateway.address(), second.address())?);
        }
        let old = plan.old.as_deref();
        let api = |n| {
            let environment = api_environment(plan, &urls, n);
            Process::start((service::Command::Api, n + 1), old, environment, directory, guardian)
        };
        let worker = |n| {
            let environment = worker_environment(plan, &urls, n);
            Process::start((service::Command::Worker, n + 1), old, environment, directory, guardian)
        };
        let (apis, workers) = tokio::try_join!(
            try_join_all((0..plan.apis).map(api)),
            try_join_all((0..plan.workers).map(worker))
        )?;
        let wires = urls.wires;
        Ok(Self {
            database,
            standby,
            name: DATABASE.to_owned(),
            directory: directory.clone(),
            gateway_database,
            gateway,
            second,
            stranger,
            apis,
            workers,
            wires,
            pool,
            secrets,
            merchants,
        })
    }

    /// Makes the standby the database from now on. Answers the one that it was before.
    pub(super) async fn moved_on(&mut self, primary: Database) -> Result<Database> {
        let was = std::mem::replace(&mut self.database, primary);
        self.pool = shared::database::connect(&self.database_url(), 4).await?;
        Ok(was)
    }

    /// The database's URL, past all wires.
    pub(super) fn database_url(&self) -> String {
        match &self.database {
            Database::Ours { .. } => self.database.url(&self.name),
            // The host that is the primary now.
            Database::Elsewhere { .. } => self.pool.connect_options().to_url_lossy().to_string(),
        }
    }

    /// The addresses of all gateways, as `payonce verify` takes them.
    pub(super) fn named_gateways(&self) -> Vec<String> {
        let second = self.second.iter().map(|it| format!("{}={}", second::SECOND, it.address()));
        [self.gateway.address().to_owned()].into_iter().chain(second).collect()
    }

    /// The URL of the gateway's database.
    pub(super) fn gateway_url(&self) -> String {
        self.gateway_database.as_ref().unwrap_or(&self.database).url(GATEWAY_DATABASE)
    }

    /// Makes another database ours from now on. A process that runs keeps the old one until it is
    /// started again.
    pub(super) async fn moves_to(&mut self, name: &str) -> Result<()> {
        shared::database::close(&self.pool).await;
        name.clone_into(&mut self.name);
        let url = self.database_url();
        for process in self.apis.iter_mut().chain(&mut self.workers) {
            process.set("DATABASE_URL", url.clone());
        }
        self.reconnect().await
    }

    /// Connects anew, past all wires.
    pub(super) async fn reconnect(&mut self) -> Result<()> {
        self.pool = shared::database::connect(&self.database_url(), 4).await?;
        Ok(())
    }

    /// Makes everything run again. A process that ended by itself is started again, as a supervisor would.
    /// Answers how many those were.
    pub(super) async fn heal(&mut self) -> Result<u64> {
        for wire in self.wires.iter().flat_map(Wires::all) {
            wire.heal(Healing::Resume);
        }
        let mut ended = 0;
        if self.database.has_ended().await {
            self.database.restart().await?;
            ended += 1;
        }
        let gateways = [&mut self.gateway].into_iter().chain(&mut self.second);
        let processes = self.workers.iter_mut().chain(&mut self.apis).chain(gateways);
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
        join_all(processes.chain(&mut self.second).chain(&mut self.stranger).map(Process::kill9)).await;
        shared::database::close(&self.pool).await;
        for database in self.gateway_database.into_iter().chain(self.standby).chain([self.database]) {
            database.stop().await?;
        }
        Ok(())
    }
}

/// The gateways of a run, each with a database of its own.
struct Gateways {
    first: Process,
    second: Option<Process>,
    stranger: Option<Process>,
}

impl Gateways {
    async fn start(
        scenario: Scenario,
        books: &Database,
        directory: &Path,
        guardian: &Guardian,
    ) -> Result<Self> {
        let start = async |number, database| {
            books.create(database).await?;
            let environment =
                everywhere([("GATEWAY_DATABASE_URL", books.url(database)), any_port("GATEWAY_ADDR")]);
            Process::start((service::Command::Simgateway, number), None, environment, directory, guardian)
                .await
        };
        let first = start(1, GATEWAY_DATABASE).await?;
        let stranger = match scenario == Scenario::WrongDoor {
            true => Some(start(2, STRANGER_DATABASE).await?),
            false => None,
        };
        let second = match scenario.has(Trait::SecondGateway) {
            true => Some(start(3, SECOND_DATABASE).await?),
            false => None,
        };
        Ok(Self { first, second, stranger })
    }
}

fn has_a_standby(plan: &Plan) -> bool {
    plan.scenario.has(Trait::HasStandby) && plan.elsewhere.is_none()
}

/// Where APIs and workers find the database and the gateway.
struct Urls {
    apis_database: String,
    workers_database: String,
    gateway: String,
    /// The file that names several gateways, in place of that.
    gateways: Option<PathBuf>,
    wires: Option<Wires>,
}

impl Urls {
    async fn of(scenario: Scenario, database: &str, gateway: &str) -> Result<Self> {
        let (apis_database, workers_database) = (database.to_owned(), database.to_owned());
        if !scenario.has(Trait::Wires) {
            let gateway = gateway.to_owned();
            return Ok(Self { apis_database, workers_database, gateway, gateways: None, wires: None });
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
            gateways: None,
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

/// The environment of every process, with `more`.
fn everywhere(more: impl IntoIterator<Item = (&'static str, String)>) -> Environment {
    let level = shared::platform::config::optional("RUST_LOG").unwrap_or_else(|| "warn".to_owned());
    [("RUST_LOG", level), ("LOG_FORMAT", "json".to_owned())].into_iter().chain(more).collect()
}

fn api_environment(plan: &Plan, urls: &Urls, number: usize) -> Environment {
    let told = everywhere([
        ("DATABASE_URL", urls.apis_database.clone()),
        ("DATABASE_CONNECTIONS", CONNECTIONS_PER_API.to_owned()),
        ("ADMIN_KEY", ADMIN_KEY.to_owned()),
        ("API_KEY_PEPPER", shops::PEPPER.to_owned()),
        ("CHAOS_MODE", plan.scenario.has(Trait::ChaosMode).to_string()),
        any_port("API_ADDR"),
        any_port("OPS_ADDR"),
        any_port("METRICS_ADDR"),
        // Programs of an older version have their pages here.
        any_port("BOARD_ADDR"),
    ]);
    told.into_iter().chain(faults(plan, number)).collect()
}

fn worker_environment(plan: &Plan, urls: &Urls, number: usize) -> Environment {
    let told = everywhere([
        ("DATABASE_URL", urls.workers_database.clone()),
        ("DATABASE_CONNECTIONS", CONNECTIONS_PER_WORKER.to_owned()),
        match &urls.gateways {
            Some(file) => ("GATEWAYS", file.display().to_string()),
            None => ("GATEWAY_URL", urls.gateway.clone()),
        },
        any_port("METRICS_ADDR"),
    ]);
    let timing = timing::of(plan).into_iter().map(|(name, value)| (name, value.to_owned()));
    // For their clocks the APIs are numbered first, then the workers.
    told.into_iter().chain(timing).chain(faults(plan, plan.apis + number)).collect()
}

/// The faults of a process. Those of this process are passed on, so that a guard can be taken away. Clocks
/// are set wrong, in one direction and the other in turn.
fn faults(plan: &Plan, number: usize) -> Option<(&'static str, String)> {
    let ours = shared::platform::config::optional(fault::VARIABLE);
    let skew = plan.scenario.has(Trait::Skews).then(|| {
        let step = i64::try_from(number / 2 + 1).unwrap_or(1) * SKEW_SECS;
        format!("clock={}", if number.is_multiple_of(2) { step } else { -step })
    });
    let all: Vec<String> = ours.into_iter().chain(skew).collect();
    (!all.is_empty()).then(|| (fault::VARIABLE, all.join(",")))
}
