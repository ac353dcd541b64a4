//! Reviews: payments that wait for a person before they are charged.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::ids::PaymentId;
use domain::review::{ReviewStatus, Verdict};
use serde::Deserialize;
use shared::payment::reviews::{self, Filter, Review};
use shared::payment::transition::{Decision, Reviewed, decide};
use shared::platform::text;
use sqlx::PgPool;

use super::show::{self, Time};
use super::{Failure, Operator, filled_in, rendered, signatory};

/// The most rows of a page.
const ROWS: usize = 50;

/// The most characters of a note.
const NOTE_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    ended: Option<u8>,
    before: Option<PaymentId>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Filled {
    decision: String,
    note: String,
}

#[derive(Template)]
#[template(path = "reviews.html")]
struct Page {
    here: &'static str,
    shows_ended: bool,
    complaint: Option<String>,
    items: Vec<ReviewView>,
    older: Option<String>,
}

struct ReviewView {
    payment_id: String,
    amount: String,
    currency: String,
    customer_id: String,
    payment_method: String,
    score: String,
    rules: Vec<String>,
    status: String,
    opened_at: Time,
    expires_at: Time,
    closed: Option<show::Closed>,
}

/// `GET /ops/reviews`: the payments that wait, or with `ended` all reviews there were.
pub(super) async fn page(
    State(pool): State<PgPool>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    show(&pool, &asked, None).await
}

/// `POST /ops/reviews/{id}`: approves or denies a payment, with a note.
pub(super) async fn act(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<PaymentId>, PathRejection>,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Failure> {
    let Path(payment) = id.map_err(|_| Failure::NotFound("review"))?;
    let Operator { name: by, credential, .. } = signatory(operator)?;
    let filled = filled_in(form)?;
    let verdict = match filled.decision.as_str() {
        "approve" => Verdict::Approved,
        "deny" => Verdict::Denied,
        _ => return Err(Failure::Unreadable("Say whether to approve or to deny it.".to_owned())),
    };
    let Some(note) = text::lines(&filled.note, NOTE_MAX) else {
        return Err(Failure::Unreadable("Say why, in at most 1000 characters.".to_owned()));
    };
    let decision = Decision { payment, verdict, by, credential: Some(credential), note: Some(note) };
    // A task of its own: a browser that hangs up drops this handler, and must not leave a statement half-way.
    let deciding = tokio::spawn({
        let pool = pool.clone();
        async move { decide(&pool, &decision).await }
    });
    let why = match deciding.await?? {
        Reviewed::Done => {
            tracing::info!(%payment, %verdict, "reviewed by hand");
            return Ok(Redirect::to("/ops/reviews").into_response());
        }
        Reviewed::Before => return Ok(Redirect::to("/ops/reviews").into_response()),
        Reviewed::NoSuch | Reviewed::Early => return Err(Failure::NotFound("review")),
        Reviewed::Otherwise => "somebody was faster, or its time was over",
        Reviewed::Forgotten => {
            "the past came back: approve it, which has the gateway asked before anything is charged"
        }
    };
    let page = show(&pool, &Asked::default(), Some(format!("Nothing was done: {why}."))).await?;
    Ok((StatusCode::CONFLICT, page).into_response())
}

async fn show(pool: &PgPool, asked: &Asked, complaint: Option<String>) -> Result<Response, Failure> {
    let shows_ended = asked.ended.is_some();
    let filter = Filter {
        status: (!shows_ended).then(|| ReviewStatus::Open.as_str().to_owned()),
        after: asked.before,
        limit: i64::try_from(ROWS + 1).unwrap_or(i64::MAX),
        ..Filter::default()
    };
    let mut found = reviews::list(pool, &filter).await?;
    let has_more = found.len() > ROWS;
    found.truncate(ROWS);
    let page = Page {
        here: "reviews",
        shows_ended,
        complaint,
        older: found.last().filter(|_| has_more).map(|last| PaymentId::from(last.payment_id).to_string()),
        items: found.into_iter().map(ReviewView::from).collect(),
    };
    Ok(rendered(&page)?.into_response())
}

impl From<Review> for ReviewView {
    fn from(it: Review) -> Self {
        let rules = it.risk["rules"].as_array().into_iter().flatten();
        let rules = rules.map(|hit| format!("{} {}", hit["kind"].as_str().unwrap_or_default(), hit["rule"]));
        Self {
            payment_id: PaymentId::from(it.payment_id).to_string(),
            amount: it.amount,
            currency: it.currency,
            customer_id: it.customer_id,
            payment_method: it.payment_method,
            score: it.risk["score"].to_string(),
            rules: rules.collect(),
            status: it.status,
            opened_at: it.opened_at.into(),
            expires_at: it.expires_at.into(),
            closed: it.decided_at.map(|at| show::Closed {
                at: at.into(),
                by: it.decided_by.unwrap_or_default(),
                reason: it.note.unwrap_or_default(),
            }),
        }
    }
}
