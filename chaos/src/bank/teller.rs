//! One request at a time, repeated under its key until there is an answer that decides it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::sleep;

/// The longest that a teller waits for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before a request is repeated, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A request that changes something.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    path: String,
    key: String,
    body: Value,
}

impl Asked {
    pub(super) fn new(path: &str, key: &str, body: Value) -> Self {
        Self { path: path.to_owned(), key: key.to_owned(), body }
    }

    /// The same under another key.
    pub(super) fn under(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POST {} {} under {}", self.path, self.body, self.key)
    }
}

/// A whole answer, but for what names the one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    /// A field that is a text. Empty where there is none.
    pub(super) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }

    /// The word for why it was refused.
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Whether it says nothing for good, so that the request is to be repeated.
    fn is_for_now(&self) -> bool {
        matches!(self.status, 429 | 500..=599) || self.code() == "idempotency_key_in_progress"
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

/// Clients of all APIs, each in its turn.
#[derive(Debug)]
pub(super) struct Teller {
    http: reqwest::Client,
    apis: Vec<String>,
    secret: String,
    next: AtomicUsize,
    repeated: AtomicU64,
    gave_up: AtomicBool,
}

impl Teller {
    pub(super) fn new(apis: Vec<String>, secret: String) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let (next, repeated) = (AtomicUsize::new(0), AtomicU64::new(0));
        Ok(Self { http, apis, secret, next, repeated, gave_up: AtomicBool::new(false) })
    }

    /// Sends a request until its answer decides it. None if that was given up.
    pub(super) async fn insist(&self, asked: &Asked) -> Option<Answer> {
        let mut pause = PAUSE;
        while !self.gave_up() {
            let request = self.http.post(self.url(&asked.path)).header("idempotency-key", &asked.key);
            match self.exchange(request.json(&asked.body)).await {
                Some(answer) if !answer.is_for_now() => return Some(answer),
                Some(_) | None => _ = self.repeated.fetch_add(1, Ordering::Relaxed),
            }
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.5));
            sleep(jittered).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        None
    }

    /// Reads once. None if there was no 200.
    pub(super) async fn read(&self, path: &str) -> Option<Value> {
        let answer = self.exchange(self.http.get(self.url(path))).await?;
        (answer.status == 200).then_some(answer.body)
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let response = request.header("x-api-key", &self.secret).send().await.ok()?;
        let status = response.status().as_u16();
        let mut body: Value = response.json().await.ok()?;
        if let Some(fields) = body.as_object_mut() {
            fields.remove("request_id");
        }
        Some(Answer { status, body })
    }

    fn url(&self, path: &str) -> String {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}{path}", self.apis[turn % self.apis.len()])
    }

    pub(super) fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// How often a request had to be repeated.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }
}
