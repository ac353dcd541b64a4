//! Counts every request, and measures how long it took.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use shared::platform::metrics;

/// The requests whose counts stand at zero from the start: those that alerts and boards watch, with the
/// status that each answers where all is well.
const WATCHED: [(&str, &str, u16); 4] = [
    ("POST", "/v1/payments", 202),
    ("GET", "/v1/payments", 200),
    ("GET", "/v1/payments/{id}", 200),
    ("GET", "/v1/payments/{id}/events", 200),
];

/// The statuses that any of them may have: whoever looks for failures sees the first one.
const ANY: [u16; 8] = [400, 401, 404, 409, 422, 429, 500, 503];

/// Shows the counts of requests from the start.
pub(crate) fn describe() {
    for (method, route, well) in WATCHED {
        metrics::describe_route(method, route, &[&[well], &ANY[..]].concat());
    }
}

/// Counts a request by its method and its route's template, because nothing that a client makes up may become
/// a label. A long poll is counted without its duration.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="));
    let response = next.run(request).await;
    let (status, duration) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(method, route, status, ?duration, "answered");
    metrics::http_answered(method, route, status, (!waits).then_some(duration));
    response
}

fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}
