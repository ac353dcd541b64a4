//! `payonce restored release`: gives payments that came back, and of which the gateway shows nothing, back to
//! the machine at once.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use shared::database;
use shared::operations::installation::orphans::Sum;
use shared::operations::installation::release;
use shared::payment::transition::Justification;
use terminal::{output, progress};

use crate::migrate::connect;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Give back to the machine what is held because the gateway shows nothing of it
    ///
    /// Each is charged under its key, if that is still good, or voided. Without --yes it only counts them.
    /// Ask first whether their customers have paid by later requests.
    #[command(after_help = "\
Example:
  payonce restored release --all --by ada --reason 'their customers were asked'
  payonce restored release --all --by ada --reason 'their customers were asked' --yes

Exit codes: 0 released, or counted; 1 failed; 2 called wrongly.")]
    Release {
        /// All payments that are held as restored
        #[arg(long, required = true)]
        all: bool,
        /// Your name, for the record
        #[arg(long)]
        by: String,
        /// Why they may be charged
        #[arg(long)]
        reason: String,
        /// Release them, and not only count
        #[arg(long)]
        yes: bool,
        /// Print one line of JSON: {"held":[…],"released"}
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: Command) -> Result<ExitCode> {
    let Command::Release { all: _, by, reason, yes, json } = command;
    let justification = Justification::new(&by, &reason)?;
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    let held = release::held_back(&pool).await?;
    let mut said = std::time::Instant::now();
    let tell = |so_far| {
        if said.elapsed().as_secs() >= 2 {
            progress::say(&format!("releasing … {so_far}"));
            said = std::time::Instant::now();
        }
    };
    let released = if yes { Some(release::release_all(&pool, &justification, tell).await?) } else { None };
    pool.close().await;
    if json {
        let one =
            |it: &Sum| json!({ "currency": it.currency, "count": it.count, "amount": it.amount.to_string() });
        output::json(&json!({ "held": held.iter().map(one).collect::<Vec<_>>(), "released": released }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |it: &Sum| vec![it.count.to_string(), it.amount.to_string(), it.currency.clone()];
    output::table(&["HELD", "AMOUNT", ""], &held.iter().map(row).collect::<Vec<_>>())?;
    output::line(&match released {
        Some(released) => format!("released {released}"),
        None => "nothing was released: say --yes to release them".to_owned(),
    })?;
    Ok(ExitCode::SUCCESS)
}
