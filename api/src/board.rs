//! The operators' listener: the job board (apalis-board), whose base path `/` is compiled in, and the
//! operator's page below `/ops`. Both ask for HTTP Basic, with one's own name as user and one's admin key,
//! or operator's key, as password.
//!
//! The board is read-only: its one writing route would let anybody enqueue, so only reads pass.

use std::sync::Arc;

use apalis_board::axum::framework::{ApiBuilder, RegisterRoute};
use apalis_board::axum::sse::TracingBroadcaster;
use apalis_board::axum::ui::ServeUI;
use apalis_postgres::{Config, PostgresStorage};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::PgPool;

use crate::admin_key::operators::{Asked, Operators};
use crate::head::one_host;
use crate::operator::{self, Operator};
use crate::problem::Problem;

/// The most bytes of a page of the board that are read. The board is one short page.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The routes of the board and of the operator's page.
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
        .layer(from_fn(with_a_way_out))
        .layer(Extension(TracingBroadcaster::create()))
        .layer(from_fn(read_only))
        .layer(from_fn(fenced))
        .merge(operator::router(pool))
        .layer(from_fn_with_state(operators, admin_only))
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

/// Adds a link to the operator's page, for which the board has no place. The link is `external`, because the
/// board's router would otherwise take the click.
async fn with_a_way_out(request: Request, next: Next) -> Response {
    const LINK: &str = "<a href=\"/ops\" rel=\"external\" style=\"position:fixed;right:1rem;bottom:1rem;z-index:99;\
                        padding:.5rem .9rem;border-radius:6px;background:#17603f;color:#fff;font:600 14px system-ui\">\
                        Payments and breaks</a></body>";
    let response = next.run(request).await;
    let is_page = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
    if !response.headers().get(CONTENT_TYPE).is_some_and(is_page) {
        return response;
    }
    let (head, body) = response.into_parts();
    match axum::body::to_bytes(body, PAGE_BYTES_MAX).await {
        Ok(page) => {
            let page = String::from_utf8_lossy(&page).replace("</body>", LINK);
            Response::from_parts(head, Body::from(page))
        }
        Err(why) => {
            tracing::error!(%why, "the job board's page cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn admin_only(State(operators): State<Arc<Operators>>, mut request: Request, next: Next) -> Response {
    let Some((user, password)) = request.headers().get(AUTHORIZATION).and_then(basic_credentials) else {
        return refused(&Problem::Unauthorized);
    };
    let asked = Asked { method: request.method(), uri: request.uri(), extensions: request.extensions() };
    match operators.sign_in(&password, asked).await {
        Ok(credential) => {
            request.extensions_mut().insert(Operator::signed_in(user, &credential));
            next.run(request).await
        }
        Err(problem) => refused(&problem),
    }
}

/// A refusal as a browser takes it: for want of a key that is known it asks for another one.
fn refused(problem: &Problem) -> Response {
    let mut response = (problem.status(), format!("{problem}\n")).into_response();
    if let Some(seconds) = problem.retry_after_s() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *problem == Problem::Unauthorized {
        let ask = [(WWW_AUTHENTICATE, "Basic realm=\"Payonce\", charset=\"UTF-8\"")];
        response = (problem.status(), ask, "your own name as user, and your admin key as password\n")
            .into_response();
    }
    response
}

/// The user and the password of HTTP Basic credentials (RFC 7617).
fn basic_credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let colon = decoded.iter().position(|&b| b == b':')?;
    let user = String::from_utf8_lossy(&decoded[..colon]).into_owned();
    scheme.eq_ignore_ascii_case("basic").then(|| (user, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_of_basic_credentials_are_read() {
        let read = |text: &str| basic_credentials(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("Basic dXNlcjpzZWNyZXQ="), Some(("user".to_owned(), b"secret".to_vec())));
        assert_eq!(read("basic OmE6Yg=="), Some((String::new(), b"a:b".to_vec())));
        for other in ["Bearer dXNlcjpzZWNyZXQ=", "Basic", "Basic !!!", "Basic dXNlcg=="] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
