//! `payonce restored`: makes a database that came back from a backup fit to go on with, so that nobody is
//! charged twice.
//!
//! Invariants: the doors are closed from the first step to the last. Killed in between, it leaves a database
//! in which nothing is accepted or claimed. Each step may be repeated.

mod release;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use shared::database;
use shared::gateway::settings::{self, GatewaySettings};
use shared::operations::installation::restore::{self, Books, Doing, Restoring};
use shared::operations::installation::{self, inventory};
use shared::payment::transition::Justification;
use shared::platform::config;
use sqlx::PgPool;
use terminal::output::EXIT_USAGE;
use terminal::progress;

use self::report::Report;
use crate::doors;

/// The time within which a server has ended sessions that were closed by then.
const GONE_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The exit code where a person has to say that it is meant.
const FOR_A_PERSON: u8 = 3;

/// Say that this database came back from a backup, and make it one that can be gone on with
///
/// Stop all APIs and workers, restore, run this, and start them again. It reads the gateway's books to their
/// end: charges of payments that are forgotten here become orphans, with a break each. Every payment that is
/// not over is put in doubt, and the gateway is asked about it before anything else. If it is killed, run it
/// again, and it goes on. Needs `DATABASE_URL` and `GATEWAY_URL` or `GATEWAYS`; where they are set for the
/// workers, `LEASE_MS` and `GATEWAY_TIMEOUT_MS`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Example:
  payonce restored --by ada
  payonce restored --as-copy --by ada   # a copy for staging: it leaves alone what is the original's
  payonce restored release --all --by ada --reason 'asked all of them'

Exit codes: 0 done; 1 failed, or somebody is connected; 2 called wrongly; 3 it is not known what the gateway charged since: say
--yes if that is meant (until then nothing is accepted or claimed, and --json prints nothing)."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<release::Command>,
    /// Your name, for the record
    #[arg(long, required = true)]
    by: Option<String>,
    /// Go on although the gateway's books do not tell what is forgotten here
    #[arg(long)]
    yes: bool,
    /// Make this a copy beside the original, which goes on: what is the original's is held here, and no
    /// gateway is asked about it
    #[arg(long)]
    as_copy: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if let Some(command) = args.command {
        return release::run(command).await;
    }
    let by = name(args.by.as_deref().unwrap_or_default())?;
    let terms = settings::from_env_if_any()?;
    if !args.as_copy && lacks_gateway(&terms, args.yes) {
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let lease = lease_from_env()?;
    let pool = connect("payonce restored").await?;
    let restoring =
        Restoring { by, epoch: installation::read(&pool).await?.epoch + 1, lease, is_copy: args.as_copy };
    restore::close_doors(&pool, Doing::Restoring, &restoring.by).await?;
    let mut report = Report { epoch: restoring.epoch, is_copy: args.as_copy, ..Report::default() };
    if !args.as_copy {
        let books = books_after(&pool, &terms, lease).await?;
        let keys_of_ids = progress::during("looking for orphans", restore::keep_orphans(&pool)).await?;
        report.whole_until = restore::whole_until(&pool).await?;
        report.books_why = match books {
            Books::Whole => None,
            Books::Partly(why) => Some(why),
        };
        report.keys_of_ids = keys_of_ids;
        if let Some(why) = report.doubtful() {
            progress::say(&why);
            if !args.yes {
                progress::say(match report.books_why {
                    Some(_) => {
                        "see that the gateway runs and can be reached at GATEWAY_URL, and run this again; or say --yes if that is \
                         meant. Until then nothing is accepted or claimed"
                    }
                    None => "say --yes if that is meant; until then nothing is accepted or claimed",
                });
                return Ok(ExitCode::from(FOR_A_PERSON));
            }
        }
    }
    let mut said = Instant::now();
    let tell = |so_far| {
        if said.elapsed() >= Duration::from_secs(2) {
            progress::say(&format!("putting payments in doubt … {so_far}"));
            said = Instant::now();
        }
    };
    restore::doubt_all(&pool, &restoring, tell).await?;
    (report.decisions, report.corrections) = restore::withdraw_all(&pool, &restoring.by).await?;
    report.inventory = Some(progress::during("counting", inventory::take(&pool, restoring.epoch)).await?);
    restore::open_doors(&pool, &restoring).await?;
    pool.close().await;
    report.print(args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// How long a worker whose claim is forgotten here may still begin a charge.
pub(crate) fn lease_from_env() -> Result<Duration> {
    Ok(config::millis("LEASE_MS", Duration::from_secs(30))?)
}

/// Whether neither a gateway's address nor --yes was given. If so, says what to do, before any door is
/// closed.
pub(crate) fn lacks_gateway(terms: &[GatewaySettings], yes: bool) -> bool {
    let lacks = terms.is_empty() && !yes;
    if lacks {
        progress::say(
            "error: set GATEWAY_URL (or GATEWAYS), as the workers have it: the gateway's books tell what is forgotten here",
        );
    }
    lacks
}

/// Reads the gateways' books to their end, once no worker can charge any more under a claim that is
/// forgotten here.
pub(crate) async fn books_after(pool: &PgPool, terms: &[GatewaySettings], lease: Duration) -> Result<Books> {
    let Some(slowest) = terms.iter().map(|it| it.policy.gateway_timeout).max() else {
        return Ok(Books::Partly("GATEWAY_URL is not set".to_owned()));
    };
    let gateways = settings::gateways(terms)?;
    let claims_end = lease + slowest;
    let waiting = format!("waiting for claims of before to end ({} s)", claims_end.as_secs_f32());
    // Most of the books are read during that wait.
    let (first, ()) = tokio::join!(
        progress::during("reading the gateway's books", restore::read_books(pool, &gateways)),
        progress::during(&waiting, tokio::time::sleep(claims_end)),
    );
    match first? {
        Books::Whole => {
            let rest = restore::read_books(pool, &gateways);
            Ok(progress::during("reading the last of the gateway's books", rest).await?)
        }
        partly @ Books::Partly(_) => Ok(partly),
    }
}

/// Connects, and makes sure that no other session is connected. The times of workers say nothing in a past
/// that came back, and a worker that is cut off holds a claim that ends here.
pub(crate) async fn connect(name: &str) -> Result<PgPool> {
    let example = "postgres://user:password@localhost/payonce";
    let url = config::required("DATABASE_URL", example)?;
    // One connection, so that no other one of ours is in the way.
    let pool = database::connect_as(&url, 1, name).await?;
    database::require_migrated(&pool).await?;
    let mut connection = pool.acquire().await?;
    let began = Instant::now();
    // A session that was closed a moment ago may still be shown.
    while let Err(why) = doors::require_alone(&mut connection).await {
        if began.elapsed() > GONE_WITHIN {
            return Err(why);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    drop(connection);
    Ok(pool)
}

/// The name of the person who does this, if it can be written down.
pub(crate) fn name(by: &str) -> Result<String> {
    Justification::new(by, "restored").context("--by")?;
    Ok(by.trim().to_owned())
}
