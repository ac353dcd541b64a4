//! How webhook endpoints look to clients.

use domain::ids::EndpointId;
use serde::Serialize;
use shared::platform::time::rfc3339;
use shared::publish::endpoints::{Endpoint, Try};

#[derive(Serialize)]
pub(crate) struct EndpointView<'a> {
    id: EndpointId,
    object: &'static str,
    url: &'a str,
    types: Vec<&'a str>,
    description: Option<&'a str>,
    status: &'a str,
    disabled_reason: Option<&'a str>,
    failing_since: Option<String>,
    pending: i64,
    given_up: i64,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct AttemptView<'a> {
    id: i64,
    object: &'static str,
    event: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    number: i32,
    at: String,
    took_ms: i32,
    http_status: Option<i32>,
    answer: Option<&'a str>,
    error: Option<&'a str>,
}

/// An endpoint as it stands.
pub(crate) fn endpoint(endpoint: &Endpoint) -> EndpointView<'_> {
    let types = endpoint.types.as_ref().map(|types| types.iter().map(String::as_str).collect());
    EndpointView {
        id: endpoint.id.into(),
        object: "webhook_endpoint",
        url: &endpoint.url,
        types: types.unwrap_or_else(|| vec!["*"]),
        description: endpoint.description.as_deref(),
        status: &endpoint.status,
        disabled_reason: endpoint.disabled_reason.as_deref(),
        failing_since: endpoint.failing_since.map(rfc3339),
        pending: endpoint.pending,
        given_up: endpoint.given_up,
        created_at: rfc3339(endpoint.created_at),
        secret: None,
    }
}

/// The same for whoever made it, with its secret.
pub(crate) fn made(endpoint: &Endpoint, secret: String) -> EndpointView<'_> {
    EndpointView { secret: Some(secret), ..self::endpoint(endpoint) }
}

/// One try of a delivery.
pub(crate) fn attempt(it: &Try) -> AttemptView<'_> {
    AttemptView {
        id: it.id,
        object: "webhook_attempt",
        event: &it.event,
        event_type: &it.event_type,
        number: it.number,
        at: rfc3339(it.at),
        took_ms: it.took_ms,
        http_status: it.http_status,
        answer: it.answer.as_deref(),
        error: it.error.as_deref(),
    }
}
