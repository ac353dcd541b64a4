//! Breaks: contradictions, each open until a person has closed it with a reason.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use shared::operations::breaks::{self, Filter};
use shared::payment::transition::{self, Justification};
use sqlx::PgPool;

use super::show::BreakView;
use super::{Failure, Operator, filled_in, rendered, signatory};

/// The most rows of a page.
const ROWS: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    closed: Option<u8>,
    before: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Filled {
    reason: String,
}

#[derive(Template)]
#[template(path = "breaks.html")]
struct Page {
    here: &'static str,
    shows_closed: bool,
    shows_payment: bool,
    complaint: Option<String>,
    items: Vec<BreakView>,
    older: Option<i64>,
}

/// `GET /ops/breaks`: the open breaks, or with `closed` the closed ones.
pub(super) async fn page(
    State(pool): State<PgPool>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    show(&pool, &asked, None).await
}

/// `POST /ops/breaks/{id}`: closes a break, with a reason.
pub(super) async fn close(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<i64>, PathRejection>,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id.map_err(|_| Failure::NotFound("break"))?;
    let Operator { name: by, .. } = signatory(operator)?;
    let filled = filled_in(form)?;
    let justification = match Justification::new(&by, &filled.reason) {
        Ok(justification) => justification,
        Err(why) => {
            return complain(&pool, StatusCode::BAD_REQUEST, format!("Nothing was done: the {why}.")).await;
        }
    };
    if transition::close_break(&pool, id, &justification).await? {
        tracing::info!(break_id = id, by, "break closed by hand");
        return Ok(Redirect::to("/ops/breaks").into_response());
    }
    let why =
        "Nothing was done: that break is closed already, or its payment is held and waits for a decision.";
    complain(&pool, StatusCode::CONFLICT, why.to_owned()).await
}

async fn complain(pool: &PgPool, status: StatusCode, complaint: String) -> Result<Response, Failure> {
    Ok((status, show(pool, &Asked::default(), Some(complaint)).await?).into_response())
}

async fn show(pool: &PgPool, asked: &Asked, complaint: Option<String>) -> Result<Response, Failure> {
    let shows_closed = asked.closed.is_some();
    let limit = i64::try_from(ROWS + 1).unwrap_or(i64::MAX);
    let filter = Filter { is_open: Some(!shows_closed), before: asked.before, limit, ..Filter::default() };
    let mut found = breaks::list(pool, &filter).await?;
    let has_more = found.len() > ROWS;
    found.truncate(ROWS);
    let page = Page {
        here: "breaks",
        shows_closed,
        shows_payment: true,
        complaint,
        older: found.last().filter(|_| has_more).map(|last| last.id),
        items: found.into_iter().map(BreakView::from).collect(),
    };
    Ok(rendered(&page)?.into_response())
}
