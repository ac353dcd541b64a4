//! `payonce refunds`: refunds that wait for a person, and what a person does about them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use domain::ids::{OperationId, PaymentId};
use serde_json::{Value, json};
use shared::database;
use shared::payment::refunds::{self, Shown};
use shared::payment::transition::{Justification, Justified, release_refund};
use shared::platform::config;
use shared::platform::time::rfc3339;
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;

/// List refunds that wait for a person, or those of a payment, and give one back. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the refunds that are held, oldest first; with --payment all of that payment
    #[command(after_help = "\
Example:
  payonce refunds list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// All refunds of this payment
        #[arg(long, value_name = "ID")]
        payment: Option<PaymentId>,
        /// Print one line of JSON: an object with the refunds as `data`
        #[arg(long)]
        json: bool,
    },
    /// Give a held refund back to the workers, with a reason: they look it up before anything is sent
    #[command(after_help = "\
Example:
  payonce refunds release re_0190a1b2c3d47e8f9a0b1c2d3e4f5a6b --by ada --reason 'the gateway looks up again'

Exit codes: 0 released, 1 not held, no such refund, or failed; 2 called wrongly.")]
    Release {
        /// Its id, as `payonce refunds list` shows it
        id: OperationId,
        /// Why
        #[arg(long)]
        reason: String,
        /// Your name; without it, the name of the user who runs this
        #[arg(long)]
        by: Option<String>,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    match command {
        Command::List { payment, json } => list(&pool, payment, json).await?,
        Command::Release { id, reason, by } => release(&pool, id, by, &reason).await?,
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(pool: &PgPool, payment: Option<PaymentId>, is_json: bool) -> Result<()> {
    let found = refunds::shown(pool, payment).await?;
    if is_json {
        return output::json(&json!({ "data": found.iter().map(shown).collect::<Vec<_>>() }));
    }
    if found.is_empty() {
        let what = if payment.is_some() { "this payment has no refund" } else { "no refund is held" };
        return output::line(what);
    }
    let row = |it: &Shown| {
        vec![
            OperationId::from(it.id).to_string(),
            PaymentId::from(it.payment_id).to_string(),
            format!("{} {}", it.amount, it.currency),
            it.held_reason.as_ref().map_or_else(|| it.status.clone(), |reason| format!("held: {reason}")),
            it.created_at.format("%Y-%m-%d %H:%M").to_string(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    output::table(&["REFUND", "PAYMENT", "AMOUNT", "STATUS", "CREATED"], &rows)
}

fn shown(it: &Shown) -> Value {
    json!({
        "id": OperationId::from(it.id),
        "payment_id": PaymentId::from(it.payment_id),
        "origin": it.origin,
        "amount": it.amount.to_string(),
        "currency": it.currency,
        "status": it.status,
        "held_reason": it.held_reason,
        "in_doubt": it.in_doubt,
        "transaction_id": it.gateway_transaction_id,
        "failure_code": it.failure_code,
        "created_at": rfc3339(it.created_at),
    })
}

async fn release(pool: &PgPool, id: OperationId, by: Option<String>, reason: &str) -> Result<()> {
    let by = by.or_else(|| config::optional("USER")).unwrap_or_default();
    let justification = match Justification::new(&by, reason) {
        Ok(justification) => justification,
        Err(why) => bail!("{why}: give --{}", why.field),
    };
    match release_refund(pool, id, &justification).await? {
        Justified::Done => output::line(&format!("released {id}")),
        Justified::NotHeld => bail!("{id} is not held; payonce refunds list shows those that are"),
        Justified::NoSuchRefund => bail!("there is no refund {id}"),
    }
}
