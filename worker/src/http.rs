//! What a worker shows of itself, on a listener of its own: `/metrics`, and whether it lives and works.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::database;
use shared::operations::gauges;
use shared::platform::listener::{self, Limits};
use shared::platform::metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Desks;

/// The most connections at a time, of whoever watches.
const CONNECTIONS: usize = 64;

/// What the answers are drawn from.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) desks: Desks,
    /// The longest time since the last sweep of a worker that counts as at work.
    pub(crate) sweep_patience: Duration,
    pub(crate) shutdown: CancellationToken,
}

/// Takes the address. Another program that has it is an error that says what to do.
pub(crate) async fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!(
            "METRICS_ADDR: cannot listen on {addr}; choose another address, or port 0 for a free one, \
             where several workers share a host"
        )
    })
}

/// Answers for as long as the future is polled. A worker works on where nobody can ask it.
pub(crate) async fn serve(listener: TcpListener, shown: Shown) {
    let router = Router::new()
        .route("/metrics", get(scrape))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(shown);
    listener::serve(listener, None, router, Limits::with(CONNECTIONS), CancellationToken::new()).await;
}

async fn scrape(State(shown): State<Shown>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], gauges::scrape(&shown.desks.pool).await)
}

/// Whether this process runs.
async fn live() -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

/// Whether this process does its work: no shutdown has begun, it swept a moment ago, and the database answers
/// and has the right schema.
async fn ready(State(shown): State<Shown>) -> (StatusCode, Json<Value>) {
    let not_ready = |detail: &str| {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not_ready", "detail": detail })))
    };
    if shown.shutdown.is_cancelled() {
        return not_ready("shutting down");
    }
    if shown.desks.swept_ago() > shown.sweep_patience {
        return not_ready("it has not swept for a while");
    }
    match database::not_ready(&shown.desks.pool).await {
        None => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Some(why) => not_ready(&why),
    }
}
