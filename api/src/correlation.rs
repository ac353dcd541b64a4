//! `Request-Id` and `X-Correlation-Id`, which every answer has. The latter is the client's, if it sends one,
//! and follows its payment through job, worker, gateway and logs.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use shared::platform::listener::ClientAddress;
use tracing::{Instrument as _, field};
use uuid::Uuid;

use crate::head::{self, CORRELATION_ID};
use crate::measure::measure;
use crate::problem::with_request_id;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The id that ties together all that one request started.
#[derive(Debug, Clone)]
pub(crate) struct CorrelationId(pub(crate) String);

/// Gives every request its ids, and every answer the ids of its request, be it a replay. What is within is
/// measured. A correlation id that is refused is not repeated.
pub(crate) async fn identify<F: Future<Output = Response>>(
    mut request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let request_id = format!("req_{}", Uuid::now_v7().as_simple());
    let brought = head::correlation_id(request.headers()).ok().flatten();
    let correlation_id = brought.unwrap_or(&request_id).to_owned();
    // An error span, so that no log filter takes these ids from the lines within. The key's owner is filled
    // in once it is known.
    let client = ClientAddress::of(request.extensions());
    let span = tracing::error_span!("request", request_id, correlation_id, client, key = field::Empty);
    let ids = [(REQUEST_ID, request_id), (CORRELATION_ID, correlation_id.clone())];
    request.extensions_mut().insert(CorrelationId(correlation_id));
    let response = measure(request, within).instrument(span).await;
    let mut response = with_request_id(response, &ids[0].1);
    for (name, id) in ids {
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
