//! The job board (apalis-board), on a listener of its own: its base path `/` is compiled in, and its scripts
//! are not ours. So nothing that it does in a browser comes from the origin of the operators' pages.
//!
//! It is read-only: its one writing route would let anybody enqueue, so only reads pass.

use std::sync::Arc;

use apalis_board::axum::framework::{ApiBuilder, RegisterRoute};
use apalis_board::axum::sse::TracingBroadcaster;
use apalis_board::axum::ui::ServeUI;
use apalis_postgres::{Config, PostgresStorage};
use axum::extract::Request;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use sqlx::PgPool;

use crate::admin_key::operators::Operators;
use crate::head::one_host;
use crate::sign_in;

/// The routes of the board.
pub(crate) fn router(pool: &PgPool, operators: Arc<Operators>) -> Router {
    let mut api = ApiBuilder::new(Router::new());
    for queue in [shared::queue::PAYMENTS, shared::queue::schedule::SCHEDULES] {
        let storage =
            PostgresStorage::<serde_json::Value>::new(pool).with_config(Config::default().queue(queue));
        api = RegisterRoute::<_, serde_json::Value>::register(api, queue, storage);
    }
    Router::new()
        .nest("/api/v1", api.build())
        .fallback_service(ServeUI::new())
        .layer(Extension(TracingBroadcaster::create()))
        .layer(from_fn(read_only))
        .layer(from_fn(fenced))
        .layer(from_fn_with_state(operators, sign_in::admin_only))
        .layer(from_fn(one_host))
}

/// The content security policy of the board: its own scripts, which are compiled in, and no other host.
const POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; \
                      style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'self'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What holds for all that the board answers: it is not stored, framed or taken for another type.
async fn fenced(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn read_only(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], "the job board is read-only\n").into_response()
}
