//! `payonce moved`: a database that stands in another place, as it was, becomes the known one.
//!
//! Invariant: it is accepted only where the gateway shows no charge of a payment that is forgotten here.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;
use shared::gateway::settings;
use shared::operations::installation::restore::{self, Books, Doing};
use terminal::output::{self, EXIT_USAGE};
use terminal::progress;

use crate::restored::{books_after, connect, lacks_gateway, lease_from_env, name};

const FOR_A_PERSON: u8 = 3;

/// Say that this database stands in another place, as it was: after `pg_upgrade`, or a dump that was loaded
/// with nothing running meanwhile
///
/// It reads the gateway's books to their end. If the gateway shows a charge of a payment that is forgotten
/// here, the database was not moved as it was: run `payonce restored`. Stop all APIs and workers first. Needs
/// `DATABASE_URL` and `GATEWAY_URL` or `GATEWAYS`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce moved --by ada

Exit codes: 0 done; 1 failed, somebody is connected, or payments are forgotten; 2 called wrongly; 3 the gateway's books were not read
to their end: say --yes if nothing can be forgotten.")]
pub(crate) struct Args {
    /// Your name, for the record
    #[arg(long)]
    by: String,
    /// Go on although the gateway's books are not read to their end
    #[arg(long)]
    yes: bool,
    /// Print one line of JSON: which database that is
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let by = name(&args.by)?;
    let terms = settings::from_env_if_any()?;
    if lacks_gateway(&terms, args.yes) {
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let lease = lease_from_env()?;
    let pool = connect("payonce moved").await?;
    if let Some(why) = restore::close_doors(&pool, Doing::Moving, &by).await? {
        bail!("it was not moved as it was: {why}; run `payonce restored`");
    }
    let books = books_after(&pool, &terms, lease).await?;
    let unknown = progress::during("comparing", restore::unknown(&pool)).await?;
    if let Some(first) = unknown.first() {
        let why = format!(
            "{} payments are forgotten of which the gateway shows a charge, the first under the key {}",
            unknown.len(),
            first.key
        );
        restore::leave_closed(&pool, &why).await?;
        bail!("it was not moved as it was: {why}; run `payonce restored`");
    }
    if let Books::Partly(why) = books {
        progress::say(&format!("the gateway's books were not read to their end: {why}"));
        if !args.yes {
            progress::say("say --yes if nothing can be forgotten; until then nothing is accepted or claimed");
            return Ok(ExitCode::from(FOR_A_PERSON));
        }
    }
    let here = restore::settle_in(&pool).await?;
    pool.close().await;
    if args.json {
        output::json(&json!({
            "system_identifier": here.system_identifier, "database_oid": here.database_oid, "timeline": here.timeline,
        }))?;
    } else {
        output::line("this is the known database now: start the APIs and workers")?;
    }
    Ok(ExitCode::SUCCESS)
}
