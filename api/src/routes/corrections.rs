//! Corrections: two people put right what the books have wrong about a payment that is over. For the system's
//! operators, each with an admin key of their own.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router};
use domain::ids::PaymentId;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shared::operations::{json, operator};
use shared::payment::transition::{self, Approving, Justification, Proposal, Proposing};

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
        .serve(&operations::LIST_CORRECTIONS, list)
        .serve(&operations::PROPOSE_CORRECTION, propose)
        .serve(&operations::GET_CORRECTION, read)
        .serve(&operations::APPROVE_CORRECTION, approve)
        .serve(&operations::WITHDRAW_CORRECTION, withdraw)
}

/// What the id of a payment is.
const PAYMENT_ID: &str = "the id of a payment: pay_ and 32 lower-case hex digits";

/// `GET /v1/corrections`: the corrections that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    mut params: Params,
) -> Result<Json<ListView<Value>>, Problem> {
    let payment_id = params.parsed("payment_id", PAYMENT_ID, |id| id.parse::<PaymentId>().ok());
    let is_open = params.flag("open").unwrap_or_default();
    let pages = Pages::of(&mut params, json!(["corrections", payment_id, is_open]));
    params.end()?;
    let found = operator::corrections(&app.pool, payment_id, is_open, pages.after, pages.one_more()).await?;
    Ok(Json(pages.page(&found, |it| it.id, json::correction)))
}

/// `GET /v1/corrections/{id}`: one correction.
async fn read(
    State(app): State<App>,
    _: Admin,
    _: NoParams,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&app, super::id(id, "correction")?).await?))
}

/// `POST /v1/corrections`: proposes a correction. The same request repeated while it is open changes nothing
/// and has the same answer.
async fn propose(
    State(app): State<App>,
    admin: Admin,
    sent: Sent,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let by = admin.person()?;
    let mut fields = sent.fields()?;
    let payment_id = fields.parsed("payment_id", PAYMENT_ID, |id| id.parse().ok());
    let kind = fields.text("kind");
    // The amount that stands at the gateway.
    let amount = fields.parsed("amount", "a decimal such as \"49.00\", or \"0\"", |amount| {
        Decimal::from_str_exact(amount).ok()
    });
    let charge_id = fields.optional_text("charge_id");
    let reason = fields.text("reason");
    let all = payment_id.zip(amount).zip(kind.zip(reason));
    let ((payment_id, amount), (kind, reason)) = fields.end(all)?;
    let proposal = Proposal::new(payment_id, &kind, (amount, charge_id), &reason, by);
    let proposal = proposal.map_err(|why| Problem::invalid(why.field, why))?;
    // Run in a task of its own: a client that hangs up must not leave it open whether this was done.
    let pool = app.pool.clone();
    let proposed = tokio::spawn(async move { transition::propose(&pool, &proposal).await });
    match proposed.await.map_err(|_| Problem::Internal)?? {
        Proposing::Open(id) => Ok((StatusCode::CREATED, Json(shown(&app, id).await?))),
        Proposing::Another(id) => Err(Problem::CorrectionOpen(id)),
        Proposing::NoSuchPayment => Err(Problem::NotFound("payment")),
        Proposing::UnderWay => Err(Problem::NotOver),
    }
}

/// `POST /v1/corrections/{id}/approve`: approves it, by another person than its proposer.
async fn approve(
    State(app): State<App>,
    admin: Admin,
    _: NoParams,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let (id, by) = (super::id(id, "correction")?, admin.person()?);
    let pool = app.pool.clone();
    let approved = tokio::spawn(async move { transition::approve(&pool, id, &by).await });
    ended(&app, id, approved.await.map_err(|_| Problem::Internal)??).await
}

/// `POST /v1/corrections/{id}/withdraw`: takes it back, by any person, until it has ended.
async fn withdraw(
    State(app): State<App>,
    admin: Admin,
    id: Result<Path<i64>, PathRejection>,
    sent: Sent,
) -> Result<Json<Value>, Problem> {
    let id = super::id(id, "correction")?;
    let mut fields = sent.fields()?;
    let reason = fields.text("reason");
    let reason = fields.end(reason)?;
    let justification = Justification::new(&admin.acts_as(None)?, &reason);
    let justification = justification.map_err(|why| Problem::invalid(why.field, why))?;
    let pool = app.pool.clone();
    let withdrawn =
        tokio::spawn(async move { transition::withdraw_correction(&pool, id, &justification).await });
    ended(&app, id, withdrawn.await.map_err(|_| Problem::Internal)??).await
}

async fn ended(app: &App, id: i64, approving: Approving) -> Result<Json<Value>, Problem> {
    match approving {
        Approving::Done => Ok(Json(shown(app, id).await?)),
        Approving::SamePerson => Err(Problem::SamePerson),
        Approving::Otherwise => {
            let it = operator::correction(&app.pool, id).await?.ok_or(Problem::NotFound("correction"))?;
            Err(Problem::CorrectionClosed(it.state().to_owned()))
        }
        Approving::NoSuchCorrection => Err(Problem::NotFound("correction")),
    }
}

async fn shown(app: &App, id: i64) -> Result<Value, Problem> {
    let found = operator::correction(&app.pool, id).await?.ok_or(Problem::NotFound("correction"))?;
    Ok(json::correction(&found))
}
