//! A whole Payonce for one measurement: a filled database, gateway, API and workers, each a process of its
//! own with its default settings.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shared::merchant::pepper::Peppers;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::Programs;
use crate::client::Target;
use crate::server::{BenchServer, PATIENCE};

pub(crate) const DATABASE: &str = "payonce";
pub(crate) const GATEWAY_DATABASE: &str = "payonce_gateway";
pub(crate) const ADMIN_KEY: &str = "payonce_admin_of_a_bench";
const PEPPER: &str = "payonce_pepper_of_a_bench_0123456";
const FILL: &str = include_str!("../fill.sql");
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Site<'a> {
    pub(crate) server: &'a BenchServer,
    programs: &'a Programs,
    pub(crate) stored: u64,
    pub(crate) gateway: Program,
    pub(crate) api: Program,
    pub(crate) workers: Vec<Program>,
    pub(crate) target: Target,
    /// The id of the merchant.
    pub(crate) merchant: String,
}

impl<'a> Site<'a> {
    /// Makes new databases, fills them, and starts a gateway and an API, but no worker.
    pub(crate) async fn open(server: &'a BenchServer, programs: &'a Programs, stored: u64) -> Result<Self> {
        server.create(DATABASE).await?;
        server.create(GATEWAY_DATABASE).await?;
        let (merchant, api_key) = prepare(server, stored).await?;
        let gateway = [
            ("GATEWAY_ADDR", "127.0.0.1:0".to_owned()),
            ("GATEWAY_DATABASE_URL", server.url(GATEWAY_DATABASE)),
        ];
        let gateway = Program::start(server, programs, "simgateway", &gateway).await?;
        let api = [
            ("DATABASE_URL", server.url(DATABASE)),
            ("API_ADDR", "127.0.0.1:0".to_owned()),
            ("OPS_ADDR", "127.0.0.1:0".to_owned()),
            ("METRICS_ADDR", "127.0.0.1:0".to_owned()),
            // Read over the connection that posts, so that nothing else is measured.
            ("METRICS_ON_API", "true".to_owned()),
            ("ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("API_KEY_PEPPER", PEPPER.to_owned()),
        ];
        let api = Program::start(server, programs, "api", &api).await?;
        let host = api.address("api")?.trim_start_matches("http://").to_owned();
        let target = Target { host, api_key };
        Ok(Self { server, programs, stored, gateway, api, workers: Vec::new(), target, merchant })
    }

    pub(crate) async fn add_workers(&mut self, count: usize) -> Result<()> {
        let variables = [
            ("DATABASE_URL", self.server.url(DATABASE)),
            ("GATEWAY_URL", self.gateway.address("gateway")?),
            ("METRICS_ADDR", "127.0.0.1:0".to_owned()),
        ];
        let start = || Program::start(self.server, self.programs, "worker", &variables);
        let started = try_join_all((0..count).map(|_| start())).await?;
        self.workers.extend(started);
        Ok(())
    }

    pub(crate) async fn stop_workers(&mut self) -> Result<()> {
        try_join_all(self.workers.drain(..).map(Program::stop)).await.map(drop)
    }

    pub(crate) async fn close(mut self) -> Result<()> {
        self.stop_workers().await?;
        self.must_add_up().await?;
        self.api.stop().await?;
        self.gateway.stop().await?;
        self.server.drop(DATABASE).await?;
        self.server.drop(GATEWAY_DATABASE).await
    }

    /// Demands that the workers' reconciliation found no break: a system that contradicts itself has
    /// no figures.
    async fn must_add_up(&self) -> Result<()> {
        let mut connection = self.server.connect(DATABASE).await?;
        let breaks: i64 =
            sqlx::query_scalar("select count(*) from breaks").fetch_one(&mut connection).await?;
        connection.close().await?;
        if breaks > 0 {
            bail!("reconciliation opened {breaks} breaks");
        }
        Ok(())
    }

    /// The id of the newest payment. Ids grow with time, so later ones are greater.
    pub(crate) async fn newest(&self) -> Result<Uuid> {
        let mut connection = self.server.connect(DATABASE).await?;
        let newest: Option<Uuid> = sqlx::query_scalar("select id from payments order by id desc limit 1")
            .fetch_optional(&mut connection)
            .await?;
        connection.close().await?;
        Ok(newest.unwrap_or_default())
    }

    /// Waits until the payments after `since` have ended. There must be `payments` of them, and all must
    /// have succeeded.
    pub(crate) async fn ended(&mut self, since: Uuid, payments: u64) -> Result<Ended> {
        let mut connection = self.server.connect(DATABASE).await?;
        let deadline = Instant::now() + PATIENCE;
        while any_open(&mut connection).await? {
            let parts = [&mut self.api, &mut self.gateway].into_iter().chain(&mut self.workers);
            parts.into_iter().try_for_each(Program::must_run)?;
            if Instant::now() > deadline {
                bail!("payments are still under way after {} s", PATIENCE.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
        let (succeeded, first_claim, last_end, waits_ms): (i64, f64, f64, Vec<f64>) = sqlx::query_as(
            "select count(*) filter (where status = 'succeeded'),
                    extract(epoch from min(first_sent_at))::float8,
                    extract(epoch from max(terminal_at))::float8,
                    array_agg((extract(epoch from terminal_at - created_at) * 1000)::float8)
               from payments
              where id > $1",
        )
        .bind(since)
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        if u64::try_from(succeeded)? != payments {
            bail!("{succeeded} of {payments} payments succeeded");
        }
        Ok(Ended { first_claim, last_end, waits_ms })
    }
}

/// When payments ended, in the database's time: seconds since 1970.
pub(crate) struct Ended {
    pub(crate) first_claim: f64,
    pub(crate) last_end: f64,
    /// From each payment's acceptance to its end, in milliseconds.
    pub(crate) waits_ms: Vec<f64>,
}

async fn any_open(connection: &mut PgConnection) -> Result<bool> {
    let any = "select exists (select from payments where due_at is not null)";
    Ok(sqlx::query_scalar(any).fetch_one(connection).await?)
}

/// Makes the tables, a merchant and the stored payments. Answers the merchant, and its key.
async fn prepare(server: &BenchServer, stored: u64) -> Result<(String, String)> {
    let pool = shared::database::connect(&server.url(DATABASE), 1).await?;
    shared::database::migrate(&pool).await?;
    let merchant = shared::merchant::find_or_create(&pool, "bench").await?;
    let peppers = Peppers::read(PEPPER)?;
    let key = shared::merchant::keys::create_for(&pool, &peppers, merchant.id, "bench").await?;
    pool.close().await;
    let mut connection = server.connect(DATABASE).await?;
    fill(&mut connection, merchant.id.uuid(), stored).await?;
    if server.counts_statements {
        sqlx::query("create extension pg_stat_statements").execute(&mut connection).await?;
    }
    sqlx::query("vacuum (analyze)").execute(&mut connection).await?;
    sqlx::query("checkpoint").execute(&mut connection).await?;
    connection.close().await?;
    Ok((merchant.id.to_string(), key.secret))
}

/// Stores `stored` payments of that merchant that ended long ago, and all that belongs to them.
///
/// # Errors
/// The database refuses them, or cannot be reached.
pub async fn fill(connection: &mut PgConnection, merchant: Uuid, stored: u64) -> Result<()> {
    sqlx::query("select set_config('bench.stored', $1, false), set_config('bench.merchant', $2, false)")
        .bind(stored.to_string())
        .bind(merchant.to_string())
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(FILL).execute(connection).await.context("cannot fill the database")?;
    Ok(())
}

/// One of Payonce's processes. When it is dropped, it is killed.
pub(crate) struct Program {
    name: String,
    child: Child,
    pub(crate) pid: u32,
    ready: Value,
    /// Open as long as the process lives.
    _stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it, with nothing in its environment but `variables`, and waits until it says that it is ready.
    /// Its log goes to a file, as in production.
    async fn start(
        server: &BenchServer,
        programs: &Programs,
        name: &str,
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let directory = server.directory();
        let log = File::options().create(true).append(true).open(directory.join(format!("{name}.log")))?;
        let mut child = programs(name)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}; cargo build --release builds it"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        let mut stdout = BufReader::new(child.stdout.take().context("its standard output is piped")?);
        let mut line = String::new();
        timeout(PATIENCE, stdout.read_line(&mut line)).await??;
        let Ok(ready) = serde_json::from_str(&line) else {
            let log = std::fs::read_to_string(directory.join(format!("{name}.log")))?;
            bail!("{name} did not start: {}", log.lines().last().unwrap_or_default());
        };
        Ok(Self { name: name.to_owned(), child, pid, ready, _stdout: stdout })
    }

    fn address(&self, listener: &str) -> Result<String> {
        let address = self.ready[listener].as_str();
        Ok(address.with_context(|| format!("{} does not say where it listens", self.name))?.to_owned())
    }

    fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(how) => bail!("the {} ended: {how}", self.name),
            None => Ok(()),
        }
    }

    async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGTERM)?;
        timeout(PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("the {} does not end", self.name))??;
        Ok(())
    }
}
