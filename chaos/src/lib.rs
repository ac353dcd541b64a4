//! `payonce chaos`: breaks what it can reach while clients pay, and has `payonce verify` judge the result.
//!
//! It breaks only what it started itself: processes of this same program, a private Postgres, and wires of
//! its own. Nothing of it outlives the command, even where that is killed.

mod bank;
mod books;
mod client;
mod database;
mod faults;
mod fleet;
mod guardian;
mod history;
mod journal;
mod load;
mod order;
mod past;
mod plan;
mod process;
mod proxy;
mod report;
mod rest;
mod second;
pub mod service;
mod shops;
mod till;
mod timing;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use terminal::output::EXIT_USAGE;
use terminal::progress;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::bank::Bank;
use crate::books::{Figures, Verdict};
use crate::client::Client;
use crate::faults::Scene;
use crate::fleet::{Fleet, Places};
use crate::guardian::Guardian;
use crate::history::History;
use crate::journal::Journal;
use crate::load::Load;
use crate::plan::{Plan, Scenario, Trait};
use crate::report::{Clients, Outcome, Report, Seen};

const SAY_EVERY: Duration = Duration::from_secs(2);
/// The size of a small disk: space for a database, with little to spare.
const SMALL_DISK: &str = "size=192m";

/// Break everything under load, then check that nothing was lost and nothing was done twice
///
/// Starts a private Postgres, a simulated gateway, APIs and workers, pays through them, and breaks what the
/// scenario says. Ends with `payonce verify`. The seed repeats what is struck and how, not the microsecond.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce chaos workers --payments 30000 --kills 300
  payonce chaos all --duration 900 --seed 7
  payonce chaos postgres --short --json

Environment: PG_BIN names the directory of the PostgreSQL programs; PAYONCE_FAULTS takes guards away, in a build for
tests, to see that this finds out; RUST_LOG sets how much the processes log (see --keep).

Exit codes: 0 held (or skipped: needs root), 1 violated or not ended, 2 called wrongly, 3 payments wait for a person
where none should.")]
pub struct Args {
    /// What to break
    #[arg(value_enum)]
    scenario: Scenario,
    /// A few seconds of it instead of all
    #[arg(long)]
    short: bool,
    /// How many payments clients make, at least; they go on for as long as something is broken
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    payments: Option<u64>,
    /// How often to strike
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    kills: Option<u32>,
    /// How many workers to start
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    workers: Option<u16>,
    /// How many APIs to start
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4))]
    apis: Option<u16>,
    /// How long `all` and `held-snapshot` go on, or `partition` cuts the gateway off
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: Option<u64>,
    /// For `held-snapshot`: payments a second; without it, 2000
    ///
    /// Take half of what `make bench-quick` settles on your machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// The seed of all that is left to chance; without it, a random one
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// For failover: an empty database elsewhere, by all its hosts as libpq takes them, in place of one of
    /// its own
    #[arg(long, value_name = "URL", requires = "strike_with")]
    database_url: Option<String>,
    /// For failover: the command to run in place of its own promotion; it prints a line on standard output
    /// when it strikes
    #[arg(long, value_name = "COMMAND", requires = "database_url")]
    strike_with: Option<String>,
    /// For versions: the payonce of the version before; without it, this one plays it
    #[arg(long, value_name = "PATH")]
    old: Option<PathBuf>,
    /// Leave databases, logs and history behind, and say where
    #[arg(long)]
    keep: bool,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// Breaks, checks, and tells the outcome by the exit code.
///
/// # Errors
/// The run could not be carried to its end.
pub async fn run(args: Args) -> Result<ExitCode> {
    let plan = match Plan::new(&args) {
        Ok(plan) => plan,
        Err(why) => {
            progress::say(&format!("error: {why}"));
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    progress::say(&format!("{} ({})", plan.replay(), timing::in_words(&plan)));
    let shutdown = shared::platform::process::shutdown_signal();
    let guardian = Guardian::start()?;
    let done = tokio::select! {
        done = Box::pin(perform(&plan, &args, &guardian)) => done,
        () = shutdown.cancelled() => Err(anyhow::anyhow!("interrupted; nothing that it started is left")),
    };
    guardian.clean_up().await?;
    let report = done?;
    if args.json {
        report.print_json()?
    } else {
        report.print()?
    }
    Ok(report.outcome.exit_code())
}

async fn perform(plan: &Plan, args: &Args, guardian: &Guardian) -> Result<Report> {
    if let Some(why) = cannot(plan.scenario) {
        return Ok(Report::skipped(plan, why));
    }
    if let Some(bytes) = plan.disk() {
        require_disk(bytes)?;
    }
    let places = make_places(plan.scenario, guardian)?;
    let mut fleet = progress::during("starting the processes", Fleet::start(plan, &places, guardian)).await?;
    let report = break_and_check(plan, &mut fleet, &places, guardian).await;
    fleet.stop().await?;
    let report = report?;
    if !args.keep && matches!(report.outcome, Outcome::Held | Outcome::Skipped) {
        return Ok(report);
    }
    guardian.keep();
    Ok(report.kept_in(places.directory))
}

/// Says how much disk space the run may take, and refuses to begin where there is less.
fn require_disk(bytes: u64) -> Result<()> {
    let place = std::env::temp_dir();
    let disk = nix::sys::statvfs::statvfs(&place)
        .with_context(|| format!("cannot look at the disk under {}", place.display()))?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let needs = format!("it may take {} MB of disk in {}", bytes / 1_000_000, place.display());
    progress::say(&format!("{needs}, of which {} MB are free", free / 1_000_000));
    if free < bytes {
        bail!(
            "{needs}, and only {} MB are free: ask for a lower --rate, a shorter --duration, or set TMPDIR",
            free / 1_000_000
        );
    }
    Ok(())
}

/// Why the scenario cannot be run here. None where it can.
fn cannot(scenario: Scenario) -> Option<&'static str> {
    let (needs_disk, needs_clocks) = (scenario.has(Trait::SmallDisk), scenario.has(Trait::Skews));
    if needs_disk && !cfg!(target_os = "linux") {
        return Some("needs Linux");
    }
    if needs_disk && !nix::unistd::geteuid().is_root() {
        return Some("needs root");
    }
    let how =
        "needs a build that can skew clocks: cargo run --profile chaos --bin payonce -- chaos clock-skew";
    (needs_clocks && !cfg!(debug_assertions)).then_some(how)
}

async fn break_and_check(
    plan: &Plan,
    fleet: &mut Fleet,
    places: &Places,
    guardian: &Guardian,
) -> Result<Report> {
    let began = Instant::now();
    faults::prepare(plan, fleet).await?;
    let only_merchant =
        fleet.merchants.first().filter(|_| fleet.merchants.len() == 1).map(ToString::to_string);
    let history = places.directory.join("history.jsonl");
    let history = Arc::new(History::create(&history, only_merchant.as_deref())?);
    let apis = fleet.apis.iter().map(|api| api.address().to_owned()).collect();
    let is_mixed = plan.scenario.has(Trait::Mixed);
    let methods = if is_mixed { order::MIXED } else { order::GOOD };
    let client = Client::new(apis, fleet.secrets.clone(), history.clone(), (plan.seed, methods))?;
    let load = Load::start(client, plan.payments, plan.spread_over());
    let bank = Bank::start(plan, fleet).await?;
    let _saying = say_progress(load.clone());

    let mut scene = Scene::new(plan, fleet, &load, guardian, places.database.clone());
    let driven = faults::drive(&mut scene).await;
    load.is_enough();
    let ended = match &driven {
        Ok(()) => load.all_ended().await,
        Err(_) => Ok(()),
    };
    let recovered_in = scene.last_at.elapsed();
    if let Some(bank) = bank {
        let (mut figures, mut wrong) = bank.close(&scene.fleet.pool, driven.is_ok()).await;
        scene.measured.append(&mut figures);
        scene.wrong.append(&mut wrong);
    }
    load.give_up().await;
    let rested = rest::come_to_rest(&scene.fleet.pool).await;
    history.flush()?;

    let journal = Journal::read(scene.fleet.gateway.address(), &load.orders()).await?;
    faults::count_afterwards(&mut scene, &journal).await?;
    let Scene { fired, measured, mut wrong, ended_by_themselves, .. } = scene;
    let (database, gateways) = (fleet.database_url(), fleet.named_gateways());
    let verify = Verdict::ask(&database, &gateways, history.path());
    let verdict = progress::during("payonce verify", verify).await?;
    wrong.extend(load.wrongs());
    if ended_by_themselves > 0 {
        wrong.push(format!("{ended_by_themselves} processes ended by themselves"));
    }
    wrong.extend([driven, ended, rested].into_iter().filter_map(Result::err).map(|why| format!("{why:#}")));
    let seen = Seen {
        fired,
        measured,
        clients: Clients::of(&load.counts, load.statuses()),
        figures: Figures::read(&fleet.pool).await?,
        wrong,
        held: books::held(&fleet.pool).await?.into_iter().collect(),
        charged_wrongly: journal.charged_wrongly,
        verdict,
        recovered_in,
        lasted: began.elapsed(),
    };
    Ok(Report::of(plan, seen))
}

fn say_progress(load: Arc<Load>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(SAY_EVERY).await;
            progress::say(&load.progress());
        }
    }))
}

/// Makes a directory of this run's own, which the database's user can enter.
fn make_places(scenario: Scenario, guardian: &Guardian) -> Result<Places> {
    let name = format!("payonce-chaos-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let directory = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new()
        .mode(0o711)
        .create(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    guardian.directory(&directory);
    let database = scenario.has(Trait::SmallDisk).then(|| mount(&directory, guardian)).transpose()?;
    Ok(Places { directory, database })
}

/// Mounts a small file system in memory, and answers its path.
fn mount(directory: &Path, guardian: &Guardian) -> Result<PathBuf> {
    let place = directory.join("small-disk");
    std::fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"])
        .arg(&place)
        .output()
        .context("cannot run mount")?;
    if !mounted.status.success() {
        bail!("cannot mount a file system: {}", String::from_utf8_lossy(&mounted.stderr).trim());
    }
    guardian.mount(&place);
    Ok(place)
}
