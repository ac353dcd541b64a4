//! `Request-Id`, one for every answer, and `X-Correlation-Id`, which a client may send. The latter follows
//! its payment through job, worker, gateway and logs.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use shared::platform::listener::ClientAddress;
use tracing::{Instrument as _, field};
use uuid::Uuid;

use crate::measure::measure;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The id that ties together all that one request started.
#[derive(Debug, Clone)]
pub(crate) struct CorrelationId(pub(crate) String);

/// Gives every request its ids, and every answer its `Request-Id`. What is within is measured.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let request_id = format!("req_{}", Uuid::now_v7().as_simple());
    let brought = request.headers().get(CORRELATION_ID).and_then(|value| value.to_str().ok());
    let is_usable = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let correlation_id = brought.filter(is_usable).unwrap_or(&request_id).to_owned();
    // An error span, so that no log filter takes these ids from the lines within. The key's owner is filled
    // in once it is known.
    let client = ClientAddress::of(request.extensions());
    let span = tracing::error_span!("request", request_id, correlation_id, client, key = field::Empty);
    request.extensions_mut().insert(CorrelationId(correlation_id));
    let mut response = measure(request, next).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
