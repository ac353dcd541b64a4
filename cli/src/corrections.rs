//! `payonce corrections`: two people put right what the books have wrong about a payment that is over.
//!
//! It goes through the API. Only there it is known whose key an admin key is, and that two people are two.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use domain::correction::KINDS;
use domain::ids::PaymentId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::platform::config;
use terminal::{output, progress};

use crate::pages::{self, Before};

const TIMEOUT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(500);

/// The exit code where no worker has carried it out yet.
const NOT_YET: u8 = 3;

/// List, propose and approve corrections of payments that are over. Needs an admin key of your
/// own: `ADMIN_KEY`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    base_url: String,
    /// Print one line of JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List corrections, newest first: the open ones, or with --all the ended ones too
    #[command(after_help = "\
Example:
  payonce corrections list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// List ended ones too
        #[arg(long)]
        all: bool,
        /// Only corrections of this payment
        #[arg(long, value_name = "ID")]
        payment: Option<PaymentId>,
        /// How many to list, at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
        #[command(flatten)]
        before: Before,
    },
    /// Propose a correction, by what stands at the gateway after all; another person approves it
    ///
    /// Kinds: `charge_missing` (posted, never charged), `charge_refunded` (posted, given back),
    /// `amount_differs`, `charge_found` (ended without proof and without a charge, and one stands),
    /// `other_charge` (right amount, another charge).
    #[command(after_help = "\
Example:
  payonce corrections propose --payment pay_… --kind amount_differs --amount 49.00 --charge-id ch_1 --reason 'ticket 4711'
  payonce corrections propose --payment pay_… --kind charge_missing --amount 0 --reason 'no such charge, ticket 4712'

Exit codes: 0 proposed, also before; 1 not proposed, or failed; 2 called wrongly.")]
    Propose {
        /// The id of the payment
        #[arg(long, value_name = "ID")]
        payment: String,
        /// What is wrong with it
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(KINDS.iter().map(|(kind, _)| *kind)))]
        kind: String,
        /// What stands at the gateway, in the payment's currency: 0 if nothing does
        #[arg(long)]
        amount: String,
        /// The charge by which it stands
        #[arg(long)]
        charge_id: Option<String>,
        /// Where you saw it
        #[arg(long)]
        reason: String,
    },
    /// Approve what another person proposed; workers then compare it with the gateway, and post or refuse it
    #[command(after_help = "\
Example:
  payonce corrections approve 17

Exit codes: 0 approved and posted; 1 not approved, refused, or failed; 2 called wrongly; 3 approved, and not carried out yet.")]
    Approve {
        /// Its number, as `payonce corrections list` shows it
        id: i64,
        /// How long to wait for a worker to carry it out; it waits for the next copy of the gateway's journal
        #[arg(long, value_name = "SECONDS", default_value_t = 150)]
        wait: u64,
    },
    /// Take back a correction that has not ended
    #[command(after_help = "\
Example:
  payonce corrections withdraw 17 --reason 'the gateway refunded it after all'

Exit codes: 0 taken back, also before; 1 not taken back, or failed; 2 called wrongly.")]
    Withdraw {
        /// Its number, as `payonce corrections list` shows it
        id: i64,
        /// Why you take it back
        #[arg(long)]
        reason: String,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let key = config::optional("ADMIN_KEY").context("set ADMIN_KEY to your own admin key")?;
    let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let api = Api { http, base: args.base_url.trim_end_matches('/').to_owned(), key };
    let json = args.json;
    match args.command {
        Command::List { all, payment, limit, before } => {
            let payment = payment.map(|id| format!("&payment_id={id}")).unwrap_or_default();
            let before = before.before.map(|id| format!("&starting_after={id}")).unwrap_or_default();
            let is_narrowed = !(payment.is_empty() && before.is_empty());
            let query = format!("?limit={limit}&open={}{payment}{before}", !all);
            let found = api.ask(Method::GET, &query, None).await?;
            list(&found, json, &pages::nothing("correction", !all, is_narrowed))?;
        }
        Command::Propose { payment, kind, amount, charge_id, reason } => {
            let mut body = json!({ "payment_id": payment, "kind": kind, "amount": amount, "reason": reason });
            if let Some(charge_id) = charge_id {
                body["charge_id"] = json!(charge_id);
            }
            let proposed = api.ask(Method::POST, "", Some(body)).await?;
            let id = &proposed["id"];
            say(
                &proposed,
                json,
                &format!("proposed as {id}; somebody else approves it: payonce corrections approve {id}"),
            )?;
        }
        Command::Approve { id, wait } => return approve(&api, id, Duration::from_secs(wait), json).await,
        Command::Withdraw { id, reason } => {
            let path = format!("/{id}/withdraw");
            let withdrawn = api.ask(Method::POST, &path, Some(json!({ "reason": reason }))).await?;
            say(&withdrawn, json, &format!("{id} is taken back"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn approve(api: &Api, id: i64, wait: Duration, json: bool) -> Result<ExitCode> {
    let approved = api.ask(Method::POST, &format!("/{id}/approve"), None).await?;
    let carried_out = async {
        let until = Instant::now() + wait;
        let mut it = approved;
        while it["outcome"].is_null() && Instant::now() < until {
            tokio::time::sleep(GLANCE).await;
            it = api.ask(Method::GET, &format!("/{id}"), None).await?;
        }
        Ok::<_, anyhow::Error>(it)
    };
    let it = progress::during("waiting for a worker to compare it with the gateway", carried_out).await?;
    match it["outcome"].as_str() {
        Some("posted") => {
            let delta = it["delta"].as_str().unwrap_or_default();
            say(&it, json, &format!("{id} is posted: {delta}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => bail!("{id} is {other}: {}", it["refusal"].as_str().unwrap_or_default()),
        None => {
            say(
                &it,
                json,
                &format!("{id} is approved, and no worker has carried it out yet: payonce corrections list"),
            )?;
            Ok(ExitCode::from(NOT_YET))
        }
    }
}

fn list(page: &Value, json: bool, empty: &str) -> Result<()> {
    if json {
        return output::json(&json!({ "data": page["data"], "has_more": page["has_more"] }));
    }
    let found = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(last) = found.last() else { return output::line(empty) };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |it: &Value| {
        ["id", "kind", "payment_id", "amount", "state", "proposed_by", "approved_by"]
            .map(|field| if it[field].is_null() { "-".to_owned() } else { text(&it[field]) })
            .to_vec()
    };
    output::table(
        &["ID", "KIND", "PAYMENT", "STANDS", "STATE", "PROPOSED BY", "APPROVED BY"],
        &found.iter().map(row).collect::<Vec<_>>(),
    )?;
    if page["has_more"] == true {
        progress::say(&format!("there are more: add --before {} to see what comes next", last["id"]));
    }
    Ok(())
}

fn say(it: &Value, json: bool, words: &str) -> Result<()> {
    if json { output::json(it) } else { output::line(words) }
}

/// The corrections of an API.
struct Api {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Api {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}/v1/corrections{path}", self.base);
        let mut request = self.http.request(method, &url).header("x-api-key", &self.key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("cannot reach the API at {}: give --base-url", self.base))?;
        let status = answer.status();
        let text = answer.text().await?;
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(said);
        }
        let detail = said["detail"].as_str().unwrap_or("it is no API of Payonce");
        if status == StatusCode::UNAUTHORIZED {
            bail!("the API at {} does not know this admin key: set ADMIN_KEY to your own", self.base);
        }
        bail!("{detail}")
    }
}
