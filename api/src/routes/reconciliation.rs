//! The findings of reconciliations. For the system's operators, with an admin key.

use axum::extract::State;
use axum::{Json, Router};
use serde_json::Value;
use shared::operations::reconciliation;

use super::admin::Admin;
use crate::contract::{Serve as _, operations};
use crate::problem::Problem;
use crate::query::Params;
use crate::render::ListView;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new().serve(&operations::LIST_RECONCILIATION_RUNS, runs)
}

/// `GET /v1/reconciliation/runs`: the runs, newest first.
async fn runs(
    State(app): State<App>,
    _: Admin,
    mut params: Params,
) -> Result<Json<ListView<Value>>, Problem> {
    let (limit, rows) = params.page();
    let before = params.starting_after();
    params.end()?;
    let found = reconciliation::list(&app.pool, before, limit + 1).await?;
    Ok(Json(render::page(&found, rows, render::run)))
}
