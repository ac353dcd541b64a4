//! `payonce dead-letters`: what the queue gave up, listed, replayed and discarded.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::dead_letter::Class;
use domain::ids::PaymentId;
use shared::database;
use shared::operations::dead_letter::{self, Closed, Closing, Filter, Letter};
use shared::operations::json;
use shared::platform::config;
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;
use crate::pages::{self, Before, Page};

/// List, show, replay and discard what the queue could not do. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List dead letters, newest first: the open ones, or with --all the closed ones too
    #[command(after_help = "\
Example:
  payonce dead-letters list --class poison

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// Only letters of this class
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Class::ALL.iter().map(|class| class.as_str())))]
        class: Option<String>,
        /// List closed ones too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        before: Before,
        #[command(flatten)]
        page: Page,
        /// Print one line of JSON: an object of the letters as `data`, and `has_more`
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter: why it was given up, and the job as it came
    #[command(after_help = "\
Example:
  payonce dead-letters show 17

Exit codes: 0 shown; 1 no such letter, or failed; 2 called wrongly.")]
    Show {
        /// Its number, as `payonce dead-letters list` shows it
        id: i64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Replay one dead letter, with a reason: the job is delivered again under its own key, a held
    /// payment released
    ///
    /// It is replayed once, however often this is repeated.
    #[command(after_help = "\
Example:
  payonce dead-letters replay 17 --by ada --reason 'fixed in 1.4.2'

Exit codes: 0 replayed, also before; 1 not replayed, or failed; 2 called wrongly.")]
    Replay(Decision),
    /// Put one dead letter away, with a reason, without doing its job
    #[command(after_help = "\
Example:
  payonce dead-letters discard 17 --by ada --reason 'pushed by hand, by mistake'

Exit codes: 0 discarded, also before; 1 not discarded, or failed; 2 called wrongly.")]
    Discard(Decision),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Decision {
    /// Its number, as `payonce dead-letters list` shows it
    id: i64,
    /// Why you close it
    #[arg(long)]
    reason: String,
    /// Your name; without it, the name of the user who runs this
    #[arg(long)]
    by: Option<String>,
    /// Print one line of JSON: the letter as it is now
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    match command {
        Command::List { class, all, before, page, json } => {
            let is_open = (!all).then_some(true);
            let filter = Filter { class, is_open, before: before.before, limit: page.asked() };
            list(&pool, &filter, page, json).await?;
        }
        Command::Show { id, json } => {
            let it = dead_letter::find(&pool, id).await?.with_context(|| no_such(id))?;
            show(&it, json)?;
        }
        Command::Replay(decision) => close(&pool, Closing::Replay, "replayed", decision).await?,
        Command::Discard(decision) => close(&pool, Closing::Discard, "discarded", decision).await?,
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(pool: &PgPool, filter: &Filter, page: Page, json: bool) -> Result<()> {
    let found = page.of(dead_letter::list(pool, filter).await?);
    if json {
        return found.json(json::dead_letter);
    }
    let is_narrowed = filter.class.is_some() || filter.before.is_some();
    let empty = pages::nothing("dead letter", filter.is_open.is_some(), is_narrowed);
    let row = |it: &Letter| {
        vec![
            it.id.to_string(),
            it.class.clone(),
            about(it),
            it.error.clone(),
            it.parked_at.format("%Y-%m-%d %H:%M").to_string(),
            it.closed_as.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let next = |it: &Letter| format!("--before {}", it.id);
    found.print(&["ID", "CLASS", "ABOUT", "ERROR", "PARKED", "CLOSED AS"], row, (&empty, next))
}

fn show(it: &Letter, json: bool) -> Result<()> {
    if json {
        return output::json(&json::dead_letter(it));
    }
    output::line(&format!("dead letter {}: {}\n{}", it.id, it.class, it.error))?;
    output::line(&format!("about   {}\nqueue   {}", about(it), it.queue))?;
    output::line(&format!("key     {}", it.job_key.as_deref().unwrap_or("none")))?;
    output::line(&format!("parked  {}", it.parked_at.to_rfc3339()))?;
    if let (Some(how), Some(by), Some(reason)) = (&it.closed_as, &it.closed_by, &it.closed_reason) {
        output::line(&format!("{how} by {by}: {reason}"))?;
    }
    output::line(&it.body().map_or_else(|| it.detail.to_string(), |body| format!("body    {body}")))
}

async fn close(pool: &PgPool, closing: Closing, done: &str, asked: Decision) -> Result<()> {
    let Decision { id, reason, by, json } = asked;
    let by = by.or_else(|| config::optional("USER")).unwrap_or_default();
    match dead_letter::close(pool, id, closing, (&by, &reason)).await? {
        Closed::Now(it) | Closed::Before(it) if json => output::json(&json::dead_letter(&it)),
        Closed::Now(_) => output::line(&format!("{done} {id}")),
        Closed::Before(_) => output::line(&format!("{id} was {done} so before")),
        Closed::NoSuchLetter => bail!(no_such(id)),
        Closed::Otherwise(it) => bail!(
            "{} {} it already, because: {}",
            it.closed_by.unwrap_or_default(),
            it.closed_as.unwrap_or_default(),
            it.closed_reason.unwrap_or_default()
        ),
        Closed::IsHeld => bail!("its payment is held: replay it, or decide with payonce breaks resolve"),
        Closed::NotYet => bail!("the queue still has its job: repeat this in a moment"),
        Closed::Unusable(why) => bail!("{why}: give --{}", why.field),
    }
}

fn no_such(id: i64) -> String {
    format!("there is no dead letter {id}; payonce dead-letters list --all shows those there are")
}

fn about(it: &Letter) -> String {
    let payment = it.payment_id.map(|id| PaymentId::from(id).to_string());
    payment.or_else(|| it.job_id.as_ref().map(|id| format!("job {id}"))).unwrap_or_default()
}
