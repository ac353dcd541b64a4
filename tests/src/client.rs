//! A client of the API, as a merchant would write one.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::ids::PaymentId;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::contract;

/// A payment to post. A test sets only what it is about; the rest has a default.
#[derive(Debug, Clone)]
pub struct Request {
    /// The idempotency key. None: no key is sent.
    pub key: Option<String>,
    /// The body, as JSON.
    pub body: Value,
    /// Headers beyond those of every request.
    pub headers: Vec<(&'static str, String)>,
}

/// A payment of 12.30 EUR that will succeed, under a key of its own.
#[must_use]
pub fn a_payment() -> Request {
    Request {
        key: Some(uuid::Uuid::now_v7().to_string()),
        body: json!({
            "amount": "12.30", "currency": "EUR", "customer_id": "customer-1", "payment_method": "sim_ok",
        }),
        headers: Vec::new(),
    }
}

impl Request {
    /// The request with this idempotency key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The request without an idempotency key.
    #[must_use]
    pub fn without_key(mut self) -> Self {
        self.key = None;
        self
    }

    /// The request for this amount.
    #[must_use]
    pub fn amount(self, amount: &str) -> Self {
        self.with("amount", json!(amount))
    }

    /// The request with this token as payment method.
    #[must_use]
    pub fn method(self, token: &str) -> Self {
        self.with("payment_method", json!(token))
    }

    /// The request of this customer.
    #[must_use]
    pub fn customer(self, id: &str) -> Self {
        self.with("customer_id", json!(id))
    }

    /// The request with this field of the body.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.body[field] = value;
        self
    }

    /// The request with this header more.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The exact bytes of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header, empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The payment's id, after asserting that the request was accepted.
    #[track_caller]
    #[must_use]
    pub fn payment_id(&self) -> PaymentId {
        self.assert_status(202);
        let body = self.json();
        body["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {body}"))
    }

    /// Asserts this status, and shows the body where it differs.
    #[track_caller]
    pub fn assert_status(&self, status: u16) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
    }

    /// The problem that it tells, but for the id of the one request that it answers.
    #[must_use]
    pub fn problem(&self) -> Value {
        let mut problem = self.json();
        problem.as_object_mut().map(|told| told.remove("request_id"));
        problem
    }

    /// Asserts that it is a problem document with this status and code, and answers it.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        self.assert_status(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(!self.header("request-id").is_empty(), "no Request-Id");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], self.header("request-id"), "{problem}");
        assert!(problem["retryable"].is_boolean(), "{problem}");
        problem
    }
}

/// A merchant's client, which spreads its requests over the APIs that it knows.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    bases: Vec<String>,
    next: AtomicUsize,
    secret: String,
}

impl Client {
    /// A client of these APIs with this API key.
    #[must_use]
    pub fn new(bases: Vec<String>, secret: String) -> Self {
        Self { http: reqwest::Client::new(), bases, next: AtomicUsize::new(0), secret }
    }

    /// Adds an API to those that it knows.
    pub fn add_base(&mut self, base: &str) {
        self.bases.push(base.to_owned());
    }

    /// A client of the same APIs with another key.
    #[must_use]
    pub fn with_secret(&self, secret: String) -> Self {
        Self::new(self.bases.clone(), secret)
    }

    /// Posts a payment, where the connection may break.
    ///
    /// # Errors
    /// No whole answer came.
    pub async fn try_pay(&self, request: Request) -> reqwest::Result<Answer> {
        let mut post = self.http.post(self.url("/v1/payments")).header("x-api-key", &self.secret);
        if let Some(key) = &request.key {
            post = post.header("idempotency-key", key);
        }
        for (name, value) in &request.headers {
            post = post.header(*name, value);
        }
        answer(post.json(&request.body)).await
    }

    /// Posts a payment, and expects a whole answer.
    pub async fn pay(&self, request: Request) -> Answer {
        self.try_pay(request).await.expect("the API answers")
    }

    /// Posts a payment whose body is exactly these bytes.
    pub async fn pay_text(&self, key: &str, body: impl Into<Vec<u8>>) -> Answer {
        let post = self.request(reqwest::Method::POST, "/v1/payments").header("idempotency-key", key);
        send(post.header("content-type", "application/json").body(body.into())).await
    }

    /// Reads a path with the API key.
    pub async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(self.url(path)).header("x-api-key", &self.secret))
            .await
            .expect("the API answers")
    }

    /// A payment as it stands now.
    pub async fn payment(&self, id: PaymentId) -> Value {
        let answer = self.get(&format!("/v1/payments/{id}")).await;
        answer.assert_status(200);
        answer.json()
    }

    /// A request of any method with the API key, not sent yet.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).header("x-api-key", &self.secret)
    }

    /// The URL of a path at one of the APIs, each in turn.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.bases.len();
        format!("{}{path}", self.bases[turn])
    }

    /// The API key of its merchant.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

/// Sends a request that must get a whole answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    answer(request).await.expect("the API answers")
}

/// Sends a request and reads its whole answer, which must be one of the API's contract.
///
/// # Errors
/// No whole answer came.
pub async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let (client, request) = request.build_split();
    let request = request?;
    let (method, path) = (request.method().to_string(), request.url().path().to_owned());
    let response = client.execute(request).await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let answer = Answer { status, headers, body: response.bytes().await?.to_vec() };
    contract::check(&method, &path, &answer);
    Ok(answer)
}
