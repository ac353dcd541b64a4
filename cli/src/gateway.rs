//! `payonce gateway`: which gateway this installation knows.

use std::process::ExitCode;

use anyhow::{Context, Result};
use domain::ids::GatewayName;
use serde_json::json;
use shared::gateway::{door, names, settings};
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;

/// See which gateway is known, or say that another one is meant.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the gateway that is known. Needs `DATABASE_URL`
    #[command(after_help = "\
Example:
  payonce gateway show

Exit codes: 0 shown, also where none is known yet; 1 failed; 2 called wrongly.")]
    Show {
        /// Which of several gateways
        #[arg(default_value = "default")]
        name: GatewayName,
        /// Print one line of JSON: {\"account\",\"environment\"}, or null
        #[arg(long)]
        json: bool,
    },
    /// List the gateways that merchants can have, each with its account, and until when its books were read.
    /// Needs `DATABASE_URL`
    #[command(after_help = "\
Example:
  payonce gateway list

Exit codes: 0 listed; 1 failed; 2 called wrongly.")]
    List {
        /// Print one line of JSON: an array of the gateways
        #[arg(long)]
        json: bool,
    },
    /// Make the gateway at `GATEWAY_URL`, or the one of that name in `GATEWAYS`, the known one.
    /// Needs `DATABASE_URL`
    ///
    /// The first gateway that answers is known from then on, and workers ask no other. Charges of the old one
    /// cannot be looked up at the new one: let payments that are in doubt end before.
    #[command(after_help = "\
Example:
  GATEWAY_URL=https://gateway.example payonce gateway adopt

Exit codes: 0 adopted; 1 it did not answer, does not say who it is, or failed; 2 called wrongly.")]
    Adopt {
        /// Which of several gateways
        #[arg(default_value = "default")]
        name: GatewayName,
        /// Print one line of JSON: {\"account\",\"environment\"}
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    let (known, as_json) = match command {
        Command::List { json } => return list(&pool, json).await,
        Command::Show { name, json } => {
            (door::known(&pool, &name).await.context("cannot read the known gateway")?, json)
        }
        Command::Adopt { name, json } => {
            let gateways = settings::gateways(&settings::from_env()?)?;
            let gateway = gateways.into_iter().find(|gateway| *gateway.name() == name);
            let gateway =
                gateway.with_context(|| format!("the settings say nothing of the gateway {name}"))?;
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

async fn list(pool: &PgPool, as_json: bool) -> Result<ExitCode> {
    let all = names::list(pool).await.context("cannot list the gateways; is the database migrated?")?;
    if as_json {
        output::json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|it| {
            let read = it.whole_at.map(|at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
            let merchants = it.merchants.to_string();
            vec![it.name.clone(), or_dash(&it.account), or_dash(&it.environment), merchants, or_dash(&read)]
        })
        .collect();
    output::table(&["NAME", "ACCOUNT", "ENVIRONMENT", "MERCHANTS", "BOOKS READ UNTIL"], &rows)?;
    Ok(ExitCode::SUCCESS)
}
