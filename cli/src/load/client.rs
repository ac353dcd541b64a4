//! The load test's requests to the API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Args, Statuses};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const PAGE: usize = 100;

/// A client for the payments of one run. They share a customer that no other run has.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    payments_url: String,
    customer: String,
    body: String,
}

/// The answer to one request.
#[derive(Debug)]
pub(super) enum Posted {
    /// The request was accepted, and made this payment.
    Accepted(String),
    /// The reason, short enough to be counted.
    Refused(String),
}

#[derive(Deserialize)]
struct Payment {
    id: String,
    status: String,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Payment>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Client {
    pub(super) fn new(args: &Args, key: &str) -> Result<Self> {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_str(key).context("the API key holds characters that no key has")?;
        key.set_sensitive(true);
        headers.insert("x-api-key", key);
        let concurrency = usize::try_from(args.concurrency)?;
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .pool_max_idle_per_host(concurrency)
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .build()?;
        let customer = format!("load_{:012x}", rand::random::<u64>() >> 16);
        let body = json!({
            "amount": "12.50",
            "currency": "EUR",
            "customer_id": customer,
            "payment_method": args.payment_method,
        });
        let payments_url = format!("{}/v1/payments", args.base_url.trim_end_matches('/'));
        Ok(Self { http, payments_url, customer, body: body.to_string() })
    }

    /// Fails early where nothing can work: there is no API, or it does not know this key.
    pub(super) async fn check(&self) -> Result<()> {
        self.list("limit=1")
            .await
            .map(drop)
            .context("check --base-url and the API key; payonce dev prints both")
    }

    /// Posts payment number `number` of this run.
    pub(super) async fn post(&self, number: u64) -> Posted {
        let request = self
            .http
            .post(&self.payments_url)
            .header("idempotency-key", format!("{}-{number}", self.customer))
            .header(CONTENT_TYPE, "application/json")
            .body(self.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => match answer.json::<Payment>().await {
                Ok(payment) => Posted::Accepted(payment.id),
                Err(error) => Posted::Refused(format!("unreadable answer: {}", innermost(&error))),
            },
            Ok(answer) => Posted::Refused(refusal(answer).await),
            Err(error) => Posted::Refused(innermost(&error)),
        }
    }

    /// Whether a payment of this run has that status.
    pub(super) async fn has_any(&self, status: &str) -> Result<bool> {
        let page = self.list(&format!("customer_id={}&status={status}&limit=1", self.customer)).await?;
        Ok(!page.data.is_empty())
    }

    /// Reads all payments of this run, and counts them by status.
    pub(super) async fn count_by_status(&self) -> Result<Statuses> {
        let mut counts = BTreeMap::new();
        let mut after = None;
        loop {
            let start = after.map_or_else(String::new, |id| format!("&starting_after={id}"));
            let page = self.list(&format!("customer_id={}&limit={PAGE}{start}", self.customer)).await?;
            after = page.data.last().map(|payment| payment.id.clone());
            for payment in page.data {
                *counts.entry(payment.status).or_default() += 1;
            }
            if !page.has_more || after.is_none() {
                return Ok(Statuses(counts));
            }
        }
    }

    async fn list(&self, query: &str) -> Result<Page> {
        self.get(&format!("{}?{query}", self.payments_url)).await
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let answer = self.http.get(url).send().await.context("the API cannot be reached")?;
        if !answer.status().is_success() {
            bail!("the API answered {} to GET {url}", refusal(answer).await);
        }
        answer.json().await.context("the API's answer cannot be read")
    }
}

async fn refusal(answer: reqwest::Response) -> String {
    let status = answer.status();
    match answer.json::<Problem>().await {
        Ok(problem) => format!("{} {}", status.as_u16(), problem.code),
        Err(_) => status.to_string(),
    }
}

/// The cause at the root, without the addresses and ports that differ from one request to the next.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
