//! Corrections: two people put right what the books have wrong about a payment that is over. For the system's
//! operators, each with an admin key of their own.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::ids::PaymentId;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use shared::operations::{json, operator};
use shared::payment::transition::{self, Approving, Justification, Proposal, Proposing};

use super::admin::Admin;
use super::{bad_query, page_size, unreadable};
use crate::problem::Problem;
use crate::render::ListView;
use crate::request::json_body;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/corrections", get(list).post(propose))
        .route("/v1/corrections/{id}", get(read))
        .route("/v1/corrections/{id}/approve", post(approve))
        .route("/v1/corrections/{id}/withdraw", post(withdraw))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    payment_id: Option<PaymentId>,
    #[serde(default)]
    open: bool,
    limit: Option<i64>,
    starting_after: Option<i64>,
}

/// `GET /v1/corrections`: the corrections that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    _: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ListView<Value>>, Problem> {
    let Query(query) = query.map_err(bad_query)?;
    let (limit, rows) = page_size(query.limit)?;
    let found =
        operator::corrections(&app.pool, query.payment_id, query.open, query.starting_after, limit + 1)
            .await?;
    let has_more = found.len() > rows;
    Ok(Json(render::list(found.iter().take(rows).map(json::correction).collect(), has_more)))
}

/// `GET /v1/corrections/{id}`: one correction.
async fn read(
    State(app): State<App>,
    _: Admin,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&app, super::id(id, "correction")?).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    payment_id: PaymentId,
    kind: String,
    /// The amount that stands at the gateway, as a decimal.
    amount: String,
    charge_id: Option<String>,
    reason: String,
}

/// `POST /v1/corrections`: proposes a correction. The same request repeated while it is open changes nothing
/// and has the same answer.
async fn propose(
    State(app): State<App>,
    admin: Admin,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let by = admin.person()?;
    let body: Body = json_body(&headers, &body.map_err(unreadable)?)?;
    let amount = Decimal::from_str_exact(&body.amount)
        .map_err(|_| Problem::invalid("amount", "amount must be a decimal such as \"49.00\", or \"0\""))?;
    let proposal = Proposal::new(body.payment_id, &body.kind, (amount, body.charge_id), &body.reason, by);
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
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let (id, by) = (super::id(id, "correction")?, admin.person()?);
    let pool = app.pool.clone();
    let approved = tokio::spawn(async move { transition::approve(&pool, id, &by).await });
    ended(&app, id, approved.await.map_err(|_| Problem::Internal)??).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
}

/// `POST /v1/corrections/{id}/withdraw`: takes it back, by any person, until it has ended.
async fn withdraw(
    State(app): State<App>,
    admin: Admin,
    headers: HeaderMap,
    id: Result<Path<i64>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let id = super::id(id, "correction")?;
    let why: Why = json_body(&headers, &body.map_err(unreadable)?)?;
    let justification = Justification::new(&admin.acts_as(None)?, &why.reason);
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
