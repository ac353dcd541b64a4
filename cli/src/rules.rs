//! `payonce rules`: the rules of risk, listed, tried, added and removed.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::ids::MerchantId;
use domain::money::{Currency, Money};
use domain::review::{RuleAction, RuleKind};
use serde_json::json;
use shared::database;
use shared::operations::json;
use shared::payment::risk::{self, NewRule, Rule, Tried};
use shared::platform::{config, text};
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;

/// How long a review waits for a person, in hours, unless something else is said.
const REVIEW_HOURS: u16 = 7 * 24;

/// The rules that say which payments are refused, or wait for a person. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the rules in the order in which they are asked
    #[command(after_help = "\
Example:
  payonce rules list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// List those that were removed too, with who did
        #[arg(long)]
        all: bool,
        /// Print one line of JSON: an object of the rules as `data`
        #[arg(long)]
        json: bool,
    },
    /// Add a rule, which holds from the next request on
    #[command(after_help = "\
Examples:
  payonce rules add amount_over --currency USD --amount 1000.00 --action review --reason 'large amounts'
  payonce rules add velocity --count 5 --window-s 3600 --action deny --reason 'card testing'

Exit codes: 0 added, 1 failed, 2 called wrongly.")]
    Add(Wanted),
    /// Remove a rule; what it was stays to be seen
    #[command(after_help = "\
Example:
  payonce rules remove 3 --by ada

Exit codes: 0 removed; 1 no such rule, or failed; 2 called wrongly.")]
    Remove {
        /// Its number, as `payonce rules list` shows it
        id: i64,
        /// Your name; without it, the name of the user who runs this
        #[arg(long)]
        by: Option<String>,
    },
    /// Try a rule against the last payments, without adding it
    #[command(after_help = "\
Example:
  payonce rules try velocity --count 5 --window-s 3600 --action deny --reason 'card testing' --last 10000

Exit codes: 0 tried, 1 failed, 2 called wrongly.")]
    Try {
        #[command(flatten)]
        rule: Wanted,
        /// How many payments to try it against
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        last: i64,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// What it looks at: `amount_over`, `velocity`, `recent_failures`, `new_customer`, `blocked_customer`
    /// or `blocked_method`
    kind: RuleKind,
    /// Only this merchant's payments; without it, those of all, after each one's own rules
    #[arg(long, value_name = "ID")]
    merchant: Option<MerchantId>,
    /// The place among the rules; the first that hits decides
    #[arg(long, default_value_t = 100)]
    position: i32,
    /// Only payments in this currency
    #[arg(long)]
    currency: Option<Currency>,
    /// Only payments above this amount
    #[arg(long)]
    amount: Option<String>,
    /// How many requests may come, or how many failures are too many
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    count: Option<i32>,
    /// Within how many seconds
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=31_622_400))]
    window_s: Option<i32>,
    /// The customer, or the payment method
    #[arg(long)]
    value: Option<String>,
    /// What follows: approve, review or deny
    #[arg(long)]
    action: RuleAction,
    /// What it adds to the score
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=1000))]
    score: i32,
    /// How many hours a review waits for a person
    #[arg(long, default_value_t = REVIEW_HOURS, value_parser = clap::value_parser!(u16).range(1..=2160))]
    review_hours: u16,
    /// Why there is such a rule
    #[arg(long)]
    reason: String,
    /// Your name; without it, the name of the user who runs this
    #[arg(long)]
    by: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    match command {
        Command::List { all, json } => list(&risk::list(&pool, all).await?, json)?,
        Command::Add(wanted) => {
            let (rule, by) = (checked(&wanted)?, name(wanted.by.clone())?);
            let id = risk::add(&pool, &rule, &by).await?;
            if wanted.json {
                output::json(&json!({ "id": id }))?;
            } else {
                output::line(&format!("added rule {id}: it holds from the next request on"))?;
            }
        }
        Command::Remove { id, by } => {
            if !risk::remove(&pool, id, &name(by)?).await? {
                bail!("there is no rule {id} in force; payonce rules list shows those there are");
            }
            output::line(&format!("removed rule {id}"))?;
        }
        Command::Try { rule: wanted, last } => {
            let tried = risk::try_out(&pool, &checked(&wanted)?, last).await?;
            tell(tried, wanted.json)?;
        }
    }
    pool.close().await;
    Ok(ExitCode::SUCCESS)
}

fn name(by: Option<String>) -> Result<String> {
    by.or_else(|| config::optional("USER")).filter(|by| !by.is_empty()).context("give --by: your name")
}

/// The rule, if it has what its kind needs and nothing that it has no use for.
fn checked(wanted: &Wanted) -> Result<NewRule> {
    let counts = matches!(wanted.kind, RuleKind::Velocity | RuleKind::RecentFailures);
    let names = matches!(wanted.kind, RuleKind::BlockedCustomer | RuleKind::BlockedMethod);
    if (wanted.count.is_some(), wanted.window_s.is_some()) != (counts, counts) {
        bail!("--count and --window-s go with velocity and recent_failures, which need both");
    }
    if wanted.value.is_some() != names {
        bail!("--value goes with blocked_customer and blocked_method, which need it");
    }
    if wanted.kind == RuleKind::AmountOver && wanted.amount.is_none() {
        bail!("amount_over needs --amount and --currency");
    }
    let amount = match (&wanted.amount, wanted.currency) {
        (None, _) => None,
        (Some(_), None) => bail!("--amount needs --currency"),
        (Some(amount), Some(currency)) => Some(Money::parse(amount, currency).context("--amount")?.amount()),
    };
    Ok(NewRule {
        merchant: wanted.merchant,
        position: wanted.position,
        kind: wanted.kind,
        currency: wanted.currency.map(|currency| currency.code().to_owned()),
        amount,
        count: wanted.count,
        window_s: wanted.window_s,
        value: wanted.value.clone(),
        action: wanted.action,
        score: wanted.score,
        review_s: i32::from(wanted.review_hours) * 3600,
        reason: text::lines(&wanted.reason, 1000)
            .context("--reason takes 1 to 1000 characters that can be seen")?,
    })
}

fn list(rules: &[Rule], json: bool) -> Result<()> {
    if json {
        let data: Vec<_> = rules.iter().map(json::rule).collect();
        return output::json(&json!({ "data": data }));
    }
    if rules.is_empty() {
        return output::line("there is no rule: every payment passes");
    }
    let row = |it: &Rule| {
        vec![
            it.id.to_string(),
            it.merchant_id.map_or_else(|| "all".to_owned(), |id| MerchantId::from(id).to_string()),
            about(it),
            it.action.clone(),
            it.reason.clone(),
            it.added_by.clone(),
            it.removed_by.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let headings = &["ID", "MERCHANT", "WHAT", "ACTION", "REASON", "ADDED BY", "REMOVED BY"];
    output::table(headings, &rules.iter().map(row).collect::<Vec<_>>())
}

/// What a rule looks at, in one line.
fn about(it: &Rule) -> String {
    let mut parts = vec![it.kind.clone()];
    parts.extend(it.amount.as_ref().map(|amount| format!("above {amount}")));
    parts.extend(it.currency.clone());
    parts.extend(it.count.zip(it.window_s).map(|(count, window)| format!("{count} in {window} s")));
    parts.extend(it.value.clone());
    parts.join(" ")
}

fn tell(tried: Tried, json: bool) -> Result<()> {
    let Tried { payments, hits, succeeded } = tried;
    if json {
        return output::json(&json!({ "payments": payments, "hits": hits, "succeeded": succeeded }));
    }
    output::line(&format!(
        "of the last {payments} payments it hits {hits}, of which {succeeded} succeeded; nothing was changed"
    ))
}

/// Adds the rule by which large amounts wait for a person, where there never was a rule: to see reviews.
pub(crate) async fn seed(pool: &PgPool) -> Result<()> {
    if !risk::list(pool, true).await?.is_empty() {
        return Ok(());
    }
    let currency: Currency = "USD".parse()?;
    let rule = NewRule {
        merchant: None,
        position: 100,
        kind: RuleKind::AmountOver,
        currency: Some(currency.code().to_owned()),
        amount: Some(Money::parse("1000.00", currency)?.amount()),
        count: None,
        window_s: None,
        value: None,
        action: RuleAction::Review,
        score: 50,
        review_s: i32::from(REVIEW_HOURS) * 3600,
        reason: "payonce dev: large amounts wait for a person".to_owned(),
    };
    risk::add(pool, &rule, "payonce dev").await.map(drop).map_err(Into::into)
}
