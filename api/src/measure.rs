//! Counts every request, and measures how long it took.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use shared::platform::metrics;

use crate::contract::operations;
use crate::prefer;

/// Shows the counts of requests from the start: of each operation that needs a key, by each status of it.
pub(crate) fn describe() {
    for operation in operations::all().filter(|operation| operation.path.starts_with("/v1/")) {
        let answers = operation.answers.iter().map(|answer| answer.status);
        let problems = operation.all_problems().into_iter().map(|code| code.status().as_u16());
        let statuses: Vec<u16> = answers.chain(problems).collect();
        metrics::describe_route(operation.verb.as_str(), operation.path, &statuses);
    }
}

/// Counts a request by its method and its route's template, because nothing that a client makes up may become
/// a label. A long poll is counted without its duration.
pub(crate) async fn measure<F: Future<Output = Response>>(
    request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let started = Instant::now();
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="))
        || prefer::wait(request.headers()).is_some();
    let response = within(request).await;
    let (status, duration) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(method, route, status, ?duration, "answered");
    metrics::http_answered(method, route, status, (!waits).then_some(duration));
    response
}

fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}
