//! One exchange over HTTP: what is called, and what came back, whatever either means.
//!
//! Invariant: one call is one HTTP exchange, never resent and never redirected by the client beneath. What
//! came back is told apart only by whether bytes may have left us, and an answer is at most as long as was
//! asked for.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use domain::outcome::{Failed, FailureKind, NotSent};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::retry_after;
use crate::platform::config::{self, InvalidSetting};
use crate::platform::telemetry::chain;

/// One call, as an adapter words it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// How.
    pub method: Method,
    /// What: path and query.
    pub path: String,
    /// The idempotency key that goes with it; none for what only reads.
    pub key: Option<String>,
    /// The body; none for what only reads.
    pub body: Option<Value>,
}

impl Call {
    /// A question, which changes nothing.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), key: None, body: None }
    }

    /// An order, which has one effect under its key.
    #[must_use]
    pub fn post(path: impl Into<String>, key: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), key: Some(key.into()), body: Some(body) }
    }
}

/// What came back over the wire from one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A whole HTTP answer.
    Answered(Answer),
    /// The connection could not be made (name, connect or TLS): no byte of the request left us.
    Unreachable(String),
    /// Something may have been sent and no whole answer came.
    Unanswered(Silence, String),
    /// We did not send it, knowingly.
    NotSent(NotSent),
}

/// A whole HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// Whether its content type is JSON.
    pub is_json: bool,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// How long the `Retry-After` header asks to wait, where it can be understood.
    pub retry_after: Option<Duration>,
}

/// How an answer failed to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Not within the time that we wait.
    Timeout,
    /// The connection broke.
    Reset,
}

impl Exchange {
    /// A whole answer in JSON.
    #[must_use]
    pub fn answered(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self::Answered(Answer { status, is_json: true, body, retry_after: None })
    }

    /// Whether nothing of the request can have reached anybody.
    #[must_use]
    pub const fn left_nothing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotSent(_) => true,
            Self::Answered(_) | Self::Unanswered(..) => false,
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// How none came.
    pub fn answer(&self) -> Result<&Answer, Failed> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::Unreachable(why) => Err(Failed::new(FailureKind::Unreachable, why)),
            Self::Unanswered(Silence::Timeout, why) => Err(Failed::new(FailureKind::Timeout, why)),
            Self::Unanswered(Silence::Reset, why) => Err(Failed::new(FailureKind::Reset, why)),
            Self::NotSent(why) => Err(Failed::new(FailureKind::NotSent, why.as_str())),
        }
    }
}

/// A gateway's key for us. Its words stay out of logs.
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// From the environment: `GATEWAY_API_KEY`, or the file that `GATEWAY_API_KEY_FILE` names; none where
    /// neither is set.
    ///
    /// # Errors
    /// See [`config::secret`] and [`ApiKey::new`].
    pub fn from_env() -> Result<Option<Self>, InvalidSetting> {
        let key = config::secret("GATEWAY_API_KEY", "GATEWAY_API_KEY_FILE")?;
        key.map(|key| Self::new(&key)).transpose()
    }

    /// The key as it was given to us, sent as `Authorization: Bearer …`.
    ///
    /// # Errors
    /// It has characters that no header may have.
    pub fn new(key: &str) -> Result<Self, InvalidSetting> {
        let invalid = |_| InvalidSetting::new("GATEWAY_API_KEY", "has characters that no header may have");
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(invalid)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The way to one gateway. Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    key: Option<ApiKey>,
}

/// How much one exchange may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all.
    pub(super) time: Duration,
    /// A longer answer is garbage.
    pub(super) answer_bytes: usize,
}

impl Wire {
    pub(super) fn new(url: &str, key: Option<ApiKey>, connect: Duration) -> Result<Self, InvalidSetting> {
        let invalid = |why: &dyn fmt::Display| InvalidSetting::new("GATEWAY_URL", why);
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|e| invalid(&e))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid(&format_args!("{url:?} is no http or https URL")));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        let tls = HttpsConnectorBuilder::new().with_native_roots().unwrap_or_else(|why| {
            tracing::debug!(%why, "no root certificates on this machine; trusting the ones built in");
            HttpsConnectorBuilder::new().with_webpki_roots()
        });
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Self { client, base, key })
    }

    /// One exchange.
    pub(super) async fn exchange(&self, call: Call, correlation_id: &str, limits: Limits) -> Exchange {
        let request = match self.request(call, correlation_id) {
            Ok(request) => request,
            Err(_) => return Exchange::NotSent(NotSent::NotBuilt),
        };
        let whole = self.answer(request, limits.answer_bytes);
        match tokio::time::timeout(limits.time, whole).await {
            Ok(Ok(answer)) => Exchange::Answered(answer),
            Ok(Err(failed)) => failed,
            Err(_) => Exchange::Unanswered(Silence::Timeout, format!("no answer within {:?}", limits.time)),
        }
    }

    fn request(&self, call: Call, correlation_id: &str) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let uri = format!("{}{}", self.base, call.path);
        let has_body = call.body.is_some();
        let body = call.body.map_or_else(Full::default, |body| Full::from(body.to_string()));
        let mut request = Request::builder().method(call.method).uri(uri).body(body)?;
        let headers = request.headers_mut();
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(key) = call.key {
            headers.insert("idempotency-key", HeaderValue::from_str(&key)?);
        }
        if let Some(ApiKey(key)) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        // One that cannot be a header is missed by whoever reads the gateway's log, and by nobody else.
        if let Ok(id) = HeaderValue::from_str(correlation_id)
            && !correlation_id.is_empty()
        {
            headers.insert("x-correlation-id", id);
        }
        Ok(request)
    }

    async fn answer(&self, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Answer, Exchange> {
        let response = self.client.request(request).await.map_err(|e| match e.is_connect() {
            true => Exchange::Unreachable(chain(&e)),
            false => Exchange::Unanswered(Silence::Reset, chain(&e)),
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|e| Exchange::Unanswered(Silence::Reset, chain(&*e)))?;
        Ok(Answer {
            status: head.status.as_u16(),
            is_json: is_json(&head.headers),
            body: body.to_bytes().to_vec(),
            retry_after: retry_after::read(&head.headers),
        })
    }
}

/// Whether the content type says JSON (`application/json`, or a type that ends in `+json`).
fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media =
        media.and_then(|value| value.split(';').next()).map(|media| media.trim().to_ascii_lowercase());
    media.is_some_and(|media| media == "application/json" || media.ends_with("+json"))
}
