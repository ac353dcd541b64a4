//! The job board (apalis-board) on its own listener, because its base path is compiled in.
//!
//! Read-only: its one writing route would let anybody enqueue, so only reads pass; and behind HTTP Basic, any user, the
//! admin key as password.

use apalis_board::axum::framework::{ApiBuilder, RegisterRoute};
use apalis_board::axum::sse::TracingBroadcaster;
use apalis_board::axum::ui::ServeUI;
use apalis_postgres::{Config, PostgresStorage};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

type AdminKeyHash = [u8; 32];

/// The board's routes.
pub(crate) fn router(pool: &PgPool, admin_key: &str) -> Router {
    let storage = PostgresStorage::<serde_json::Value>::new(pool)
        .with_config(Config::default().queue(shared::queue::PAYMENTS));
    let api =
        RegisterRoute::<_, serde_json::Value>::register(ApiBuilder::new(Router::new()), "payments", storage);
    let admin_key_hash: AdminKeyHash = Sha256::digest(admin_key).into();
    Router::new()
        .nest("/api/v1", api.build())
        .fallback_service(ServeUI::new())
        .layer(Extension(TracingBroadcaster::create()))
        .layer(from_fn(read_only))
        .layer(from_fn_with_state(admin_key_hash, admin_only))
}

async fn read_only(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], "the job board is read-only\n").into_response()
}

async fn admin_only(State(admin_key_hash): State<AdminKeyHash>, request: Request, next: Next) -> Response {
    // Hashes are compared, so the time it takes says nothing about the key.
    let is_admin = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(basic_password)
        .is_some_and(|password| AdminKeyHash::from(Sha256::digest(password)) == admin_key_hash);
    if is_admin {
        return next.run(request).await;
    }
    let ask = [(WWW_AUTHENTICATE, "Basic realm=\"Payonce job board\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "any user name, and the admin key as password\n").into_response()
}

/// The password of HTTP Basic credentials (RFC 7617).
fn basic_password(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let colon = decoded.iter().position(|&b| b == b':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_basic_credentials_is_read() {
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        assert_eq!(basic_password(&header("Basic dXNlcjpzZWNyZXQ=")), Some(b"secret".to_vec()));
        assert_eq!(basic_password(&header("basic OmE6Yg==")), Some(b"a:b".to_vec()));
        for other in ["Bearer dXNlcjpzZWNyZXQ=", "Basic", "Basic !!!", "Basic dXNlcg=="] {
            assert_eq!(basic_password(&header(other)), None, "{other}");
        }
    }
}
