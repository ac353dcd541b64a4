//! Late returns and disputes: what the gateway tells of a payment that succeeded. Read alone.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::ids::{DisputeId, MerchantId, PaymentId, ReturnId};
use serde::Serialize;
use serde_json::json;
use shared::database::standby;
use shared::payment::refunds::{self, Kind, Refund, Wanted};
use shared::payment::store;
use uuid::Uuid;

use super::merchant::Merchant;
use crate::contract::{Serve as _, operations};
use crate::pages::{Pages, Place};
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::LIST_RETURNS, returns)
        .serve(&operations::GET_RETURN, read_return)
        .serve(&operations::LIST_DISPUTES, disputes)
        .serve(&operations::GET_DISPUTE, read_dispute)
}

async fn one(
    app: &App,
    merchant: MerchantId,
    (kind, name): (Kind, &'static str),
    id: Uuid,
) -> Result<Refund, Problem> {
    let found = refunds::find(&app.pool, merchant, kind, Wanted::One(id)).await?.pop();
    let found = found.ok_or(Problem::NotFound(name))?;
    standby::before_telling(&app.pool, found.updated_at).await?;
    Ok(found)
}

/// `GET /v1/returns/{id}`: a late return.
async fn read_return(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    _: NoParams,
    id: Result<Path<ReturnId>, PathRejection>,
) -> Result<Response, Problem> {
    let id = super::id(id, "return")?.uuid();
    let found = one(&app, merchant, (Kind::Return, "return"), id).await?;
    Ok(Json(render::refund::returned(&found)).into_response())
}

/// `GET /v1/disputes/{id}`: a dispute as it stands.
async fn read_dispute(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    _: NoParams,
    id: Result<Path<DisputeId>, PathRejection>,
) -> Result<Response, Problem> {
    let id = super::id(id, "dispute")?.uuid();
    let found = one(&app, merchant, (Kind::Dispute, "dispute"), id).await?;
    Ok(Json(render::refund::dispute(&found)).into_response())
}

/// `GET /v1/payments/{id}/returns`: the late returns of a payment, newest first.
async fn returns(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<PaymentId>, PathRejection>,
    params: Params,
) -> Result<Response, Problem> {
    let (pages, found) = page::<ReturnId>(&app, merchant, (Kind::Return, "returns"), (id, params)).await?;
    Ok(Json(pages.page(&found, |it| it.id.into(), render::refund::returned)).into_response())
}

/// `GET /v1/payments/{id}/disputes`: the disputes about a payment, newest first.
async fn disputes(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<PaymentId>, PathRejection>,
    params: Params,
) -> Result<Response, Problem> {
    let (pages, found) = page::<DisputeId>(&app, merchant, (Kind::Dispute, "disputes"), (id, params)).await?;
    Ok(Json(pages.page(&found, |it| it.id.into(), render::refund::dispute)).into_response())
}

async fn page<P: Place + Serialize>(
    app: &App,
    merchant: MerchantId,
    (kind, name): (Kind, &'static str),
    (id, mut params): (Result<Path<PaymentId>, PathRejection>, Params),
) -> Result<(Pages<P>, Vec<Refund>), Problem> {
    let list = json!([name, id.as_ref().ok().map(|Path(id)| id.to_string())]);
    let pages = Pages::<P>::of(&mut params, list);
    params.end()?;
    let payment = super::id(id, "payment")?;
    if store::currency(&app.pool, merchant, payment).await?.is_none() {
        return Err(Problem::NotFound("payment"));
    }
    let after = pages.after.map(|after| Uuid::from_u128(after.number()));
    let wanted = Wanted::Of(payment, after, pages.one_more());
    let found = refunds::find(&app.pool, merchant, kind, wanted).await?;
    if let Some(newest) = found.iter().map(|it| it.updated_at).max() {
        standby::before_telling(&app.pool, newest).await?;
    }
    Ok((pages, found))
}
