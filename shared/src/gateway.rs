//! The one wing that calls a payment gateway.
//!
//! It may use `platform` and `database`. It knows nothing of how a payment is claimed or settled: it gets an
//! order, and tells what came back.
//!
//! Invariants: one request is one HTTP exchange, never resent and never redirected by the client beneath.
//! Every attempt for a payment carries the same key, which was fixed with the payment. This wing says whether
//! bytes may have left us and what came back. [`domain::outcome`] says what that means.

use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::ids::{GatewayKey, PaymentId};
use domain::money::Money;
use domain::outcome::{Exchange, LEFT, Silence};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::database::Standing;
use crate::platform::config::InvalidSetting;
use crate::platform::fault;
use crate::point;

pub mod books;
pub mod door;
pub mod outage;
mod retry_after;

/// No answer of a gateway is longer; a longer one is garbage.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A gateway, and how to reach it. Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    timeout: Duration,
}

/// A charge, as it is ordered.
#[derive(Debug, Clone, Copy)]
pub struct ChargeOrder<'a> {
    /// The key of the payment: the same for every attempt.
    pub key: &'a GatewayKey,
    /// The amount to charge, and its currency.
    pub money: Money,
    /// The token of the payment method to charge.
    pub payment_method: &'a str,
    /// The payment's id, which the gateway's own books show beside the charge.
    pub reference: PaymentId,
    /// The id that follows the payment through the logs of both sides.
    pub correlation_id: &'a str,
}

/// The result of one call.
#[derive(Debug, Clone)]
pub struct Told {
    /// What came back, for the classification.
    pub exchange: Exchange,
    /// What of it is kept in the payment's history.
    pub evidence: Value,
    /// How long the call took.
    pub duration: Duration,
}

/// Until when a request may be sent: up to a moment, and while the server that has its claim still takes
/// writes.
#[derive(Debug, Clone)]
pub struct SendBy {
    at: Instant,
    standing: Standing,
}

impl SendBy {
    /// The limit for a request whose claim was made at that standing.
    #[must_use]
    pub const fn new(at: Instant, standing: Standing) -> Self {
        Self { at, standing }
    }

    /// Why the request may not be sent any more; none if it may.
    fn stands_against(&self) -> Option<&'static str> {
        if Instant::now() >= self.at {
            Some("too_late_to_send")
        } else if self.standing.holds() {
            None
        } else {
            Some("another_database")
        }
    }
}

impl From<Instant> for SendBy {
    /// The limit for a request that needs no claim.
    fn from(at: Instant) -> Self {
        Self::new(at, Standing::of_nothing())
    }
}

impl Gateway {
    /// A gateway at `url` (`http` or `https`). Each exchange with it may take `timeout` in all.
    ///
    /// # Errors
    /// The URL cannot be read, or is no `http` or `https` URL.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, InvalidSetting> {
        let invalid = |why: &dyn std::fmt::Display| InvalidSetting::new("GATEWAY_URL", why);
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|e| invalid(&e))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid(&format_args!("{url:?} is no http or https URL")));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout / 2));
        let tls = HttpsConnectorBuilder::new().with_native_roots().unwrap_or_else(|why| {
            tracing::debug!(%why, "no root certificates on this machine; trusting the ones built in");
            HttpsConnectorBuilder::new().with_webpki_roots()
        });
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Self { client, base, timeout })
    }

    /// Sends a charge under the payment's key.
    pub async fn charge(&self, order: &ChargeOrder<'_>, send_by: impl Into<SendBy>) -> Told {
        let key = charge_key(order.key);
        let body = json!({
            "amount": order.money.to_string(),
            "currency": order.money.currency().code(),
            "payment_method": order.payment_method,
            "reference": order.reference,
        });
        self.call(&CHARGE, post("/charges", key.as_str(), &body), order.correlation_id, send_by.into()).await
    }

    /// Asks which charges were made under the payment's key.
    pub async fn look_up(&self, key: &GatewayKey, correlation_id: &str, send_by: impl Into<SendBy>) -> Told {
        let request = Request::builder().method(Method::GET).uri(format!("/charges?key={key}"));
        self.call(&LOOKUP, (request, Full::default()), correlation_id, send_by.into()).await
    }

    /// Undoes all that was charged under the payment's key, and closes the key.
    pub async fn void(&self, key: &GatewayKey, correlation_id: &str, send_by: impl Into<SendBy>) -> Told {
        let request = post("/voids", &format!("{key}:void"), &json!({ "key": key.as_str() }));
        self.call(&VOID, request, correlation_id, send_by.into()).await
    }

    /// Makes one exchange, unless `send_by` has passed: by then the claim may be another worker's, or gone
    /// with its server.
    async fn call(&self, op: &Op, request: Unsent, correlation_id: &str, send_by: SendBy) -> Told {
        point!(op.before, return tell(op, Exchange::Unreachable(ARMED.to_owned()), Instant::now()));
        let started = Instant::now();
        if let Some(why) = send_by.stands_against() {
            return tell(op, Exchange::NotSent(why), started);
        }
        point!(op.sending, return tell(op, Exchange::Unanswered(Silence::Reset, ARMED.to_owned()), started));
        let exchange = match self.exchange(request, correlation_id).await {
            Ok(answered) => answered,
            Err(failed) => failed,
        };
        point!(op.answered, return tell(op, Exchange::Unanswered(Silence::Reset, ARMED.to_owned()), started));
        tell(op, exchange, started)
    }

    async fn exchange(&self, (request, body): Unsent, correlation_id: &str) -> Result<Exchange, Exchange> {
        let not_sent = |_| Exchange::NotSent("request_could_not_be_built");
        let mut request = request.body(body).map_err(not_sent)?;
        let uri = format!("{}{}", self.base, request.uri());
        *request.uri_mut() = uri.parse().map_err(|_| Exchange::NotSent("request_could_not_be_built"))?;
        if let Ok(id) = HeaderValue::from_str(correlation_id) {
            request.headers_mut().insert("x-correlation-id", id);
        }
        let whole = async {
            let response = self.client.request(request).await.map_err(|e| match e.is_connect() {
                true => Exchange::Unreachable(chain(&e)),
                false => Exchange::Unanswered(Silence::Reset, chain(&e)),
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|e| Exchange::Unanswered(Silence::Reset, chain(&*e)))?.to_bytes().to_vec();
            Ok(Exchange::Answered {
                status: head.status.as_u16(),
                is_json: is_json(&head.headers),
                body,
                retry_after: retry_after::read(&head.headers),
            })
        };
        tokio::time::timeout(self.timeout, whole).await.unwrap_or_else(|_| {
            Err(Exchange::Unanswered(Silence::Timeout, format!("no answer within {:?}", self.timeout)))
        })
    }
}

/// The cause of a call that a test armed to fail.
#[cfg(debug_assertions)]
const ARMED: &str = "armed fault";

/// A kind of call, and its fault points.
#[cfg_attr(not(debug_assertions), expect(dead_code, reason = "only a test build has fault points"))]
struct Op {
    name: &'static str,
    before: &'static str,
    sending: &'static str,
    answered: &'static str,
}

const CHARGE: Op =
    Op { name: "charge", before: "charge.before", sending: "charge.sending", answered: "charge.answered" };
const LOOKUP: Op =
    Op { name: "lookup", before: "lookup.before", sending: "lookup.sending", answered: "lookup.answered" };
const VOID: Op =
    Op { name: "void", before: "void.before", sending: "void.sending", answered: "void.answered" };

fn tell(op: &Op, exchange: Exchange, started: Instant) -> Told {
    let duration = started.elapsed();
    let latency_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut evidence = json!({ "op": op.name, "latency_ms": latency_ms });
    match &exchange {
        Exchange::Answered { status, body, .. } => {
            evidence["http_status"] = json!(status);
            evidence["answer"] = serde_json::from_slice(body).map_or(Value::Null, without_nul);
        }
        Exchange::Unreachable(why) => evidence["unreachable"] = json!(why),
        Exchange::Unanswered(_, why) => evidence["unanswered"] = json!(why),
        Exchange::NotSent(why) => evidence["not_sent"] = json!(why),
    }
    if exchange.left_nothing() {
        evidence[LEFT] = json!(false);
    }
    Told { exchange, evidence, duration }
}

type Unsent = (hyper::http::request::Builder, Full<Bytes>);

/// The key of all charges for a payment. Sabotage `new_key_per_attempt` makes one up for each.
fn charge_key(key: &GatewayKey) -> GatewayKey {
    match fault::sabotaged("new_key_per_attempt") {
        true => GatewayKey::of(None, PaymentId::generate()),
        false => key.clone(),
    }
}

/// A request with a key and a JSON body. Sabotage `no_gateway_key` sends no key.
fn post(path: &str, key: &str, body: &Value) -> Unsent {
    let mut request =
        Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, "application/json");
    if !fault::sabotaged("no_gateway_key") {
        request = request.header("idempotency-key", key);
    }
    (request, Full::from(body.to_string()))
}

/// Whether the content type says JSON (`application/json`, or a type that ends in `+json`).
fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media =
        media.and_then(|value| value.split(';').next()).map(|media| media.trim().to_ascii_lowercase());
    media.is_some_and(|media| media == "application/json" || media.ends_with("+json"))
}

/// The answer with U+0000 replaced, which Postgres does not store.
fn without_nul(answer: Value) -> Value {
    match answer {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name.replace('\0', "\u{fffd}"), without_nul(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => answer,
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
