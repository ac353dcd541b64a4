//! `payonce gateway`: which gateway this installation knows.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use shared::gateway::{ApiKey, Gateway, door};
use terminal::output;

use crate::migrate::connect;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// See which gateway is known, or say that another one is meant.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the gateway that is known. Needs `DATABASE_URL`
    #[command(after_help = "\
Example:
  payonce gateway show

Exit codes: 0 shown, also where none is known yet; 1 failed; 2 called wrongly.")]
    Show {
        /// Print one line of JSON: {\"account\",\"environment\"}, or null
        #[arg(long)]
        json: bool,
    },
    /// Make the gateway at `GATEWAY_URL` the known one. Needs `DATABASE_URL`
    ///
    /// The first gateway that answers is known from then on, and workers ask no other. Charges of the old one
    /// cannot be looked up at the new one: let payments that are in doubt end before.
    #[command(after_help = "\
Example:
  GATEWAY_URL=https://gateway.example payonce gateway adopt

Exit codes: 0 adopted; 1 it did not answer, does not say who it is, or failed; 2 called wrongly.")]
    Adopt {
        /// Print one line of JSON: {\"account\",\"environment\"}
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    let (known, as_json) = match command {
        Command::Show { json } => (door::known(&pool).await.context("cannot read the known gateway")?, json),
        Command::Adopt { json } => {
            let url = shared::platform::config::required("GATEWAY_URL", "http://127.0.0.1:8090")?;
            let gateway = Gateway::new(&url, ApiKey::from_env()?, PATIENCE)?;
            (Some(door::adopt(&gateway, &pool).await.context("nothing was adopted")?), json)
        }
    };
    if as_json {
        let shown = known.as_ref().map(|it| json!({ "account": it.account, "environment": it.environment }));
        output::json(&shown)?;
    } else {
        output::line(&known.map_or_else(|| "no gateway is known yet".to_owned(), |it| it.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}
