//! `payonce orphans`: charges at the gateway of payments that are forgotten here.

use std::process::ExitCode;

use anyhow::Result;
use domain::ids::{GatewayName, PaymentId};
use serde_json::json;
use shared::database;
use shared::operations::installation::orphans::{self, Orphan};

use crate::migrate::connect;
use crate::pages::{self, Page};

/// See what the gateway charged for payments that were forgotten with a restored database.
/// Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List orphans by gateway and key: those that no payment has adopted, or with --all the others too
    ///
    /// A client that repeats its request gets a payment that adopts the charge. A charge that no client
    /// repeats is refunded at the gateway by a person, who then closes its break.
    #[command(after_help = "\
Example:
  payonce orphans list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// List adopted ones too
        #[arg(long)]
        all: bool,
        /// Only orphans whose key comes after this one
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// The gateway of that key
        #[arg(long, value_name = "NAME", default_value = "default", requires = "after")]
        after_gateway: GatewayName,
        #[command(flatten)]
        page: Page,
        /// Print one line of JSON: an object of the orphans as `data`, and `has_more`
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let Command::List { all, after, after_gateway, page, json } = command;
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    let is_narrowed = after.is_some() || !all;
    let after = after.as_ref().map_or(("", ""), |key| (after_gateway.as_str(), key.as_str()));
    let found = page.of(orphans::list(&pool, all, after, page.asked()).await?);
    pool.close().await;
    if json {
        found.json(as_json)?;
    } else {
        let headings = ["GATEWAY", "KEY", "AMOUNT", "", "CHARGE", "WAS", "ADOPTED BY"];
        let empty = pages::nothing("orphan", false, is_narrowed);
        let next = |it: &Orphan| format!("--after {} --after-gateway {}", it.key, it.gateway);
        found.print(&headings, as_row, (&empty, next))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn adopted_by(it: &Orphan) -> Option<String> {
    it.adopted_by.map(|id| PaymentId::from(id).to_string())
}

fn as_json(it: &Orphan) -> serde_json::Value {
    json!({
        "gateway": it.gateway,
        "key": it.key,
        "reference": it.reference,
        "charge_id": it.charge_id,
        "amount": it.amount.to_string(),
        "currency": it.currency,
        "found_at": it.found_at,
        "adopted_by": adopted_by(it),
    })
}

fn as_row(it: &Orphan) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        it.gateway.clone(),
        it.key.clone(),
        it.amount.to_string(),
        it.currency.clone(),
        it.charge_id.clone(),
        or_dash(it.reference.clone()),
        or_dash(adopted_by(it)),
    ]
}
