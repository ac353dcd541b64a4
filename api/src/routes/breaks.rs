//! Breaks: contradictions that a person resolves, with a reason. For operators, with an admin key.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::operations::breaks::{self, Break, Filter, KINDS};
use shared::operations::json;
use shared::operations::operator::{self, Resolve, Resolved};

use super::Sent;
use super::admin::Admin;
use crate::App;
use crate::contract::{Serve as _, operations};
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::render::ListView;

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::LIST_BREAKS, list)
        .serve(&operations::GET_BREAK, read)
        .serve(&operations::RESOLVE_BREAK, resolve)
}

/// `GET /v1/breaks`: the breaks that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    mut params: Params,
) -> Result<Json<ListView<Value>>, Problem> {
    let kinds: Vec<&str> = KINDS.iter().map(|&(kind, _)| kind).collect();
    let kind = params.word("kind", &kinds);
    let is_open = params.flag("open");
    let pages = Pages::of(&mut params, json!(["breaks", kind, is_open]));
    params.end()?;
    let filter = Filter { kind, is_open, before: pages.after, limit: pages.one_more() };
    let found = breaks::list(&app.pool, &filter).await?;
    Ok(Json(pages.page(&found, |it| it.id, json::a_break)))
}

/// `GET /v1/breaks/{id}`: one break.
async fn read(
    State(app): State<App>,
    _: Admin,
    _: NoParams,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(json::a_break(&find(&app, super::id(id, "break")?).await?)))
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
    id: Result<Path<i64>, PathRejection>,
    sent: Sent,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let id = super::id(id, "break")?;
    let mut fields = sent.fields()?;
    let reason = fields.text("reason");
    // The person who decides, where several people share one admin key.
    let by = fields.optional_text("by");
    let decision = fields.optional_text("decision");
    let charge_id = fields.optional_text("charge_id");
    let unproven = fields.flag("unproven");
    let reason = fields.end(reason)?;
    let (by, credential) = (admin.acts_as(by)?, admin.credential().to_owned());
    let asked = Resolve { by, credential, reason, decision, charge_id, unproven, patience: PATIENCE };
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
