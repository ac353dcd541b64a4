//! The operator's page: what is under way, what happened to each payment, and what a person may decide. It is
//! rendered here, whole, from templates that are compiled in. It needs no script and no other host.
//!
//! Invariant: it reads anything and writes only decisions, each under the name of the person who is signed
//! in. These are `transition::{ask, withdraw, release, close_break}`, corrections, and `dead_letter::close`.
//! The browser signs every request by itself, so a request that writes must also come from a page of ours.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Extension, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Form, Router};
use shared::payment::transition::Person;
use sqlx::PgPool;
use tokio::task::JoinError;

use crate::admin_key::Credential;
use crate::admin_key::operators::Operators;
use crate::head::one_host;
use crate::problem::Problem;
use crate::sign_in;

mod accounts;
mod breaks;
mod corrections;
mod dead_letters;
mod overview;
mod payment;
mod payments;
mod reviews;
mod show;
mod transfers;

/// The most bytes of a form, which has a few short fields.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The content security policy: nothing but our own style sheet, icon and forms, and no script at all.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The person who signed in.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// The credential's own name. Where it has none, the user name that was typed.
    name: String,
    /// The word that tells the credential from all others.
    credential: String,
    /// The person who alone has this key, if it has a name. What two people must do takes two of them.
    person: Option<Person>,
}

impl Operator {
    /// The person who typed that user name and this credential's key.
    pub(crate) fn signed_in(user: String, credential: &Credential) -> Self {
        let name = credential.name().map_or(user, str::to_owned);
        Self { name, credential: credential.id().to_owned(), person: credential.person() }
    }
}

/// The listener of the operators: the pages, and the way to them from `/`.
pub(crate) fn listener(pool: &PgPool, operators: Arc<Operators>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/ops")))
        .fallback(async || Failure::NotFound("page"))
        .layer(from_fn(guarded))
        .merge(router(pool))
        .layer(from_fn_with_state(operators, sign_in::admin_only))
        .layer(from_fn(one_host))
}

/// The pages, all below `/ops`. The caller makes sure that an [`Operator`] asks.
fn router(pool: &PgPool) -> Router {
    Router::new()
        .route("/ops", get(overview::page))
        .route("/ops/payments", get(payments::page))
        .route("/ops/payments/{id}", get(payment::page).post(payment::decide))
        .route("/ops/payments/{id}/corrections", post(corrections::propose))
        .route("/ops/accounts", get(accounts::page))
        .route("/ops/accounts/{id}", get(accounts::one))
        .route("/ops/transfers", get(transfers::page))
        .route("/ops/transfers/{id}", get(transfers::one))
        .route("/ops/corrections", get(corrections::page))
        .route("/ops/corrections/{id}", post(corrections::decide))
        .route("/ops/breaks", get(breaks::page))
        .route("/ops/breaks/{id}", post(breaks::close))
        .route("/ops/reviews", get(reviews::page))
        .route("/ops/reviews/{id}", post(reviews::act))
        .route("/ops/dead-letters", get(dead_letters::page))
        .route("/ops/dead-letters/{id}", post(dead_letters::close))
        .route("/ops/style.css", get(async || typed("text/css", include_str!("../templates/style.css"))))
        .route("/ops/icon.svg", get(async || typed("image/svg+xml", include_str!("../templates/icon.svg"))))
        .route("/ops/{*rest}", any(async || Failure::NotFound("page")))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guarded))
        .with_state(pool.clone())
}

fn typed(content_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

/// What holds for every page: no request from elsewhere writes, and no answer is stored, framed or extended.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = if request.method().is_safe() || is_from_here(request.headers()) {
        next.run(request).await
    } else {
        Failure::FromElsewhere.into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        // `no-referrer` would also make the `Origin` of our own forms `null`.
        (REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a page of ours sent the request, as the browser says; browsers let no page change these headers. A
/// request without them is not from here.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = text(ORIGIN.as_str()).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == text(HOST.as_str())
}

/// What is shown where a page cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    NotFound(&'static str),
    FromElsewhere,
    Nameless,
    Unreadable(String),
    Unavailable,
    Internal,
}

impl Failure {
    fn told(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, "Not found", format!("There is no such {what}.")),
            Self::FromElsewhere => (
                StatusCode::FORBIDDEN,
                "Not from here",
                "Nothing was done: the request did not come from a page of this one.".to_owned(),
            ),
            Self::Nameless => (
                StatusCode::FORBIDDEN,
                "Who are you?",
                "Nothing was done: a decision is recorded under a name. Sign in again with your own name as user."
                    .to_owned(),
            ),
            Self::Unreadable(why) => (StatusCode::BAD_REQUEST, "Not understood", why.clone()),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database does not answer",
                "Look again in a moment. After a decision, look first whether it was recorded.".to_owned(),
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something is wrong with this program",
                "The log of the API says what.".to_owned(),
            ),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Template)]
        #[template(path = "message.html")]
        struct Message {
            here: &'static str,
            title: &'static str,
            text: String,
        }
        let (status, title, text) = self.told();
        match (Message { here: "", title, text }).render() {
            Ok(page) => (status, Html(page)).into_response(),
            Err(why) => {
                tracing::error!(%why, "a page cannot be rendered");
                (status, title).into_response()
            }
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match Problem::from(error).status() {
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<JoinError> for Failure {
    fn from(why: JoinError) -> Self {
        tracing::error!(%why, "deciding ended in a panic");
        Self::Internal
    }
}

impl From<askama::Error> for Failure {
    fn from(why: askama::Error) -> Self {
        tracing::error!(%why, "a page cannot be rendered");
        Self::Internal
    }
}

fn rendered(page: &impl Template) -> Result<Html<String>, Failure> {
    Ok(Html(page.render()?))
}

fn filled_in<T>(form: Result<Form<T>, FormRejection>) -> Result<T, Failure> {
    form.map(|Form(form)| form).map_err(|why| Failure::Unreadable(why.body_text()))
}

/// The person who signs a decision. A decision without a name is refused.
fn signatory(Extension(operator): Extension<Operator>) -> Result<Operator, Failure> {
    if operator.name.trim().is_empty() { Err(Failure::Nameless) } else { Ok(operator) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_a_page_of_ours_is_from_here() {
        let ours: &[&[(&str, &str)]] = &[
            &[("sec-fetch-site", "same-origin"), ("host", "a:1")],
            &[("sec-fetch-site", "same-origin"), ("origin", "null"), ("host", "a:1")],
            &[("origin", "https://a:1"), ("host", "a:1")],
        ];
        let elsewhere: &[&[(&str, &str)]] = &[
            &[],
            &[("host", "a:1")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://a:1"), ("host", "a:1")],
            &[("sec-fetch-site", "same-site"), ("host", "a:1")],
            &[("sec-fetch-site", "none"), ("host", "a:1")],
            &[("origin", "http://b:1"), ("host", "a:1")],
            &[("origin", "http://a:2"), ("host", "a:1")],
            &[("origin", "null"), ("host", "null")],
            &[("origin", "http://a:1")],
        ];
        for pairs in ours {
            assert!(is_from_here(&headers(pairs)), "{pairs:?}");
        }
        for pairs in elsewhere {
            assert!(!is_from_here(&headers(pairs)), "{pairs:?}");
        }
    }
}
