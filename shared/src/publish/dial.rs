//! One delivery over the wire: the name is looked up once, every address is judged, one of them is dialled,
//! and one request is sent. No redirect is followed, and no proxy is asked.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::address::{Forbidden, Rules, Target};

/// The most of an answer that is read, in bytes.
const ANSWER_MAX: usize = 4096;

/// The most look-ups of names at a time. One that hangs keeps its thread, and other parts need some too.
const LOOK_UPS: usize = 16;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The id of the event.
    pub id: String,
    /// The seconds since 1970, which are signed.
    pub timestamp: i64,
    /// All signatures that are valid at the moment, with blanks between.
    pub signature: String,
    /// The event.
    pub body: String,
}

/// What came back of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// The status; none if no answer came.
    pub http_status: Option<u16>,
    /// The first 4 KiB of the answer.
    pub answer: String,
    /// What the receiver asks to wait.
    pub retry_after: Option<Duration>,
    /// Why no answer came.
    pub error: Option<String>,
}

/// What sends deliveries.
#[derive(Clone)]
pub struct Dialler {
    rules: Rules,
    timeout: Duration,
    tls: TlsConnector,
    look_ups: Arc<Semaphore>,
}

impl Came {
    fn failed(error: impl ToString) -> Self {
        Self { http_status: None, answer: String::new(), retry_after: None, error: Some(error.to_string()) }
    }

    /// Whether the receiver took it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.http_status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Dialler {
    /// With these rules, and this time for one delivery in all.
    #[must_use]
    pub fn new(rules: Rules, timeout: Duration) -> Self {
        let config = ClientConfig::builder();
        let config = match config.with_native_roots() {
            Ok(config) => config,
            Err(why) => {
                tracing::debug!(%why, "no root certificates on this machine; trusting the ones built in");
                ClientConfig::builder().with_webpki_roots()
            }
        };
        let tls = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        Self { rules, timeout, tls, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    /// Sends one delivery to this URL.
    pub async fn send(&self, url: &str, delivery: &Delivery) -> Came {
        let target = match self.rules.read(url) {
            Ok(target) => target,
            Err(why) => return Came::failed(why),
        };
        match tokio::time::timeout(self.timeout, self.exchange(&target, delivery)).await {
            Ok(Ok(came)) => came,
            Ok(Err(why)) => Came::failed(why),
            Err(_) => Came::failed(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn exchange(&self, target: &Target, delivery: &Delivery) -> Result<Came, String> {
        let address = self.resolve(target).await?;
        let tcp = TcpStream::connect(address).await.map_err(|why| format!("cannot connect: {why}"))?;
        if target.is_tls {
            let name = ServerName::try_from(target.host.clone()).map_err(|_| Forbidden::Url.to_string())?;
            let tls = self.tls.connect(name, tcp).await.map_err(|why| format!("TLS failed: {why}"))?;
            talk(tls, target, delivery).await
        } else {
            talk(tcp, target, delivery).await
        }
    }

    /// The address to dial. If one of a name's addresses is forbidden, all are: the next look-up may answer
    /// that one first.
    async fn resolve(&self, target: &Target) -> Result<SocketAddr, String> {
        let place = self.look_ups.clone().acquire_owned().await.map_err(|why| why.to_string())?;
        let named = (target.host.clone(), target.port);
        let found = tokio::task::spawn_blocking(move || {
            let found = named.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            drop(place);
            found
        });
        let found = found.await.map_err(|why| why.to_string())?;
        let found = found.map_err(|why| format!("cannot look up {}: {why}", target.host))?;
        for address in &found {
            self.rules.may_dial(address.ip()).map_err(|why| why.to_string())?;
        }
        found.first().copied().ok_or_else(|| format!("{} has no address", target.host))
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    delivery: &Delivery,
) -> Result<Came, String> {
    let broke = |why: hyper::Error| format!("the connection broke: {why}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request(target, delivery)?).await.map_err(broke)?;
    let (head, mut body) = response.into_parts();
    let mut read = Vec::new();
    while read.len() < ANSWER_MAX {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(broke)?.into_data() else { continue };
        read.extend_from_slice(data.get(..data.len().min(ANSWER_MAX - read.len())).unwrap_or_default());
    }
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()).and_then(retry_after);
    let answer = String::from_utf8_lossy(&read).replace('\0', "\u{fffd}");
    Ok(Came { http_status: Some(head.status.as_u16()), answer, retry_after, error: None })
}

fn request(target: &Target, delivery: &Delivery) -> Result<Request<Full<Bytes>>, String> {
    let wrong = |why: hyper::http::Error| why.to_string();
    let path = target.uri.path_and_query().map_or("/", |it| it.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", delivery.timestamp)
        .header("webhook-signature", &delivery.signature)
        .body(Full::from(delivery.body.clone()))
        .map_err(wrong)?;
    let host = target.uri.authority().map_or("", |it| it.as_str());
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|why| why.to_string())?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Payonce-Webhooks/1"));
    Ok(request)
}

/// The seconds of `Retry-After`, in either form, at most a day.
fn retry_after(value: &str) -> Option<Duration> {
    let seconds = value.trim().parse().map(Duration::from_secs);
    let until = || httpdate::parse_http_date(value).ok()?.duration_since(std::time::SystemTime::now()).ok();
    seconds.ok().or_else(until).map(|wait| wait.min(Duration::from_hours(24)))
}
