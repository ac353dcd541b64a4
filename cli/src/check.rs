//! `payonce check`: tries a running system from outside, as a merchant's program would use it. It moves real
//! payments, so it is for systems at a simulated gateway.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};
use terminal::{output, progress};

use crate::load::merchants_key;

const PATIENCE: Duration = Duration::from_secs(30);

/// Try a running system from outside
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Send requests with one key at once, again, changed, and by another customer, and check each answer
    ///
    /// It makes two payments of a customer that nobody else has. Use it where the gateway is simulated.
    #[command(after_help = "\
Example:
  PAYONCE_API_KEY=payonce_sk_… payonce check idempotency --base-url http://127.0.0.1:8080
  payonce check idempotency --concurrency 200 --api-key-file key.txt --json

The key is PAYONCE_API_KEY, if no argument gives it.

Exit codes: 0 one key is one payment, 1 it is not, or an answer is another one than promised, 2 called wrongly.")]
    Idempotency(Args),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many requests to send at once with the same key
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    concurrency: u32,
    /// Address of the API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    base_url: String,
    /// A merchant's key, as `payonce dev` and `payonce keys create` print it
    ///
    /// The list of processes shows it to everybody on the machine: prefer `PAYONCE_API_KEY` or a file.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A file that holds the key; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    api_key_file: Option<String>,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let Command::Idempotency(args) = command;
    let key = match merchants_key(args.api_key.as_deref(), args.api_key_file.as_deref()) {
        Ok(key) => key,
        Err(why) => {
            progress::say(&format!("error: {why:#}"));
            return Ok(ExitCode::from(output::EXIT_USAGE));
        }
    };
    let client = Client::new(&args, &key)?;
    let checking =
        progress::during("checking the promises of an idempotency key", check(&client, args.concurrency));
    let checks = checking.await?;
    let holds = checks.iter().all(|check| check.holds);
    if args.json {
        output::json(&json!({ "holds": holds, "checks": checks }))?;
    } else {
        let row = |check: &Check| {
            let word = if check.holds { "holds" } else { "VIOLATED" };
            vec![check.promise.to_owned(), word.to_owned(), check.seen.clone()]
        };
        output::table(&["PROMISE", "", "SEEN"], &checks.iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A promise, and whether it was kept.
#[derive(Debug, Serialize)]
struct Check {
    promise: &'static str,
    holds: bool,
    seen: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
    is_replay: bool,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    fn payment(&self) -> Option<String> {
        (self.status == 202).then(|| self.json()["id"].as_str().map(str::to_owned)).flatten()
    }

    fn in_words(&self) -> String {
        format!("{} {}", self.status, self.json()["code"].as_str().unwrap_or_default()).trim().to_owned()
    }
}

struct Client {
    http: reqwest::Client,
    url: String,
    customer: String,
}

impl Client {
    fn new(args: &Args, key: &str) -> Result<Self> {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_str(key).context("the API key holds characters that no key has")?;
        key.set_sensitive(true);
        headers.insert("x-api-key", key);
        let http =
            reqwest::Client::builder().default_headers(headers).timeout(PATIENCE).no_proxy().build()?;
        let url = format!("{}/v1/payments", args.base_url.trim_end_matches('/'));
        Ok(Self { http, url, customer: format!("check_{:016x}", rand::random::<u64>()) })
    }

    async fn post(&self, key: Option<&str>, amount: &str, customer: &str) -> Result<Answer> {
        let body = json!({ "amount": amount, "currency": "EUR", "customer_id": customer, "payment_method": "sim_ok" });
        let request =
            self.http.post(&self.url).header(CONTENT_TYPE, "application/json").body(body.to_string());
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        let answer = request.send().await.context("the API cannot be reached; payonce dev starts one")?;
        let status = answer.status().as_u16();
        let is_replay = answer.headers().get("idempotent-replayed").is_some_and(|it| it == "true");
        let body = answer.text().await.context("the API's answer cannot be read")?;
        ensure!(
            !matches!(status, 401 | 403),
            "the API does not take this key ({status}): payonce dev and payonce keys create print one"
        );
        Ok(Answer { status, body, is_replay })
    }

    /// The payments that the API lists of this customer.
    async fn listed(&self, customer: &str) -> Result<BTreeSet<String>> {
        let url = format!("{}?customer_id={customer}&limit=100", self.url);
        let answer = self.http.get(url).send().await.context("the API cannot be reached")?;
        let page: Value = answer.json().await.context("the API's list cannot be read")?;
        let ids = page["data"].as_array().into_iter().flatten().filter_map(|it| it["id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }
}

/// Tries each promise. Every answer is compared with the first.
async fn check(client: &Client, concurrency: u32) -> Result<Vec<Check>> {
    let customer = client.customer.as_str();
    let other = format!("{customer}_other");
    let at_once = join_all((0..concurrency).map(|_| client.post(Some(customer), "12.50", customer))).await;
    let at_once: Vec<Answer> = at_once.into_iter().collect::<Result<_>>()?;
    let again = client.post(Some(customer), "12.50", customer).await?;
    let written_otherwise = client.post(Some(customer), "12.5", customer).await?;
    let changed = client.post(Some(customer), "12.51", customer).await?;
    let without = client.post(None, "12.50", customer).await?;
    let of_another = client.post(Some(customer), "12.50", &other).await?;
    let listed = client.listed(customer).await?;

    let made: BTreeSet<String> = at_once.iter().filter_map(Answer::payment).collect();
    // Who was told to come back was told nothing else.
    let told: Vec<&Answer> = at_once.iter().filter(|answer| answer.status == 202).collect();
    let bodies: BTreeSet<&str> = told.iter().map(|answer| answer.body.as_str()).collect();
    let firsts = told.iter().filter(|answer| !answer.is_replay).count();
    let refused: BTreeSet<String> =
        at_once.iter().filter(|it| it.status != 202).map(Answer::in_words).collect();
    let is_same =
        |answer: &Answer| answer.status == 202 && bodies.contains(answer.body.as_str()) && answer.is_replay;
    let checks = [
        (
            "many at once with one key make one payment",
            made.len() == 1,
            format!("{} of {} told", made.len(), told.len()),
        ),
        ("all of them get the same bytes", bodies.len() == 1, format!("{} bodies", bodies.len())),
        ("one of them is the first", firsts == 1, format!("{firsts} firsts")),
        (
            "who does not is told to come back",
            refused
                .iter()
                .all(|it| it.starts_with("409 ") || it.starts_with("429 ") || it.starts_with("503 ")),
            if refused.is_empty() {
                "nobody".to_owned()
            } else {
                refused.into_iter().collect::<Vec<_>>().join(", ")
            },
        ),
        ("a repeat gets the same bytes", is_same(&again), again.in_words()),
        (
            "so does the same amount, written otherwise",
            is_same(&written_otherwise),
            written_otherwise.in_words(),
        ),
        (
            "another request with the key is refused",
            changed.in_words() == "422 idempotency_key_reused",
            changed.in_words(),
        ),
        (
            "a request without a key is refused",
            without.in_words() == "400 idempotency_key_missing",
            without.in_words(),
        ),
        (
            "another customer's same key is another payment",
            of_another.payment().is_some_and(|id| !made.contains(&id)),
            of_another.in_words(),
        ),
        ("one payment is listed", listed == made, format!("{} listed", listed.len())),
    ];
    Ok(checks.into_iter().map(|(promise, holds, seen)| Check { promise, holds, seen }).collect())
}
