//! Dead letters: what the queue gave up, listed, replayed and discarded. For the system's operators, with an
//! admin key.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Json, Router};
use domain::dead_letter::Class;
use serde_json::{Value, json};
use shared::operations::dead_letter::{self, Closed, Closing, Filter};
use shared::operations::json;

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
        .serve(&operations::LIST_DEAD_LETTERS, list)
        .serve(&operations::GET_DEAD_LETTER, read)
        .serve(&operations::REPLAY_DEAD_LETTER, replay)
        .serve(&operations::DISCARD_DEAD_LETTER, discard)
}

/// `GET /v1/dead-letters`: the letters that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    mut params: Params,
) -> Result<Json<ListView<Value>>, Problem> {
    let classes: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    let class = params.word("class", &classes);
    let is_open = params.flag("open");
    let pages = Pages::of(&mut params, json!(["dead_letters", class, is_open]));
    params.end()?;
    let filter = Filter { class, is_open, before: pages.after, limit: pages.one_more() };
    let found = dead_letter::list(&app.pool, &filter).await?;
    Ok(Json(pages.page(&found, |it| it.id, json::dead_letter)))
}

/// `GET /v1/dead-letters/{id}`: one letter.
async fn read(
    State(app): State<App>,
    _: Admin,
    _: NoParams,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let found = dead_letter::find(&app.pool, super::id(id, "dead letter")?).await?;
    Ok(Json(json::dead_letter(&found.ok_or(Problem::NotFound("dead letter"))?)))
}

/// `POST /v1/dead-letters/{id}/replay`: does the job once more, and only once. The same request repeated by
/// the same person changes nothing and has the same answer.
async fn replay(
    State(app): State<App>,
    admin: Admin,
    id: Result<Path<i64>, PathRejection>,
    sent: Sent,
) -> Result<Json<Value>, Problem> {
    close(&app, &admin, Closing::Replay, (id, sent)).await
}

/// `POST /v1/dead-letters/{id}/discard`: closes the letter without doing its job.
async fn discard(
    State(app): State<App>,
    admin: Admin,
    id: Result<Path<i64>, PathRejection>,
    sent: Sent,
) -> Result<Json<Value>, Problem> {
    close(&app, &admin, Closing::Discard, (id, sent)).await
}

async fn close(
    app: &App,
    admin: &Admin,
    closing: Closing,
    (id, sent): (Result<Path<i64>, PathRejection>, Sent),
) -> Result<Json<Value>, Problem> {
    let id = super::id(id, "dead letter")?;
    let mut fields = sent.fields()?;
    let reason = fields.text("reason");
    // The person who decides, where several people share one admin key.
    let by = fields.optional_text("by");
    let reason = fields.end(reason)?;
    // Run in a task of its own: a client that hangs up must not leave it open whether this was done.
    let (pool, by) = (app.pool.clone(), admin.acts_as(by)?);
    let closed = tokio::spawn(async move { dead_letter::close(&pool, id, closing, (&by, &reason)).await });
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
