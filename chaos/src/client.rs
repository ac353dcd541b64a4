//! One exchange with an API at a time, as a merchant's program would have it. Each goes into the history.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use chrono::Utc;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use terminal::progress;

use super::history::{Exchange, History};
use super::order::Order;

/// The longest that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request in this many asks an API in chaos mode to fail after it has recorded the payment.
const SABOTAGE_EVERY: u32 = 10;

/// Clients of all APIs of a run.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    apis: Vec<Api>,
    next: AtomicUsize,
    /// The API key of each merchant.
    secrets: Vec<String>,
    history: Arc<History>,
    seed: u64,
    methods: &'static [&'static str],
    posted: AtomicU32,
}

#[derive(Debug)]
struct Api {
    url: String,
    under_way: AtomicU32,
}

/// What came back for a request.
#[derive(Debug)]
pub(super) enum Posted {
    /// 202, with the payment's id.
    Accepted(String),
    /// The client is to come back: 409, 429 or 5xx.
    Later,
    /// No whole answer came.
    Unanswered,
    /// A valid request was refused, which must not happen.
    Refused(String),
}

#[derive(Deserialize)]
struct Payment {
    id: String,
    status: String,
    held_reason: Option<String>,
    terminal_at: Option<String>,
}

impl Client {
    pub(super) fn new(
        apis: Vec<String>,
        secrets: Vec<String>,
        history: Arc<History>,
        (seed, methods): (u64, &'static [&'static str]),
    ) -> Result<Self> {
        let apis = apis.into_iter().map(|url| Api { url, under_way: AtomicU32::new(0) }).collect();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let (next, posted) = (AtomicUsize::new(0), AtomicU32::new(0));
        Ok(Self { http, apis, next, secrets, history, seed, methods, posted })
    }

    /// The order of that number.
    pub(super) fn order(&self, number: u64) -> Order {
        Order::number(number, self.seed, self.methods)
    }

    /// The history that exchanges go into.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// How many requests the API of that number has under way.
    pub(super) fn under_way(&self, api: usize) -> u32 {
        self.apis.get(api).map_or(0, |api| api.under_way.load(Ordering::Relaxed))
    }

    /// The APIs in turn, one with each call.
    fn api(&self) -> &Api {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.apis[turn % self.apis.len()]
    }

    fn secret(&self, shop: usize) -> &str {
        self.secrets.get(shop).map_or("", String::as_str)
    }

    /// Posts an order once.
    pub(super) async fn post(&self, order: &Order) -> Posted {
        let api = self.api();
        let mut request = self
            .http
            .post(format!("{}/v1/payments", api.url))
            .header("x-api-key", self.secret(order.shop))
            .header("idempotency-key", &order.key)
            .header(CONTENT_TYPE, "application/json")
            .body(order.body().to_string());
        if self.posted.fetch_add(1, Ordering::Relaxed).is_multiple_of(SABOTAGE_EVERY) {
            request = request.header("x-simulate-chaos", "true");
        }
        api.under_way.fetch_add(1, Ordering::Relaxed);
        let answer = whole(request).await;
        api.under_way.fetch_sub(1, Ordering::Relaxed);
        let payment = answer.as_ref().and_then(|(_, body)| serde_json::from_slice::<Payment>(body).ok());
        self.remember(order, answer.as_ref(), payment.as_ref());
        match (answer, payment) {
            (Some((200..=299, _)), Some(payment)) => Posted::Accepted(payment.id),
            (Some((409 | 429 | 500..=599, _)), _) => Posted::Later,
            (Some((status, body)), _) => {
                Posted::Refused(format!("{status} {}", String::from_utf8_lossy(&body)))
            }
            (None, _) => Posted::Unanswered,
        }
    }

    fn remember(&self, order: &Order, answer: Option<&(u16, Vec<u8>)>, payment: Option<&Payment>) {
        let exchange = Exchange {
            at: Utc::now(),
            customer_id: &order.customer_id,
            key: &order.key,
            amount: &order.amount,
            currency: order.currency,
            payment_method: order.payment_method,
            status: answer.map(|(status, _)| *status),
            payment_id: payment.map(|payment| payment.id.as_str()),
            body_sha256: answer.map(|(_, body)| hex::encode(Sha256::digest(body))),
        };
        if let Err(why) = self.history.add(&exchange) {
            progress::say(&format!("the history has a gap: {why:#}"));
        }
    }

    /// How a payment ended; none while it is under way. The API waits a second for the end, and `held` counts
    /// as one.
    pub(super) async fn ended(&self, payment: &str, shop: usize) -> Option<String> {
        let url = format!("{}/v1/payments/{payment}?wait=1", self.api().url);
        let (status, body) = whole(self.http.get(url).header("x-api-key", self.secret(shop))).await?;
        if status != 200 {
            return None;
        }
        let payment: Payment = serde_json::from_slice(&body).ok()?;
        if payment.held_reason.is_some() {
            return Some("held".to_owned());
        }
        payment.terminal_at.is_some().then_some(payment.status)
    }
}

/// Status and body, if all of it came. None where anything is missing.
async fn whole(request: reqwest::RequestBuilder) -> Option<(u16, Vec<u8>)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.bytes().await.ok()?.to_vec()))
}
