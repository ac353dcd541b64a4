//! Answers to reads are compressed where the client asks for it.
//!
//! A compressed answer shows by its length how much of it repeats itself. That tells a listener something
//! only where one answer mixes a secret with a text that the listener chose. So only answers to reads are
//! compressed: they hold no key and no other secret, and no page elsewhere can have a browser ask for them.

use std::convert::Infallible;
use std::future::ready;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use shared::platform::listener::Holds;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;

/// The fewest bytes that are worth it: less fits into one packet anyhow.
const BYTES_MIN: u64 = 1400;

/// The codings that there are.
const CODINGS: [&str; 2] = ["br", "gzip"];

/// Compresses the answer to a read by a coding that the client takes.
pub(crate) async fn packed<F: Future<Output = Response>>(
    mut request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    if request.method() != Method::GET {
        return within(request).await;
    }
    only_what_there_is(request.headers_mut());
    let mut asked: Request = Request::default();
    if let Some(codings) = request.headers().get(ACCEPT_ENCODING) {
        asked.headers_mut().insert(ACCEPT_ENCODING, codings.clone());
    }
    let mut response = within(request).await;
    if let Some(bytes) = response.size_hint().exact() {
        response.extensions_mut().insert(Holds(bytes));
    }
    let inner = service_fn(move |_| ready(Ok::<_, Infallible>(std::mem::take(&mut response))));
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(Worth);
    // Boxed, since it is a large part of the future, and few requests need it.
    match Box::pin(layer.layer(inner).oneshot(asked)).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// Leaves of `Accept-Encoding` the codings that there are. Whoever takes none of them, be it not even plain
/// text, gets plain text (RFC 9110, section 12.5.3).
fn only_what_there_is(headers: &mut HeaderMap) {
    let all = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let known = |item: &&str| {
        let coding = item.split(';').next().unwrap_or_default().trim();
        CODINGS.iter().any(|known| coding.eq_ignore_ascii_case(known))
    };
    let left: Vec<&str> = all.flat_map(|value| value.split(',')).filter(known).collect();
    match HeaderValue::from_str(&left.join(",")) {
        Ok(left) if !left.is_empty() => headers.insert(ACCEPT_ENCODING, left),
        Ok(_) | Err(_) => headers.remove(ACCEPT_ENCODING),
    };
}

/// That an answer is a whole JSON document of some length.
#[derive(Debug, Clone, Copy)]
struct Worth;

impl Predicate for Worth {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response.headers().get(CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes() == b"application/json");
        response.status() == StatusCode::OK && is_json && response.body().size_hint().lower() >= BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_codings_that_a_client_takes_those_are_left_that_there_are() {
        for (sent, left) in [
            ("gzip", Some("gzip")),
            ("deflate, gzip;q=0.5, br", Some(" gzip;q=0.5, br")),
            ("GZIP", Some("GZIP")),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("zstd", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(sent));
            only_what_there_is(&mut headers);
            assert_eq!(headers.get(ACCEPT_ENCODING).map(|it| it.to_str().unwrap()), left, "{sent}");
        }
    }
}
