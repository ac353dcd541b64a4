//! The findings of reconciliations. For the system's operators, with an admin key.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use shared::operations::reconciliation;

use super::admin::Admin;
use super::{bad_query, page_size};
use crate::problem::Problem;
use crate::render::ListView;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/reconciliation/runs", get(runs))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<i64>,
    starting_after: Option<i64>,
}

/// `GET /v1/reconciliation/runs`: the runs, newest first.
async fn runs(
    State(app): State<App>,
    _: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ListView<Value>>, Problem> {
    let Query(query) = query.map_err(bad_query)?;
    let (limit, rows) = page_size(query.limit)?;
    let found = reconciliation::list(&app.pool, query.starting_after, limit + 1).await?;
    let has_more = found.len() > rows;
    Ok(Json(render::list(found.iter().take(rows).map(render::run).collect(), has_more)))
}
