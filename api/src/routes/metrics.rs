//! `/metrics`, on a listener of its own or on that of the API.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use shared::operations::gauges;
use shared::platform::metrics;
use sqlx::PgPool;

/// The one path, for whoever may reach the listener.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(pool: PgPool) -> Router<S> {
    Router::new().route("/metrics", get(scrape)).with_state(pool)
}

async fn scrape(State(pool): State<PgPool>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], gauges::scrape(&pool).await)
}
