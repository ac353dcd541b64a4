//! The way in which these tests call the gateway, and the words in which they read its answers.
#![expect(clippy::expect_used, reason = "a caller that cannot go on fails the test that uses it")]

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::client::{Answer, answer};
use tests::{Launch, Process, TestDatabase, books, wait_until};

use crate::PROGRAM;

/// A delay that no test sees the end of, unless by [`Gateway::pass_time`].
pub(super) const HOUR_MS: u64 = 3_600_000;

/// A running gateway, and a client that uses a connection of its own for every call, so that a broken one
/// spoils no other.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) process: Process,
    pub(super) database: TestDatabase,
    http: reqwest::Client,
}

/// A charge call. A test sets only what it is about; the rest has a default.
#[derive(Debug, Clone)]
pub(super) struct ChargeCall {
    key: Option<String>,
    body: Value,
    correlation_id: Option<String>,
    patience: Option<Duration>,
}

/// The outcome of a call, which equals the words for it.
///
/// `201 succeeded 12.30`, `402 card_declined failed 12.30`, `200 [succeeded 12.30]`, `201 voided its charge`,
/// `201 voided nothing`, `409 voided`. Without an answer it is `reset`, `closed` or, where the caller gave
/// up, `silence`.
pub(super) struct Told {
    words: String,
    answer: Option<Answer>,
}

/// The launch of a gateway on this database, at any free port.
pub(super) fn a_gateway(database: &TestDatabase) -> Launch {
    Launch::simgateway(PROGRAM).env("GATEWAY_DATABASE_URL", &database.url).env("GATEWAY_ADDR", "127.0.0.1:0")
}

/// A charge of 12.30 EUR that will succeed.
pub(super) fn a_charge(key: &str) -> ChargeCall {
    ChargeCall {
        key: Some(key.to_owned()),
        body: json!({ "amount": "12.30", "currency": "EUR", "payment_method": "sim_ok", "reference": key }),
        correlation_id: None,
        patience: None,
    }
}

impl ChargeCall {
    /// The call with this token as payment method.
    pub(super) fn method(self, token: &str) -> Self {
        self.with("payment_method", json!(token))
    }

    /// The call for this amount.
    pub(super) fn amount(self, amount: &str) -> Self {
        self.with("amount", json!(amount))
    }

    /// The call with this field.
    pub(super) fn with(mut self, field: &str, value: Value) -> Self {
        self.body[field] = value;
        self
    }

    /// The call under this key, whatever the reference. None sends no key.
    pub(super) fn under(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned);
        self
    }

    /// The call with this correlation id.
    pub(super) fn correlated(mut self, id: &str) -> Self {
        self.correlation_id = Some(id.to_owned());
        self
    }

    /// The call by a caller that gives up after this time.
    pub(super) fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

impl Gateway {
    /// A gateway on empty books, with [`Gateway::faults`] of none.
    pub(super) async fn start() -> Self {
        let database = TestDatabase::fresh_empty().await;
        let process = a_gateway(&database).start().await;
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        let gateway = Self { process, database, http };
        gateway.faults(json!({})).await;
        gateway
    }

    /// Kills the process and starts another one on the same books.
    pub(super) async fn kill9_and_restart(&mut self) {
        self.process.kill9();
        self.process = a_gateway(&self.database).start().await;
        self.faults(json!({})).await;
    }

    /// Sets these faults. A fault that is not given is off. But a call without an answer ends at once, and an
    /// undecided charge stays so until [`Gateway::pass_time`].
    pub(super) async fn faults(&self, faults: Value) {
        let mut all = json!({ "timeout_delay_ms": 0, "async_delay_ms": HOUR_MS, "late_arrival_ms": HOUR_MS });
        for (name, value) in faults.as_object().expect("faults are an object") {
            all[name] = value.clone();
        }
        let told = self.call(self.request(Method::PUT, "/faults").json(&all)).await;
        assert!(told.is("200"), "{all}: {told:?}");
    }

    /// Moves every undecided charge to its time, and waits until it is decided.
    pub(super) async fn pass_time(&self) {
        sqlx::query(
            "update gateway_charges set decide_at = statement_timestamp() where decide_at is not null",
        )
        .execute(&self.database.pool)
        .await
        .expect("charges can be moved");
        wait_until("all charges to be decided", async || {
            self.count("select count(*) from gateway_charges where decide_at is not null").await == 0
        })
        .await;
    }

    /// Makes this charge call.
    pub(super) async fn charge(&self, charge: ChargeCall) -> Told {
        let mut request = self.request(Method::POST, "/charges").json(&charge.body);
        if let Some(key) = &charge.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(id) = &charge.correlation_id {
            request = request.header("x-correlation-id", id);
        }
        if let Some(patience) = charge.patience {
            request = request.timeout(patience);
        }
        self.call(request).await
    }

    /// Looks up the charges of a key.
    pub(super) async fn look_up(&self, key: &str) -> Told {
        self.call(self.request(Method::GET, &format!("/charges?key={key}"))).await
    }

    /// Voids a key, which closes it.
    pub(super) async fn void(&self, key: &str) -> Told {
        let request = self.request(Method::POST, "/voids").json(&json!({ "key": key }));
        self.call(request.header("idempotency-key", format!("{key}:void"))).await
    }

    /// A request of any kind, not sent yet.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base()))
    }

    /// Sends a request, and answers its outcome.
    pub(super) async fn call(&self, request: RequestBuilder) -> Told {
        Told::from(answer(request).await)
    }

    /// The URL where it listens.
    pub(super) fn base(&self) -> &str {
        self.process.address("gateway")
    }

    /// The whole journal, all pages.
    pub(super) async fn journal(&self) -> Vec<Value> {
        books::journal(self.base()).await
    }

    /// The journal's rows of a key, in words.
    pub(super) async fn journal_of(&self, key: &str) -> Vec<String> {
        self.journal().await.iter().filter(|row| row["key"] == key).map(books::in_words).collect()
    }

    /// The rows about money under a key: `charged 12.30`, `voided 12.30`.
    pub(super) async fn effects_of(&self, key: &str) -> Vec<String> {
        effects(self.journal().await.iter().filter(|row| row["key"] == key))
    }

    /// A number from its database, by this statement.
    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.pool).await.expect("a count")
    }
}

/// The effects on money in these rows.
pub(super) fn effects<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let effect = |row: &Value| {
        let verb = match row["kind"].as_str() {
            Some("charge") => "charged",
            Some("void") => "voided",
            _ => return None,
        };
        Some(format!("{verb} {}", row["amount"].as_str().unwrap_or("no amount")))
    };
    rows.into_iter().filter_map(effect).collect()
}

impl Told {
    /// Whether an answer came, and with this status.
    pub(super) fn is(&self, status: &str) -> bool {
        self.words.starts_with(status)
    }

    /// The words for the outcome.
    pub(super) fn words(&self) -> &str {
        &self.words
    }

    /// The answer, which must have come.
    #[track_caller]
    pub(super) fn answer(&self) -> &Answer {
        self.answer.as_ref().expect("an answer came")
    }

    /// The id in the answer.
    #[track_caller]
    pub(super) fn id(&self) -> String {
        self.answer().json()["id"].as_str().expect("the answer has an id").to_owned()
    }
}

impl From<reqwest::Result<Answer>> for Told {
    fn from(result: reqwest::Result<Answer>) -> Told {
        match result {
            Ok(answer) => Told { words: answer_in_words(&answer), answer: Some(answer) },
            Err(error) => Told { words: error_in_words(&error), answer: None },
        }
    }
}

impl PartialEq<&str> for Told {
    fn eq(&self, words: &&str) -> bool {
        self.words == *words
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

fn answer_in_words(answer: &Answer) -> String {
    let (status, body) = (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null));
    let charge = |charge: &Value| {
        Some(format!("{} {}", charge["status"].as_str()?, charge["amount"].as_str().unwrap_or("no amount")))
    };
    if body["voided"] == true {
        let what = if body["charge_id"].is_null() { "nothing" } else { "its charge" };
        return format!("{status} voided {what}");
    }
    if let Some(charges) = body["data"].as_array() {
        return format!("{status} [{}]", charges.iter().filter_map(charge).collect::<Vec<_>>().join(", "));
    }
    let code = body["code"].as_str().map(str::to_owned);
    let parts = [Some(status.to_string()), code, charge(&body), charge(&body["charge"])];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn error_in_words(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |&cause: &&(dyn Error + 'static)| cause.source());
    let is_reset = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
    };
    if error.is_timeout() {
        "silence".to_owned()
    } else if error.is_connect() {
        "unreachable".to_owned()
    } else if causes.clone().any(is_reset) {
        "reset".to_owned()
    } else if causes.any(|cause| cause.to_string().contains("closed before message completed")) {
        "closed".to_owned()
    } else {
        format!("{error:?}")
    }
}
