//! Dead letters: what the queue gave up, listed, replayed and discarded. For the system's operators, with an
//! admin key.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::dead_letter::Class;
use serde::Deserialize;
use serde_json::Value;
use shared::operations::dead_letter::{self, Closed, Closing, Filter};
use shared::operations::json;

use super::admin::Admin;
use super::{bad_query, page_size, unreadable};
use crate::problem::Problem;
use crate::render::ListView;
use crate::request::json_body;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/dead-letters", get(list))
        .route("/v1/dead-letters/{id}", get(read))
        .route("/v1/dead-letters/{id}/replay", post(replay))
        .route("/v1/dead-letters/{id}/discard", post(discard))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    class: Option<String>,
    open: Option<bool>,
    limit: Option<i64>,
    starting_after: Option<i64>,
}

/// `GET /v1/dead-letters`: the letters that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ListView<Value>>, Problem> {
    let Query(query) = query.map_err(bad_query)?;
    if query.class.as_ref().is_some_and(|class| class.parse::<Class>().is_err()) {
        let known: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
        return Err(Problem::invalid("class", format!("class must be one of {}", known.join(", "))));
    }
    let (limit, rows) = page_size(query.limit)?;
    let filter =
        Filter { class: query.class, is_open: query.open, before: query.starting_after, limit: limit + 1 };
    let found = dead_letter::list(&app.pool, &filter).await?;
    let has_more = found.len() > rows;
    Ok(Json(render::list(found.iter().take(rows).map(json::dead_letter).collect(), has_more)))
}

/// `GET /v1/dead-letters/{id}`: one letter.
async fn read(
    State(app): State<App>,
    _: Admin,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let found = dead_letter::find(&app.pool, super::id(id, "dead letter")?).await?;
    Ok(Json(json::dead_letter(&found.ok_or(Problem::NotFound("dead letter"))?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    reason: String,
    /// The person who decides, where several people share one admin key.
    by: Option<String>,
}

type AsSent = (HeaderMap, Result<Path<i64>, PathRejection>, Result<Bytes, BytesRejection>);

/// `POST /v1/dead-letters/{id}/replay`: does the job once more, and only once. The same request repeated by
/// the same person changes nothing and has the same answer.
async fn replay(
    State(app): State<App>,
    admin: Admin,
    headers: HeaderMap,
    id: Result<Path<i64>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    close(&app, &admin, Closing::Replay, (headers, id, body)).await
}

/// `POST /v1/dead-letters/{id}/discard`: closes the letter without doing its job.
async fn discard(
    State(app): State<App>,
    admin: Admin,
    headers: HeaderMap,
    id: Result<Path<i64>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    close(&app, &admin, Closing::Discard, (headers, id, body)).await
}

async fn close(
    app: &App,
    admin: &Admin,
    closing: Closing,
    (headers, id, body): AsSent,
) -> Result<Json<Value>, Problem> {
    let id = super::id(id, "dead letter")?;
    let body: Body = json_body(&headers, &body.map_err(unreadable)?)?;
    // Run in a task of its own: a client that hangs up must not leave it open whether this was done.
    let (pool, by) = (app.pool.clone(), admin.acts_as(body.by)?);
    let closed =
        tokio::spawn(async move { dead_letter::close(&pool, id, closing, (&by, &body.reason)).await });
    match closed.await.map_err(|_| Problem::Internal)?? {
        Closed::Now(it) | Closed::Before(it) => Ok(Json(json::dead_letter(&it))),
        Closed::Otherwise(it) => Err(Problem::LetterClosed {
            how: it.closed_as.unwrap_or_default(),
            by: it.closed_by.unwrap_or_default(),
            reason: it.closed_reason.unwrap_or_default(),
        }),
        Closed::NoSuchLetter => Err(Problem::NotFound("dead letter")),
        Closed::IsHeld => Err(Problem::LetterHeld),
        Closed::NotYet => Err(Problem::Unavailable),
        Closed::Unusable(why) => Err(Problem::invalid(why.field, why)),
    }
}
