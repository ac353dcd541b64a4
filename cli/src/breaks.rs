//! `payonce breaks`: contradictions that a person resolves.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::ids::PaymentId;
use shared::database;
use shared::operations::breaks::{self, Break, Filter, KINDS};
use shared::operations::json;
use shared::operations::operator::{Decision, Resolve, Resolved, resolve_break};
use shared::platform::config;
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;
use crate::pages::{self, Before, Page};

/// List, show and resolve contradictions between the books. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List breaks, newest first: the open ones, or with --all the resolved ones too
    #[command(after_help = "\
Example:
  payonce breaks list --kind charged_after_end

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// Only breaks of this kind
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(KINDS.iter().map(|(kind, _)| *kind)))]
        kind: Option<String>,
        /// List resolved ones too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        before: Before,
        #[command(flatten)]
        page: Page,
        /// Print one line of JSON: an object of the breaks as `data`, and `has_more`
        #[arg(long)]
        json: bool,
    },
    /// Show one break: what it means, and what was seen on both sides
    #[command(after_help = "\
Example:
  payonce breaks show 17

Exit codes: 0 shown; 1 no such break, or failed; 2 called wrongly.")]
    Show {
        /// Its number, as `payonce breaks list` shows it
        id: i64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Resolve one break, with a reason; where its payment is held, decide about the payment
    ///
    /// A worker checks a decision against what the gateway shows, and refuses it where that does not permit
    /// it. Repeated with the same name and reason it changes nothing.
    #[command(after_help = "\
Example:
  payonce breaks resolve 17 --by ada --reason 'refunded by the gateway, ticket 4711'
  payonce breaks resolve 18 --by ada --reason 'what do they show?' --decision look
  payonce breaks resolve 18 --by ada --reason 'seen in their books' --decision succeed --charge-id ch_1

Exit codes: 0 resolved, also before, or looked; 1 not resolved, or failed; 2 called wrongly; 3 no worker has looked yet.")]
    Resolve {
        /// Its number, as `payonce breaks list` shows it
        id: i64,
        /// Why it can be closed
        #[arg(long)]
        reason: String,
        /// Your name; without it, the name of the user who runs this
        #[arg(long)]
        by: Option<String>,
        /// What is to happen to the held payment
        #[arg(long, value_parser = ["release", "look", "succeed", "fail", "reverse", "void"])]
        decision: Option<String>,
        /// The charge by which it succeeded, with --decision succeed
        #[arg(long)]
        charge_id: Option<String>,
        /// Decide without proof: only where the gateway is silent for long, or cannot look up
        #[arg(long)]
        unproven: bool,
        /// How long to wait for a worker to look at the gateway
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u16,
        /// Print one line of JSON: the break as it is now, or the decision where none was made
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    match command {
        Command::List { kind, all, before, page, json } => {
            let is_open = (!all).then_some(true);
            let filter = Filter { kind, is_open, before: before.before, limit: page.asked() };
            list(&pool, &filter, page, json).await?;
        }
        Command::Show { id, json } => {
            let it = breaks::find(&pool, id).await?.with_context(|| no_such(id))?;
            show(&it, json)?;
        }
        Command::Resolve { id, reason, by, decision, charge_id, unproven, wait, json } => {
            let by = by.or_else(|| config::optional("USER")).unwrap_or_default();
            let patience = Duration::from_secs(wait.into());
            let credential = "command line".to_owned();
            let asked = Resolve { by, credential, reason, decision, charge_id, unproven, patience };
            return resolve(&pool, id, &asked, json).await;
        }
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(pool: &PgPool, filter: &Filter, page: Page, json: bool) -> Result<()> {
    let found = page.of(breaks::list(pool, filter).await?);
    if json {
        return found.json(json::a_break);
    }
    let is_narrowed = filter.kind.is_some() || filter.before.is_some();
    let empty = pages::nothing("break", filter.is_open.is_some(), is_narrowed);
    let minute = "%Y-%m-%d %H:%M";
    let row = |it: &Break| {
        vec![
            it.id.to_string(),
            it.kind.clone(),
            about(it),
            it.opened_at.format(minute).to_string(),
            it.closed_by.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let next = |it: &Break| format!("--before {}", it.id);
    found.print(&["ID", "KIND", "ABOUT", "OPENED", "RESOLVED BY"], row, (&empty, next))
}

fn show(it: &Break, json: bool) -> Result<()> {
    if json {
        return output::json(&json::a_break(it));
    }
    let means = breaks::explained(&it.kind).unwrap_or_default();
    output::line(&format!("break {}: {}\n{means}", it.id, it.kind))?;
    output::line(&format!("about   {}\nopened  {}", about(it), it.opened_at.to_rfc3339()))?;
    match (&it.closed_by, &it.closed_reason) {
        (Some(by), Some(reason)) => output::line(&format!("closed  by {by}: {reason}"))?,
        _ if it.is_held => output::line("its payment is held: resolve it with --decision")?,
        _ => {}
    }
    output::line(&serde_json::to_string_pretty(&it.detail)?)
}

/// The exit code where no worker has looked at the gateway yet.
const NOT_YET: u8 = 3;

async fn resolve(pool: &PgPool, id: i64, asked: &Resolve, json: bool) -> Result<ExitCode> {
    let said = match resolve_break(pool, id, asked).await? {
        Resolved::Asked(it) => {
            say_decision(
                &it,
                json,
                "asked for; no worker has looked at the gateway yet: repeat this to see what comes of it",
            )?;
            return Ok(ExitCode::from(NOT_YET));
        }
        Resolved::Checked(it) if it.refusal.is_none() => {
            let permits = it.permits.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
            let seen = it.seen.as_deref().unwrap_or_default();
            say_decision(
                &it,
                json,
                &format!("the gateway shows: {seen}; what may be decided: {permits}, or release"),
            )
        }
        Resolved::Checked(it) => bail!("nothing was decided: {}", it.refusal.unwrap_or_default()),
        Resolved::Another => {
            bail!("another decision about its payment is being checked; try again in a moment")
        }
        Resolved::Now(it) | Resolved::Before(it) if json => output::json(&json::a_break(&it)),
        Resolved::Now(_) => output::line(&format!("resolved {id}")),
        Resolved::Before(_) => output::line(&format!("{id} was resolved so before")),
        Resolved::NoSuchBreak => bail!(no_such(id)),
        Resolved::Otherwise(it) => bail!(
            "{} resolved it already, because: {}",
            it.closed_by.unwrap_or_default(),
            it.closed_reason.unwrap_or_default()
        ),
        Resolved::NeedsDecision => bail!("its payment is held: say what becomes of it with --decision"),
        Resolved::NothingToDecide => bail!("its payment is not held: leave --decision out"),
        Resolved::Unusable(why) => bail!("{why}: give --{}", why.field.replace('_', "-")),
    };
    said.map(|()| ExitCode::SUCCESS)
}

fn say_decision(it: &Decision, json: bool, words: &str) -> Result<()> {
    if json { output::json(&json::decision(it)) } else { output::line(words) }
}

fn no_such(id: i64) -> String {
    format!("there is no break {id}; payonce breaks list --all shows those there are")
}

fn about(it: &Break) -> String {
    let payment = it.payment_id.map(|id| PaymentId::from(id).to_string());
    payment.or_else(|| it.subject.clone()).unwrap_or_default()
}
