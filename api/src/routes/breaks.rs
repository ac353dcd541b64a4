//! Breaks: contradictions that a person resolves, with a reason. For operators, with an admin key.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use shared::operations::breaks::{self, Break, Filter, KINDS};
use shared::operations::json;
use shared::operations::operator::{self, Resolve, Resolved};

use super::admin::Admin;
use super::{bad_query, page_size, unreadable};
use crate::problem::Problem;
use crate::render::ListView;
use crate::request::json_body;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/breaks", get(list))
        .route("/v1/breaks/{id}", get(read))
        .route("/v1/breaks/{id}/resolve", post(resolve))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    kind: Option<String>,
    open: Option<bool>,
    limit: Option<i64>,
    starting_after: Option<i64>,
}

/// `GET /v1/breaks`: the breaks that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ListView<Value>>, Problem> {
    let Query(query) = query.map_err(bad_query)?;
    if query.kind.as_ref().is_some_and(|kind| !KINDS.iter().any(|(known, _)| known == kind)) {
        let known: Vec<&str> = KINDS.iter().map(|&(kind, _)| kind).collect();
        return Err(Problem::invalid("kind", format!("kind must be one of {}", known.join(", "))));
    }
    let (limit, rows) = page_size(query.limit)?;
    let filter =
        Filter { kind: query.kind, is_open: query.open, before: query.starting_after, limit: limit + 1 };
    let found = breaks::list(&app.pool, &filter).await?;
    let has_more = found.len() > rows;
    Ok(Json(render::list(found.iter().take(rows).map(json::a_break).collect(), has_more)))
}

/// `GET /v1/breaks/{id}`: one break.
async fn read(
    State(app): State<App>,
    _: Admin,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(json::a_break(&find(&app, super::id(id, "break")?).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    reason: String,
    /// The person who decides, where several people share one admin key.
    by: Option<String>,
    decision: Option<String>,
    charge_id: Option<String>,
    #[serde(default)]
    unproven: bool,
}

/// How long a request waits for a worker to look at the gateway.
const PATIENCE: Duration = Duration::from_secs(10);

/// `POST /v1/breaks/{id}/resolve`: closes a break, or decides about the payment that is held over it, which
/// closes it.
///
/// A decision waits for a worker to look at the gateway; the answer is 202 where none has looked yet. The
/// same request repeated by the same person changes nothing and has the same answer.
async fn resolve(
    State(app): State<App>,
    admin: Admin,
    headers: HeaderMap,
    id: Result<Path<i64>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let id = super::id(id, "break")?;
    let body: Body = json_body(&headers, &body.map_err(unreadable)?)?;
    let asked = Resolve {
        by: admin.acts_as(body.by)?,
        credential: admin.credential().to_owned(),
        reason: body.reason,
        decision: body.decision,
        charge_id: body.charge_id,
        unproven: body.unproven,
        patience: PATIENCE,
    };
    // Run in a task of its own: a client that hangs up must not leave it open whether this was done.
    let pool = app.pool.clone();
    let resolved = tokio::spawn(async move { operator::resolve_break(&pool, id, &asked).await });
    match resolved.await.map_err(|_| Problem::Internal)?? {
        Resolved::Now(it) | Resolved::Before(it) => Ok((StatusCode::OK, Json(json::a_break(&it)))),
        Resolved::Asked(it) => Ok((StatusCode::ACCEPTED, Json(json::decision(&it)))),
        Resolved::Checked(it) => match it.refusal {
            None => Ok((StatusCode::OK, Json(json::decision(&it)))),
            Some(why) => Err(Problem::DecisionRefused(why)),
        },
        Resolved::Another => Err(Problem::DecisionOpen),
        Resolved::NoSuchBreak => Err(Problem::NotFound("break")),
        Resolved::Otherwise(it) => Err(Problem::BreakResolved {
            by: it.closed_by.unwrap_or_default(),
            reason: it.closed_reason.unwrap_or_default(),
        }),
        Resolved::NeedsDecision => Err(Problem::DecisionNeeded),
        Resolved::NothingToDecide => Err(Problem::NothingToDecide),
        Resolved::Unusable(why) => Err(Problem::invalid(why.field, why)),
    }
}

async fn find(app: &App, id: i64) -> Result<Break, Problem> {
    breaks::find(&app.pool, id).await?.ok_or(Problem::NotFound("break"))
}
