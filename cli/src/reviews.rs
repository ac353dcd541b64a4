//! `payonce reviews`: payments that wait for a person before they are charged, listed and decided.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::ids::{MerchantId, PaymentId};
use domain::review::{ReviewStatus, Verdict};
use shared::database;
use shared::operations::json;
use shared::payment::reviews::{self, Filter, Review};
use shared::payment::transition::{Decision, Reviewed, decide};
use shared::platform::{config, text};
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;
use crate::pages::{self, Page};

/// The most characters of a note.
const NOTE_MAX: usize = 1000;

/// List payments that wait for a person, and approve or deny them. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List reviews, newest first: the open ones, or with --all the others too
    #[command(after_help = "\
Example:
  payonce reviews list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// List reviews that have ended too
        #[arg(long)]
        all: bool,
        /// Only this merchant's
        #[arg(long, value_name = "ID")]
        merchant: Option<MerchantId>,
        /// Only this customer's
        #[arg(long, value_name = "ID")]
        customer: Option<String>,
        /// List only what is older than the review of this payment
        #[arg(long, value_name = "ID")]
        before: Option<PaymentId>,
        #[command(flatten)]
        page: Page,
        /// Print one line of JSON: an object of the reviews as `data`, and `has_more`
        #[arg(long)]
        json: bool,
    },
    /// Let payments pass: they are charged as any others
    #[command(after_help = "\
Example:
  payonce reviews approve pay_0190aabbccdd7eeff00112233445566 --by ada --note 'called the customer'

Exit codes: 0 approved, also before; 1 not all are, or failed; 2 called wrongly.")]
    Approve(Asked),
    /// Refuse payments: they fail, and no gateway ever hears of them
    #[command(after_help = "\
Example:
  payonce reviews deny pay_0190aabbccdd7eeff00112233445566 --by ada --note 'a stolen card'

Exit codes: 0 denied, also before; 1 not all are, or failed; 2 called wrongly.")]
    Deny(Asked),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The payments, as `payonce reviews list` shows them
    #[arg(required = true, num_args = 1..=100)]
    payments: Vec<PaymentId>,
    /// Why, for whoever reads it later
    #[arg(long)]
    note: Option<String>,
    /// Your name; without it, the name of the user who runs this
    #[arg(long)]
    by: Option<String>,
    /// Show how each stands, and change nothing
    #[arg(long)]
    preview: bool,
    /// Print one line of JSON: an object of the reviews as `data`, as they are now
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    let code = match command {
        Command::List { all, merchant, customer, before, page, json } => {
            let status = (!all).then(|| ReviewStatus::Open.as_str().to_owned());
            let filter =
                Filter { status, merchant, customer_id: customer, after: before, limit: page.asked() };
            list(&pool, &filter, page, json).await?;
            ExitCode::SUCCESS
        }
        Command::Approve(asked) => decide_all(&pool, Verdict::Approved, asked).await?,
        Command::Deny(asked) => decide_all(&pool, Verdict::Denied, asked).await?,
    };
    pool.close().await;
    Ok(code)
}

async fn list(pool: &PgPool, filter: &Filter, page: Page, json: bool) -> Result<()> {
    let found = page.of(reviews::list(pool, filter).await?);
    if json {
        return found.json(json::review);
    }
    let is_narrowed = filter.merchant.is_some() || filter.customer_id.is_some() || filter.after.is_some();
    let empty = pages::nothing("review", filter.status.is_some(), is_narrowed);
    let next = |it: &Review| format!("--before {}", PaymentId::from(it.payment_id));
    found.print(HEADINGS, row, (&empty, next))
}

const HEADINGS: &[&str] = &["PAYMENT", "AMOUNT", "CUSTOMER", "SCORE", "STATUS", "UNTIL", "DECIDED BY"];

fn row(it: &Review) -> Vec<String> {
    vec![
        PaymentId::from(it.payment_id).to_string(),
        format!("{} {}", it.amount, it.currency),
        it.customer_id.clone(),
        it.risk["score"].to_string(),
        it.status.clone(),
        it.expires_at.format("%Y-%m-%d %H:%M").to_string(),
        it.decided_by.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// Decides about each payment by itself, and tells how each stands then.
async fn decide_all(pool: &PgPool, verdict: Verdict, asked: Asked) -> Result<ExitCode> {
    let Asked { payments, note, by, preview, json } = asked;
    let note = note
        .map(|note| {
            text::lines(&note, NOTE_MAX).context("--note takes 1 to 1000 characters that can be seen")
        })
        .transpose()?;
    let by = by
        .or_else(|| config::optional("USER"))
        .filter(|by| !by.is_empty())
        .context("give --by: your name")?;
    let mut left = Vec::new();
    let mut shown = Vec::new();
    for payment in payments {
        if !preview {
            let decision =
                Decision { payment, verdict, by: by.clone(), credential: None, note: note.clone() };
            left.extend(why_not(decide(pool, &decision).await?).map(|why| format!("{payment}: {why}")));
        }
        match reviews::find(pool, payment).await? {
            Some(review) => shown.push(review),
            None if preview => left.push(format!("{payment}: {NO_SUCH}")),
            None => {}
        }
    }
    if json {
        let data: Vec<_> = shown.iter().map(json::review).collect();
        output::json(&serde_json::json!({ "data": data, "has_more": false }))?;
    } else if !shown.is_empty() {
        output::table(HEADINGS, &shown.iter().map(row).collect::<Vec<_>>())?;
    }
    if !left.is_empty() {
        bail!("not {verdict}: {}", left.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

const NO_SUCH: &str = "it never was in review; payonce reviews list --all shows those there are";

/// Why a payment is not decided as asked; none if it is.
const fn why_not(reviewed: Reviewed) -> Option<&'static str> {
    match reviewed {
        Reviewed::Done | Reviewed::Before => None,
        Reviewed::Otherwise => Some("it was decided otherwise before, or its time was over"),
        Reviewed::NoSuch | Reviewed::Early => Some(NO_SUCH),
        Reviewed::Forgotten => {
            Some("the past came back: approve it, which has the gateway asked before anything is charged")
        }
    }
}
