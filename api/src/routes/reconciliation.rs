//! The findings of reconciliations. For the system's operators, with an admin key.

use axum::extract::State;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::operations::reconciliation;

use super::admin::Admin;
use crate::contract::{Serve as _, operations};
use crate::pages::Pages;
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
    let pages = Pages::of(&mut params, json!(["reconciliation_runs"]));
    params.end()?;
    let found = reconciliation::list(&app.pool, pages.after, pages.one_more()).await?;
    Ok(Json(pages.page(&found, |it| it.id, render::run)))
}
