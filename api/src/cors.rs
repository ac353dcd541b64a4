//! Calls from pages of other origins, which a browser lets through only where we say so. Without
//! `CORS_ORIGINS` nothing is said, and no page elsewhere can read an answer.

use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, ORIGIN,
    RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what it may send.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The origins whose pages may call the API: a scheme, a host and, where it is not the usual one, a port.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

/// A text that is no list of origins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin; write for example https://shop.example,https://shop.example:8443")]
pub struct NoOrigin(String);

impl FromStr for Origins {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let origins = text.split(',').map(|item| {
            let item = item.trim();
            origin(item).ok_or_else(|| NoOrigin(item.to_owned()))
        });
        origins.collect::<Result<_, _>>().map(Self)
    }
}

/// The text as a browser sends it in `Origin`, if it is one: in lower case, and with nothing behind the port.
fn origin(text: &str) -> Option<HeaderValue> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let is_web = matches!(scheme, "http" | "https");
    let is_bare = format!("{scheme}://{authority}") == text && !authority.as_str().contains('@');
    let is_lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    (is_web && is_bare && is_lower).then(|| HeaderValue::from_str(text).ok()).flatten()
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// Tells browsers which origins may call, and answers what they ask beforehand: before any key, as they send
/// none with it. Any other `OPTIONS` is a request like all others.
pub(crate) async fn across<F: Future<Output = Response>>(
    origins: &Origins,
    request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let headers = request.headers();
    let is_preflight = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_options = request.method() == Method::OPTIONS;
    if origins.0.is_empty() || (is_options && !is_preflight) {
        return within(request).await;
    }
    let mut asked: Request = Request::default();
    *asked.headers_mut() = headers.clone();
    request.method().clone_into(asked.method_mut());
    // What a browser asks beforehand is answered by the layer alone.
    let mut response = if is_options { Response::default() } else { within(request).await };
    let inner = service_fn(move |_| ready(Ok::<_, Infallible>(std::mem::take(&mut response))));
    // Boxed, since it is a large part of the future, and few installations need it.
    match Box::pin(layer(origins.clone()).layer(inner).oneshot(asked)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn layer(origins: Origins) -> CorsLayer {
    let header = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.0))
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            header("idempotency-key"),
            header("prefer"),
            header("x-api-key"),
            header("x-correlation-id"),
        ])
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            header("idempotent-replayed"),
            header("preference-applied"),
            header("ratelimit"),
            header("ratelimit-policy"),
            header("request-id"),
            header("x-correlation-id"),
        ])
        .max_age(REMEMBERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_origins_is_read_and_anything_else_is_refused() {
        let read: Origins = "https://shop.example, http://localhost:5173".parse().unwrap();
        assert_eq!(read.0, ["https://shop.example", "http://localhost:5173"]);
        for wrong in [
            "*",
            "null",
            "shop.example",
            "https://shop.example/",
            "https://Shop.example",
            "https://a@shop.example",
            "ftp://shop.example",
            "https://shop.example,",
            "",
        ] {
            assert!(wrong.parse::<Origins>().is_err(), "{wrong}");
        }
    }
}
