//! Recovery reports: what starting workers found in the hands of lost ones, and how each payment went on. For
//! the system's operators, with an admin key.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use shared::operations::{json, recovery};

use super::admin::Admin;
use super::{bad_query, page_size};
use crate::problem::Problem;
use crate::render::ListView;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/recovery-reports", get(list)).route("/v1/recovery-reports/{id}", get(read))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<i64>,
    starting_after: Option<i64>,
}

/// `GET /v1/recovery-reports`: the reports, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ListView<Value>>, Problem> {
    let Query(query) = query.map_err(bad_query)?;
    let (limit, rows) = page_size(query.limit)?;
    let found = recovery::list(&app.pool, query.starting_after, limit + 1).await?;
    let has_more = found.len() > rows;
    Ok(Json(render::list(found.iter().take(rows).map(json::recovery_report).collect(), has_more)))
}

/// `GET /v1/recovery-reports/{id}`: one report, with each payment and where it stands now.
async fn read(
    State(app): State<App>,
    _: Admin,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let found = recovery::find(&app.pool, super::id(id, "recovery report")?).await?;
    let (report, recovered) = found.ok_or(Problem::NotFound("recovery report"))?;
    Ok(Json(json::recovery(&report, &recovered)))
}
