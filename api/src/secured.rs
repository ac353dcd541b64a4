//! The headers that keep a browser from doing with an answer what it is not meant for.

use axum::extract::Request;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

/// Half a year, in which a browser asks this host by nothing but TLS.
const ONLY_TLS: &str = "max-age=15768000";

/// The headers of answers that are data and no page. An answer that brings its own keeps it.
const DATA: [(HeaderName, &str); 3] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Marks every answer of the API as data.
pub(crate) async fn data<F: Future<Output = Response>>(
    request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let mut response = within(request).await;
    for (name, value) in DATA {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Has browsers come back by TLS alone, on a listener that speaks it.
pub(crate) async fn by_tls(mut response: Response) -> Response {
    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ONLY_TLS));
    response
}
