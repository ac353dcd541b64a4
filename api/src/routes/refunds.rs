//! Refunds: taken up once per key, and read.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use domain::ids::{MerchantId, OperationId, PaymentId};
use domain::money::{Currency, InvalidMoney, Money};
use rust_decimal::Decimal;
use serde_json::json;
use shared::database::standby;
use shared::payment::refunds::{self, Kind as OfKind, Refund, Wanted};
use shared::payment::store;
use shared::payment::transition::{self, NewRefund, Refunding};
use tracing::Instrument as _;

use super::merchant::Merchant;
use super::{REPLAYED, Sent};
use crate::contract::{Serve as _, operations};
use crate::correlation::CorrelationId;
use crate::fault::Kind;
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::refusal::NotRefunded;
use crate::{App, render, request};

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::REFUND_PAYMENT, create)
        .serve(&operations::LIST_REFUNDS, list)
        .serve(&operations::GET_REFUND, read)
}

/// `POST /v1/payments/{id}/refunds`: 202 and the refund, the same for every try with one key.
async fn create(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    id: Result<Path<PaymentId>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    let key = request::idempotency_key(&sent.headers);
    let asked = asked(&sent);
    let (key, asked) = match (key, asked) {
        (Ok(key), Ok(asked)) => (key, asked),
        (Err(problem), Err(Problem::InvalidRequest(more))) => return Err(problem.and(more)),
        (Err(problem), _) | (_, Err(problem)) => return Err(problem),
    };
    let payment = super::id(id, "payment")?;
    let new = NewRefund {
        id: OperationId::generate(),
        merchant,
        payment,
        key,
        amount: asked.amount,
        reason: asked.reason,
        metadata: json!(asked.metadata),
        correlation_id,
    };
    check_amount(&app, merchant, payment, new.amount).await?;
    // A task of its own: a client that hangs up must not leave it open whether this was taken up.
    let taken = tokio::spawn(take_up(app, new).in_current_span()).await;
    taken.unwrap_or(Err(Problem::Internal))
}

/// A request for a refund, as far as its payment does not have to be known.
struct Asked {
    /// None for all that is left.
    amount: Option<Decimal>,
    reason: Option<String>,
    metadata: BTreeMap<String, String>,
}

fn asked(sent: &Sent) -> Result<Asked, Problem> {
    let mut fields = sent.fields()?;
    let amount = fields.optional("amount", request::amount);
    if amount.is_some_and(|amount| amount <= Decimal::ZERO) {
        fields.fault("amount", Kind::Invalid, InvalidMoney::NotPositive);
    }
    let reason = fields.optional_text("reason");
    let metadata = fields.texts("metadata");
    let broken = request::broken_by_refund(reason.as_deref(), &metadata);
    fields.and(broken).end(Some(Asked { amount, reason, metadata }))
}

/// Whether the payment's currency has such an amount. A payment that there is not has none.
async fn check_amount(
    app: &App,
    merchant: MerchantId,
    payment: PaymentId,
    amount: Option<Decimal>,
) -> Result<(), Problem> {
    let Some(amount) = amount else { return Ok(()) };
    let currency = store::currency(&app.pool, merchant, payment).await?;
    let currency = currency.ok_or(Problem::NotFound("payment"))?;
    // What this version cannot read is refused by the money that it would be.
    let currency: Currency = currency.parse().map_err(|_| Problem::Internal)?;
    Money::new(amount, currency).map(drop).map_err(|why| Problem::invalid("amount", why))
}

async fn take_up(app: App, new: NewRefund) -> Result<Response, Problem> {
    match transition::refund(&app.pool, &new).await? {
        Refunding::Taken { id, is_replay, at } => {
            standby::before_telling(&app.pool, at).await?;
            let found = find(&app, new.merchant, id).await?;
            let mut response = (StatusCode::ACCEPTED, Json(render::refund::created(&found))).into_response();
            if let Ok(location) = HeaderValue::from_str(&format!("/v1/refunds/{id}")) {
                response.headers_mut().insert(LOCATION, location);
            }
            if !is_replay {
                let (payment_id, refund_id) = (new.payment, id);
                tracing::info!(event = "refund_created", %payment_id, %refund_id, "took up a refund");
            }
            Ok(with_replayed(response, is_replay))
        }
        Refunding::Refused { code, detail, is_replay, at } => {
            standby::before_telling(&app.pool, at).await?;
            Ok(with_replayed(NotRefunded::of(&code, detail).into_response(), is_replay))
        }
        Refunding::KeyReused => Err(Problem::KeyOfAnother),
        Refunding::NoSuchPayment => Err(Problem::NotFound("payment")),
    }
}

fn with_replayed(mut response: Response, is_replay: bool) -> Response {
    let replayed = if is_replay { "true" } else { "false" };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static(replayed));
    response
}

async fn find(app: &App, merchant: MerchantId, id: OperationId) -> Result<Refund, Problem> {
    let found = refunds::find(&app.pool, merchant, OfKind::Refund, Wanted::One(id.uuid())).await?.pop();
    found.ok_or(Problem::NotFound("refund"))
}

/// `GET /v1/refunds/{id}`: the refund as it stands.
async fn read(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    _: NoParams,
    id: Result<Path<OperationId>, PathRejection>,
) -> Result<Response, Problem> {
    let found = find(&app, merchant, super::id(id, "refund")?).await?;
    standby::before_telling(&app.pool, found.updated_at).await?;
    Ok(Json(render::refund::refund(&found)).into_response())
}

/// `GET /v1/payments/{id}/refunds`: the refunds of a payment, newest first.
async fn list(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<PaymentId>, PathRejection>,
    mut params: Params,
) -> Result<Response, Problem> {
    let list = json!(["refunds", id.as_ref().ok().map(|Path(id)| id.to_string())]);
    let pages = Pages::<OperationId>::of(&mut params, list);
    params.end()?;
    let payment = super::id(id, "payment")?;
    if store::currency(&app.pool, merchant, payment).await?.is_none() {
        return Err(Problem::NotFound("payment"));
    }
    let wanted = Wanted::Of(payment, pages.after.map(OperationId::uuid), pages.one_more());
    let found = refunds::find(&app.pool, merchant, OfKind::Refund, wanted).await?;
    if let Some(newest) = found.iter().map(|refund| refund.updated_at).max() {
        standby::before_telling(&app.pool, newest).await?;
    }
    Ok(Json(pages.page(&found, |refund| refund.id.into(), render::refund::refund)).into_response())
}
