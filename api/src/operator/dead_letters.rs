//! Dead letters: jobs and payments that the queue gave up, open until a person replays or discards them.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::dead_letter::Class;
use domain::ids::PaymentId;
use serde::Deserialize;
use shared::operations::dead_letter::{self, Closed, Closing, Filter, Letter};
use sqlx::PgPool;

use super::show::{self, Time, pretty};
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
    closing: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct Page {
    here: &'static str,
    shows_closed: bool,
    complaint: Option<String>,
    items: Vec<LetterView>,
    older: Option<i64>,
}

struct LetterView {
    id: i64,
    class: String,
    explained: &'static str,
    /// The held payment that the letter is about. None where it is about a job.
    payment_id: Option<String>,
    job_id: String,
    key: String,
    queue: String,
    error: String,
    /// The job as it came, or what is known of the payment.
    evidence: String,
    parked_at: Time,
    closed_as: String,
    closed: Option<show::Closed>,
}

/// `GET /ops/dead-letters`: the open letters, or with `closed` the closed ones.
pub(super) async fn page(
    State(pool): State<PgPool>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    show(&pool, &asked, None).await
}

/// `POST /ops/dead-letters/{id}`: replays or discards a letter, with a reason.
pub(super) async fn close(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<i64>, PathRejection>,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id.map_err(|_| Failure::NotFound("dead letter"))?;
    let Operator { name: by, .. } = signatory(operator)?;
    let filled = filled_in(form)?;
    let closing = match filled.closing.as_str() {
        "replay" => Closing::Replay,
        "discard" => Closing::Discard,
        _ => return Err(Failure::Unreadable("Say whether to replay or to discard it.".to_owned())),
    };
    // A task of its own: a browser that hangs up drops this handler, and must not leave a statement half-way.
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { dead_letter::close(&pool, id, closing, (&by, &filled.reason)).await }
    });
    let (status, why) = match closing.await?? {
        Closed::Now(it) => {
            tracing::info!(
                dead_letter_id = id,
                by = it.closed_by,
                closed_as = it.closed_as,
                "closed by hand"
            );
            return Ok(Redirect::to("/ops/dead-letters").into_response());
        }
        Closed::Before(_) => return Ok(Redirect::to("/ops/dead-letters").into_response()),
        Closed::NoSuchLetter => return Err(Failure::NotFound("dead letter")),
        Closed::Otherwise(it) => {
            let (by, how) = (it.closed_by.unwrap_or_default(), it.closed_as.unwrap_or_default());
            (StatusCode::CONFLICT, format!("somebody was faster, it was {how} by {by}"))
        }
        Closed::IsHeld => {
            (StatusCode::CONFLICT, "its payment is held: replay it, or decide about the payment".to_owned())
        }
        Closed::NotYet => {
            (StatusCode::CONFLICT, "the queue still has its job, try again in a moment".to_owned())
        }
        Closed::Unusable(why) => (StatusCode::BAD_REQUEST, format!("the {why}")),
    };
    let page = show(&pool, &Asked::default(), Some(format!("Nothing was done: {why}."))).await?;
    Ok((status, page).into_response())
}

async fn show(pool: &PgPool, asked: &Asked, complaint: Option<String>) -> Result<Response, Failure> {
    let shows_closed = asked.closed.is_some();
    let limit = i64::try_from(ROWS + 1).unwrap_or(i64::MAX);
    let filter = Filter { is_open: Some(!shows_closed), before: asked.before, limit, ..Filter::default() };
    let mut found = dead_letter::list(pool, &filter).await?;
    let has_more = found.len() > ROWS;
    found.truncate(ROWS);
    let page = Page {
        here: "dead_letters",
        shows_closed,
        complaint,
        older: found.last().filter(|_| has_more).map(|last| last.id),
        items: found.into_iter().map(LetterView::from).collect(),
    };
    Ok(rendered(&page)?.into_response())
}

impl From<Letter> for LetterView {
    fn from(it: Letter) -> Self {
        Self {
            id: it.id,
            explained: it.class.parse().map(Class::explained).unwrap_or_default(),
            evidence: it.body().unwrap_or_else(|| pretty(&it.detail)),
            class: it.class,
            payment_id: it.payment_id.map(|id| PaymentId::from(id).to_string()),
            job_id: it.job_id.unwrap_or_default(),
            key: it.job_key.unwrap_or_else(|| "none".to_owned()),
            queue: it.queue,
            error: it.error,
            parked_at: it.parked_at.into(),
            closed_as: it.closed_as.unwrap_or_default(),
            closed: it.closed_at.map(|at| show::Closed {
                at: at.into(),
                by: it.closed_by.unwrap_or_default(),
                reason: it.closed_reason.unwrap_or_default(),
            }),
        }
    }
}
