//! `payonce dev`: everything at once, with nothing to set up.
//!
//! The parts are the same as those that run apart, in one process. They start so that none waits for another,
//! and stop in the opposite order: first the API, then the workers, then the gateway, then the database.

mod database;
mod keys;
mod services;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use shared::database::Patience;
use shared::platform::config;
use terminal::{output, progress};
use tokio_util::sync::CancellationToken;

use self::database::Databases;
use self::keys::DevKeys;
use self::services::Services;
use crate::{migrate, rules};

/// Start everything: database, API, workers, simulated gateway, job board.
///
/// Without `DATABASE_URL` it starts a private Postgres from the installed programs. Ctrl-C stops everything.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce dev
  payonce dev --fresh --api-addr 127.0.0.1:0 --json

Environment: DATABASE_URL and GATEWAY_DATABASE_URL use existing databases; PG_BIN names the directory of the
PostgreSQL programs; RUST_LOG sets how much is logged.

Exit codes: 0 stopped as asked, 1 failed, 2 called wrongly.")]
pub(crate) struct Args {
    /// Where the API listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    api_addr: SocketAddr,
    /// Where the operators' pages listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    ops_addr: SocketAddr,
    /// Where the job board listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    board_addr: SocketAddr,
    /// Where metrics can be read
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9460")]
    metrics_addr: SocketAddr,
    /// Where the simulated gateway listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    gateway_addr: SocketAddr,
    /// Where the private database and the keys are kept
    #[arg(long, value_name = "DIR", default_value = ".payonce")]
    data_dir: PathBuf,
    /// Remove what is in the data directory first; a database named by `DATABASE_URL` stays as it is
    #[arg(long)]
    fresh: bool,
    /// How many worker loops to run; 0 runs none
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    workers: u16,
    /// Print one line of JSON when ready, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

/// The line that is printed once everything runs.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    api: String,
    ops: String,
    board: Option<String>,
    metrics: String,
    gateway: String,
    api_key: String,
    admin_key: String,
    api_key_pepper: String,
    /// None where the environment has it.
    webhook_secret_key: Option<String>,
    /// The URL of the role that serves; below, those of the owner and the reader.
    database_url: String,
    owner_database_url: String,
    reader_database_url: String,
    gateway_database_url: String,
    postgres_pid: Option<u32>,
    data_dir: PathBuf,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    shared::platform::telemetry::start("dev")?;
    let shutdown = shared::platform::process::shutdown_signal();

    let started = tokio::select! {
        started = start(&args) => started?,
        // Dropping the parts that were started stops them.
        () = shutdown.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let Running { ready, mut databases, mut services } = started;
    let announced = if args.json { output::json(&ready) } else { output::line(&greeting(&ready, &args)) };
    let ended = match announced {
        Ok(()) => watch(&mut databases, &mut services, &shutdown).await,
        Err(error) => Err(error),
    };
    let stopped = services.stop().await;
    let closed = databases.stop().await;
    ended.and(stopped).and(closed)?;
    Ok(ExitCode::SUCCESS)
}

struct Running {
    ready: Ready,
    databases: Databases,
    services: Services,
}

async fn start(args: &Args) -> Result<Running> {
    let databases = Databases::open(&args.data_dir, args.fresh).await?;
    if let Some(note) = databases.note() {
        progress::say(&note);
    }
    match start_on(&databases, args).await {
        Ok((ready, services)) => Ok(Running { ready, databases, services }),
        Err(error) => {
            databases.stop().await?;
            Err(error)
        }
    }
}

async fn start_on(databases: &Databases, args: &Args) -> Result<(Ready, Services)> {
    refuse_taken_ports(args)?;
    let pool = shared::database::connect(&databases.urls.owner, 2).await?;
    migrate::migrate(&pool, Patience::default().longest).await?;
    let keys = DevKeys::load_or_create(databases.data_dir(), &pool).await?;
    rules::seed(&pool).await?;
    pool.close().await;

    let services = Services::start(args, databases, &keys).await?;
    let is_sealed_otherwise = config::secret("WEBHOOK_SECRET_KEY", "WEBHOOK_SECRET_KEY_FILE")?.is_some();
    let webhook_secret_key = (!is_sealed_otherwise).then(|| keys.sealing_text());
    let ready = Ready {
        event: "ready",
        api: services.api.clone(),
        ops: services.ops.clone(),
        board: services.board.clone(),
        metrics: services.metrics.clone(),
        gateway: format!("http://{}", services.gateway_addr),
        api_key: keys.api_key,
        admin_key: keys.admin_key,
        api_key_pepper: keys.pepper,
        webhook_secret_key,
        database_url: databases.urls.app.clone(),
        owner_database_url: databases.urls.owner.clone(),
        reader_database_url: databases.urls.reader.clone(),
        gateway_database_url: databases.gateway_url.clone(),
        postgres_pid: databases.postgres_pid(),
        data_dir: databases.data_dir().to_owned(),
    };
    Ok((ready, services))
}

/// Waits for the order to stop, or for a part that ended without one. A database that died is started again.
async fn watch(
    databases: &mut Databases,
    services: &mut Services,
    shutdown: &CancellationToken,
) -> Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            ended = services.ended() => return Err(ended),
            how = databases.ended() => {
                tracing::warn!("postgres ended ({}); starting it again", how?);
                databases.restart().await?;
            }
        }
    }
}

/// Refuses a port that is taken before any part is started, and names the flag.
fn refuse_taken_ports(args: &Args) -> Result<()> {
    let wanted = [
        ("api", args.api_addr),
        ("ops", args.ops_addr),
        ("board", args.board_addr),
        ("metrics", args.metrics_addr),
        ("gateway", args.gateway_addr),
    ];
    for (name, addr) in wanted {
        TcpListener::bind(addr).map(drop).with_context(|| {
            format!(
                "cannot listen on {addr}; name another address with --{name}-addr (port 0 takes a free one)"
            )
        })?;
    }
    Ok(())
}

fn greeting(ready: &Ready, args: &Args) -> String {
    let Ready { api, ops, metrics, gateway, api_key, admin_key, database_url, gateway_database_url, .. } =
        ready;
    let Ready { owner_database_url, reader_database_url, .. } = ready;
    let board = ready.board.as_deref().unwrap_or("none");
    let (workers, data_dir) = (args.workers, ready.data_dir.display());
    let program = this_program();
    let webhooks = ready.webhook_secret_key.as_deref().map_or_else(String::new, |key| {
        format!(
            " \\\n    WEBHOOK_SECRET_KEY={key} WEBHOOK_ALLOW_HTTP=true WEBHOOK_ALLOW_NETS=127.0.0.0/8,::1/128"
        )
    });
    format!(
        "\
Payonce is ready.

  API        {api}
  operators  {ops}/ops  (your name as user, the admin key as password)
  job board  {board}  (the same)
  metrics    {metrics}/metrics
  gateway    {gateway}  (simulated)
  API key    {api_key}
  admin key  {admin_key}
  database   {database_url}  (who serves)
             {owner_database_url}  (who owns it: migrate, rebuild)
             {gateway_database_url}  (the gateway's)
  data       {data_dir}
  workers    {workers}

Make a payment:

  curl -s {api}/v1/payments -H 'X-API-Key: {api_key}' -H 'Idempotency-Key: order-1' \\
    -H 'Content-Type: application/json' \\
    -d '{{\"amount\":\"12.50\",\"currency\":\"EUR\",\"customer_id\":\"cus_1\",\"payment_method\":\"sim_ok\"}}'

Add a worker:

  DATABASE_URL='{database_url}' GATEWAY_URL={gateway} METRICS_ADDR=127.0.0.1:0{webhooks} \\
    {program} service worker

Check the books, ours and the gateway's:

  {program} verify --database-url '{reader_database_url}' --gateway-url {gateway}

Ctrl-C stops everything."
    )
}

/// How this program is called from a shell: by its name where the search path leads to it, and else by its
/// path.
fn this_program() -> String {
    let Ok(program) = std::env::current_exe() else { return "payonce".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("payonce")).find(|it| it.is_file());
    let is_found = found.and_then(|found| found.canonicalize().ok()).is_some_and(|found| found == program);
    if is_found { "payonce".to_owned() } else { quoted(&program.to_string_lossy()) }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
