//! Recovery reports: what starting workers found in the hands of lost ones, and how each payment went on. For
//! the system's operators, with an admin key.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::operations::{json, recovery};

use super::admin::Admin;
use crate::App;
use crate::contract::{Serve as _, operations};
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::render::ListView;

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::LIST_RECOVERY_REPORTS, list)
        .serve(&operations::GET_RECOVERY_REPORT, read)
}

/// `GET /v1/recovery-reports`: the reports, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    mut params: Params,
) -> Result<Json<ListView<Value>>, Problem> {
    let pages = Pages::of(&mut params, json!(["recovery_reports"]));
    params.end()?;
    let found = recovery::list(&app.pool, pages.after, pages.one_more()).await?;
    Ok(Json(pages.page(&found, |it| it.id, json::recovery_report)))
}

/// `GET /v1/recovery-reports/{id}`: one report, with each payment and where it stands now.
async fn read(
    State(app): State<App>,
    _: Admin,
    _: NoParams,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let found = recovery::find(&app.pool, super::id(id, "recovery report")?).await?;
    let (report, recovered) = found.ok_or(Problem::NotFound("recovery report"))?;
    Ok(Json(json::recovery(&report, &recovered)))
}
