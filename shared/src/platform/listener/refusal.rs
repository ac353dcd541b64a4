//! What the listener itself answers, before or in place of the service: problem documents, as the service has
//! them.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::body::{Ending, Sent};

/// A refusal, and what the client is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
    /// Whether the same request may succeed a moment later.
    is_retryable: bool,
}

/// There is no room for the connection.
pub(super) const NO_ROOM: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "too_many_connections",
    detail: "too many connections are open; try again later",
    is_retryable: true,
};

/// There is no room for one more request of HTTP/2.
pub(super) const NO_STREAM: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "too_many_connections",
    detail: "too many requests are under way; try again later",
    is_retryable: true,
};

/// A request has too many headers, or a connection too many bytes of them.
pub(super) const HEADS: Refusal = Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    code: "headers_too_large",
    detail: "send at most 100 headers and 32 kB of them, and fewer such requests at a time on one connection",
    is_retryable: false,
};

/// Somebody speaks plain HTTP where TLS is spoken.
pub(super) const NO_TLS: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "tls_required",
    detail: "this port speaks TLS: use https://, and replace any key that was sent in the clear",
    is_retryable: false,
};

impl Refusal {
    fn body(&self) -> String {
        let Self { status, code, detail, is_retryable } = self;
        let title = status.canonical_reason().unwrap_or_default();
        serde_json::json!({
            "type": format!("/problems/{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
            "retryable": is_retryable,
        })
        .to_string()
    }
}

/// The refusal as the answer to a request.
pub(super) fn answer<B: Body<Data = Bytes> + Unpin>(refusal: &Refusal, ending: Ending) -> Response<Sent<B>> {
    let mut response = Response::new(Sent::refusal(refusal.body().into(), ending));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if refusal.is_retryable {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Tells the refusal to a client that may not be listening, in place of reading its request. Where it would
/// not understand, as before a handshake, the connection only ends.
pub(super) async fn turn_away(mut stream: TcpStream, time: Duration, refusal: Refusal, is_silent: bool) {
    if is_silent {
        return;
    }
    let (status, body) = (refusal.status, refusal.body());
    let retry = if refusal.is_retryable { "retry-after: 1\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n{retry}connection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(time, said).await;
}
