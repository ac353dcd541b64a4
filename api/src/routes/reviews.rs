//! Reviews: payments that wait for a person before they are charged. For operators.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Json, Router};
use domain::ids::{MerchantId, PaymentId};
use domain::review::{ReviewStatus, Verdict};
use serde_json::{Value, json};
use shared::operations::json;
use shared::payment::reviews::{self, Filter, Review};
use shared::payment::transition::{Decision, Reviewed, decide};
use shared::platform::text;

use super::Sent;
use super::admin::Admin;
use crate::App;
use crate::body::Fields;
use crate::contract::{Serve as _, operations};
use crate::fault::Kind;
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::render::{ListView, list as page};

/// The most characters of a note.
const NOTE_MAX: usize = 1000;

/// The most payments that are decided about by one request.
pub(crate) const TOGETHER_MAX: usize = 100;

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::LIST_REVIEWS, list)
        .serve(&operations::GET_REVIEW, read)
        .serve(&operations::APPROVE_REVIEW, approve)
        .serve(&operations::DENY_REVIEW, deny)
        .serve(&operations::DECIDE_REVIEWS, together)
}

/// `GET /v1/reviews`: the reviews that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    mut params: Params,
) -> Result<Json<ListView<Value>>, Problem> {
    let statuses: Vec<&str> = ReviewStatus::ALL.iter().map(|it| it.as_str()).collect();
    let status = params.word("status", &statuses);
    let wants = "the id of a merchant: mer_ and 32 lower-case hex digits";
    let merchant = params.parsed("merchant_id", wants, |id| id.parse::<MerchantId>().ok());
    let customer_id = params.text("customer_id");
    let list = json!(["reviews", status, merchant, customer_id]);
    let pages = Pages::of(&mut params, list);
    params.end()?;
    let filter = Filter { status, merchant, customer_id, after: pages.after, limit: pages.one_more() };
    let found = reviews::list(&app.pool, &filter).await?;
    Ok(Json(pages.page(&found, |it| PaymentId::from(it.payment_id), json::review)))
}

/// `GET /v1/reviews/{id}`: the review of a payment.
async fn read(
    State(app): State<App>,
    _: Admin,
    _: NoParams,
    id: Result<Path<PaymentId>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    find(&app, super::id(id, "review")?).await.map(|it| Json(json::review(&it)))
}

async fn find(app: &App, id: PaymentId) -> Result<Review, Problem> {
    reviews::find(&app.pool, id).await?.ok_or(Problem::NotFound("review"))
}

/// `POST /v1/reviews/{id}/approve`: lets the payment pass.
async fn approve(
    State(app): State<App>,
    admin: Admin,
    id: Result<Path<PaymentId>, PathRejection>,
    sent: Sent,
) -> Result<Json<Value>, Problem> {
    act(app, &admin, Verdict::Approved, (id, sent)).await
}

/// `POST /v1/reviews/{id}/deny`: refuses the payment.
async fn deny(
    State(app): State<App>,
    admin: Admin,
    id: Result<Path<PaymentId>, PathRejection>,
    sent: Sent,
) -> Result<Json<Value>, Problem> {
    act(app, &admin, Verdict::Denied, (id, sent)).await
}

/// Who decides, and why, as the body says. A body may be left out of what is said.
fn said(fields: &mut Fields<'_>) -> (Option<String>, Option<String>) {
    let by = fields.optional_text("by");
    let wants = format!("1 to {NOTE_MAX} characters that can be seen");
    let note = fields.optional_parsed("note", &wants, |note| text::lines(note, NOTE_MAX));
    (by, note)
}

async fn act(
    app: App,
    admin: &Admin,
    verdict: Verdict,
    (id, sent): (Result<Path<PaymentId>, PathRejection>, Sent),
) -> Result<Json<Value>, Problem> {
    let mut fields = sent.fields()?;
    let (by, note) = said(&mut fields);
    fields.end(Some(()))?;
    let payment = super::id(id, "review")?;
    let (by, credential) = (admin.acts_as(by)?, Some(admin.credential().to_owned()));
    let decision = Decision { payment, verdict, by, credential, note };
    // A task of its own: a client that hangs up must not leave it open whether this was done.
    let pool = app.pool.clone();
    let decided = tokio::spawn(async move { decide(&pool, &decision).await });
    let decided = decided.await.map_err(|_| Problem::Internal)??;
    let review = find(&app, payment).await?;
    match decided {
        Reviewed::Done | Reviewed::Before => Ok(Json(json::review(&review))),
        Reviewed::NoSuch | Reviewed::Early => Err(Problem::NotFound("review")),
        Reviewed::Otherwise => {
            Err(Problem::ReviewDecided { status: review.status, by: review.decided_by.unwrap_or_default() })
        }
        Reviewed::Forgotten => Err(Problem::DecisionRefused(FORGOTTEN.to_owned())),
    }
}

/// Why a review of before a restore cannot be denied.
const FORGOTTEN: &str = "the past came back after this payment was accepted, so it may have been approved and charged; \
                         approve it, which has the gateway asked before anything is charged";

/// `POST /v1/reviews/decide`: the same decision about several payments, each by itself. With `preview` it
/// tells what each stands at, and changes nothing: what is decided later is what was shown.
async fn together(
    State(app): State<App>,
    admin: Admin,
    sent: Sent,
) -> Result<Json<ListView<Value>>, Problem> {
    let mut fields = sent.fields()?;
    let verdict = fields.parsed("decision", "approve or deny", |word| match word {
        "approve" => Some(Verdict::Approved),
        "deny" => Some(Verdict::Denied),
        _ => None,
    });
    let payments = fields.needed("payments", payments);
    let is_preview = fields.flag("preview");
    let (by, note) = said(&mut fields);
    let (verdict, payments) = fields.end(verdict.zip(payments))?;
    let (by, credential) = (admin.acts_as(by)?, Some(admin.credential().to_owned()));
    let deciding = tokio::spawn(async move {
        let mut outcomes = Vec::new();
        for payment in payments {
            let outcome = if is_preview {
                "open"
            } else {
                let (by, credential, note) = (by.clone(), credential.clone(), note.clone());
                word(decide(&app.pool, &Decision { payment, verdict, by, credential, note }).await)?
            };
            let review = reviews::find(&app.pool, payment).await?;
            outcomes.push(shown(payment, outcome, review.as_ref(), is_preview));
        }
        Ok(Json(page(outcomes, None)))
    });
    deciding.await.map_err(|_| Problem::Internal)?
}

/// The ids of a body, each once.
fn payments(raw: &str) -> Result<Vec<PaymentId>, (Kind, String)> {
    let wants = || format!("payments must be 1 to {TOGETHER_MAX} ids of payments, each once");
    let ids: Vec<PaymentId> = serde_json::from_str::<Vec<String>>(raw)
        .ok()
        .and_then(|ids| ids.iter().map(|id| id.parse().ok()).collect())
        .ok_or_else(|| (Kind::WrongType, wants()))?;
    let is_repeated = ids.iter().enumerate().any(|(n, id)| ids.iter().take(n).any(|other| other == id));
    if ids.is_empty() || ids.len() > TOGETHER_MAX || is_repeated {
        return Err((Kind::Invalid, wants()));
    }
    Ok(ids)
}

/// What became of one of several payments, as a word. If the database is away, the rest is not tried.
fn word(decided: sqlx::Result<Reviewed>) -> Result<&'static str, Problem> {
    Ok(match decided {
        Ok(Reviewed::Done | Reviewed::Before) => "done",
        Ok(Reviewed::Otherwise) => "decided_otherwise",
        Ok(Reviewed::NoSuch | Reviewed::Early) => "not_found",
        Ok(Reviewed::Forgotten) => "refused",
        Err(error) => {
            let problem = Problem::from(&error);
            if problem != Problem::DatabaseBusy {
                return Err(problem);
            }
            "busy"
        }
    })
}

fn shown(payment: PaymentId, outcome: &'static str, review: Option<&Review>, is_preview: bool) -> Value {
    let outcome = match review {
        None => "not_found",
        Some(review) if is_preview && review.status != ReviewStatus::Open.as_str() => "decided_before",
        Some(_) => outcome,
    };
    json!({
        "object": "review_outcome",
        "payment_id": payment,
        "outcome": outcome,
        "review": review.map(json::review),
    })
}
