//! Transfers: money moved between a merchant's accounts, at once or by a hold that is posted or voided later.
//! One request is one effect, and one answer for ever.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::account::{
    CREATE_TRANSFER, GROUP_MAX, HoldEnd, NewTransfer, POST_TRANSFER, Refusal, UncheckedTransfer,
    VOID_TRANSFER, fingerprint_of_act, fingerprint_of_transfers,
};
use domain::ids::{AccountId, MerchantId, TransferId};
use domain::money::{Currency, InvalidMoney, Money};
use rust_decimal::Decimal;
use shared::account::moving::{Moved, Movement, Request, TakenKey};
use shared::account::{Transfer, store};
use shared::database::standby;
use shared::payment::store as payments;
use uuid::Uuid;

use super::merchant::Merchant;
use super::{REPLAYED, Sent};
use crate::accounts::Outcome;
use crate::body::Fields;
use crate::contract::{Serve as _, operations};
use crate::fault::{Fault, Kind};
use crate::problem::Problem;
use crate::query::{NoParams, time};
use crate::refusal::NotMoved;
use crate::render::account as render;
use crate::render::list;
use crate::{App, request};

/// What the id of an account is.
const ACCOUNT_ID: &str = "the id of an account: acc_ and 32 lower-case hex digits";

/// What a time is.
const TIME: &str = "a time by RFC 3339 with a year from 0000 to 9999, such as 2026-01-31T12:00:00Z";

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::CREATE_TRANSFER, create)
        .serve(&operations::GET_TRANSFER, read)
        .serve(&operations::POST_TRANSFER, post_hold)
        .serve(&operations::VOID_TRANSFER, void_hold)
}

/// `POST /v1/transfers`: 201 and the transfer, or the list of those that happened together.
async fn create(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    sent: Sent,
) -> Result<Response, Problem> {
    let key = request::idempotency_key(&sent.headers);
    let asked = transfers(&sent);
    let (key, (unchecked, is_group)) = match (key, asked) {
        (Ok(key), Ok(asked)) => (key, asked),
        (Err(problem), Err(Problem::InvalidRequest(more))) => return Err(problem.and(more)),
        (Err(problem), _) | (_, Err(problem)) => return Err(problem),
    };
    let key = TakenKey {
        operation: CREATE_TRANSFER,
        scope: String::new(),
        key,
        fingerprint: fingerprint_of_transfers(&unchecked, is_group),
    };
    let ids: Vec<TransferId> = unchecked.iter().map(|_| TransferId::generate()).collect();
    let object_id = ids.first().map_or_else(Uuid::nil, |id| id.uuid());
    let empty =
        Request { merchant: Some(merchant), key: Some(key), object_id, movements: Vec::new(), is_group };
    // The rules change, and are for what is new. What was recorded once is answered as it was.
    if let Some(found) = app.accounts.remembered(&empty).await? {
        return created(found.refusal.as_ref(), &found.transfers, is_group.then_some(unchecked.len()), true);
    }
    let movements = checked(&unchecked, &ids, is_group)?;
    let group = is_group.then_some(movements.len());
    match perform(app, Request { movements, ..empty }).await? {
        Outcome::Moved(Moved::Done(transfers)) => created(None, &transfers, group, false),
        Outcome::Moved(Moved::Refused(reason)) => created(Some(&reason), &[], group, false),
        Outcome::Moved(Moved::Unfit(reason)) => Err(NotMoved::of(&reason, group)),
        Outcome::Moved(Moved::Again | Moved::Held(_)) => Err(Problem::Internal),
        Outcome::Remembered(found, is_replay) => {
            created(found.refusal.as_ref(), &found.transfers, group, is_replay)
        }
    }
}

/// Does it in a task of its own: a client that hangs up must not leave it open whether this was done.
async fn perform(app: App, request: Request) -> Result<Outcome, Problem> {
    let performed = tokio::spawn(async move { app.accounts.perform(request).await });
    performed.await.map_err(|_| Problem::Internal)?
}

/// The transfers of a body: one, or a group in `transfers`.
fn transfers(sent: &Sent) -> Result<(Vec<UncheckedTransfer>, bool), Problem> {
    let mut fields = sent.fields()?;
    if !fields.has("transfers") {
        let one = transfer(&mut fields);
        return Ok((vec![fields.end(one)?], false));
    }
    let all = fields.objects("transfers", transfer);
    if all.as_ref().is_some_and(|all| all.is_empty() || all.len() > GROUP_MAX) {
        let detail = format!("transfers must have 1 to {GROUP_MAX} of them");
        fields.fault("transfers", Kind::Invalid, detail);
    }
    Ok((fields.end(all)?, true))
}

fn transfer(fields: &mut Fields<'_>) -> Option<UncheckedTransfer> {
    let from = fields.parsed("from", ACCOUNT_ID, |id| id.parse::<AccountId>().ok());
    let to = fields.parsed("to", ACCOUNT_ID, |id| id.parse::<AccountId>().ok());
    let amount = fields.needed("amount", request::amount);
    let currency = fields.text("currency");
    let is_pending = fields.flag("pending");
    let expires_at = fields.optional_parsed("expires_at", TIME, time);
    if expires_at.is_some() && !is_pending {
        fields.fault(
            "expires_at",
            Kind::Invalid,
            "expires_at is the end of a hold; send pending: true with it",
        );
    }
    let hold = is_pending.then(|| expires_at.map_or(HoldEnd::ByDefault, HoldEnd::At));
    Some(UncheckedTransfer { from: from?, to: to?, amount: amount?, currency: currency?, hold })
}

/// Checks transfers as far as no account has to be known.
fn checked(
    unchecked: &[UncheckedTransfer],
    ids: &[TransferId],
    is_group: bool,
) -> Result<Vec<Movement>, Problem> {
    let mut faults = Vec::new();
    let mut movements = Vec::new();
    for (at, (it, id)) in unchecked.iter().zip(ids).enumerate() {
        let place = at.to_string();
        let mut noted = |field: &str, why: InvalidMoney| {
            let path: &[&str] = if is_group { &["transfers", &place, field] } else { &[field] };
            faults.push(Fault::field(path, Kind::Invalid, why));
        };
        let currency = it.currency.parse::<Currency>().map_err(|why| noted("currency", why)).ok();
        let Some(currency) = currency else { continue };
        if let Ok(money) = Money::new(it.amount, currency).map_err(|why| noted("amount", why)) {
            let (from, to, hold) = (it.from, it.to, it.hold);
            movements.push(Movement::Transfer(NewTransfer { id: *id, from, to, money, hold }));
        }
    }
    Problem::unless(faults)?;
    match unchecked.iter().position(|it| it.from == it.to) {
        Some(at) => {
            let group = is_group.then_some(unchecked.len());
            Err(Problem::Refused(NotMoved::plain(Refusal::AccountsAreTheSame, at, group)))
        }
        None => Ok(movements),
    }
}

/// The first answer to a request for transfers, and each repetition of it.
fn created(
    refusal: Option<&shared::account::moving::Reason>,
    transfers: &[Transfer],
    group: Option<usize>,
    is_replay: bool,
) -> Result<Response, Problem> {
    if let Some(reason) = refusal {
        return Ok(with_replayed(NotMoved::of(reason, group).into_response(), is_replay));
    }
    let mut headers = HeaderMap::new();
    let response = match (transfers, group) {
        ([one], None) => {
            let location = HeaderValue::from_str(&format!("/v1/transfers/{}", TransferId::from(one.id)));
            headers.extend(location.map(|location| (LOCATION, location)));
            (StatusCode::CREATED, headers, Json(render::created(one))).into_response()
        }
        (all, Some(_)) => {
            (StatusCode::CREATED, Json(list(all.iter().map(render::created).collect(), None))).into_response()
        }
        (_, None) => return Err(Problem::Internal),
    };
    Ok(with_replayed(response, is_replay))
}

fn with_replayed(mut response: Response, is_replay: bool) -> Response {
    let replayed = if is_replay { "true" } else { "false" };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static(replayed));
    response
}

/// `GET /v1/transfers/{id}`: the transfer as it stands.
async fn read(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    _: NoParams,
    id: Result<Path<TransferId>, PathRejection>,
) -> Result<Response, Problem> {
    let id = transfer_id(id)?;
    let found = store::transfer(&app.pool, merchant, id).await?.ok_or_else(no_such_transfer)?;
    standby::before_telling(&app.pool, render::newest(&found)).await?;
    Ok(Json(render::transfer(&found)).into_response())
}

fn transfer_id(path: Result<Path<TransferId>, PathRejection>) -> Result<TransferId, Problem> {
    path.map(|Path(id)| id).map_err(|_| no_such_transfer())
}

fn no_such_transfer() -> Problem {
    Problem::Refused(NotMoved::plain(Refusal::TransferNotFound, 0, None))
}

/// `POST /v1/transfers/{id}/post`: moves what is reserved, or a part of it. The rest goes back.
async fn post_hold(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<TransferId>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    let mut fields = sent.fields()?;
    let amount = fields.optional("amount", request::amount);
    if amount.is_some_and(|amount| amount <= Decimal::ZERO) {
        fields.fault("amount", Kind::Invalid, InvalidMoney::NotPositive);
    }
    fields.end(Some(()))?;
    let id = transfer_id(id)?;
    act(app, merchant, (POST_TRANSFER, Movement::Post(id, amount)), (id, amount), &sent).await
}

/// `POST /v1/transfers/{id}/void`: gives back what is reserved.
async fn void_hold(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<TransferId>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    Problem::unless(sent.params.clone().faults())?;
    let id = transfer_id(id)?;
    act(app, merchant, (VOID_TRANSFER, Movement::Void(id)), (id, None), &sent).await
}

/// Decides what becomes of a hold. A repeat of the act that won has its answer, under whatever key.
async fn act(
    app: App,
    merchant: MerchantId,
    (operation, movement): (&'static str, Movement),
    (id, amount): (TransferId, Option<Decimal>),
    sent: &Sent,
) -> Result<Response, Problem> {
    let key = TakenKey {
        operation,
        scope: id.to_string(),
        key: request::idempotency_key(&sent.headers)?,
        fingerprint: fingerprint_of_act(amount),
    };
    let request = Request {
        merchant: Some(merchant),
        key: Some(key),
        object_id: TransferId::generate().uuid(),
        movements: vec![movement],
        is_group: false,
    };
    if let Some(found) = app.accounts.remembered(&request).await? {
        return acted(found.refusal.as_ref(), &found.transfers, true);
    }
    if payments::is_of_a_payment(&app.pool, id).await? {
        return Err(Problem::TransferOfPayment);
    }
    match perform(app, request).await? {
        Outcome::Moved(Moved::Done(transfers)) => acted(None, &transfers, false),
        Outcome::Moved(Moved::Refused(reason)) => acted(Some(&reason), &[], false),
        Outcome::Moved(Moved::Unfit(reason)) => Err(NotMoved::of(&reason, None)),
        Outcome::Moved(Moved::Again | Moved::Held(_)) => Err(Problem::Internal),
        Outcome::Remembered(found, is_replay) => acted(found.refusal.as_ref(), &found.transfers, is_replay),
    }
}

/// The answer to an act. A transfer that has ended never changes, so the answer does not either.
fn acted(
    refusal: Option<&shared::account::moving::Reason>,
    transfers: &[Transfer],
    is_replay: bool,
) -> Result<Response, Problem> {
    let response = match (refusal, transfers) {
        (Some(reason), _) => NotMoved::of(reason, None).into_response(),
        (None, [one]) => Json(render::transfer(one)).into_response(),
        (None, _) => return Err(Problem::Internal),
    };
    Ok(with_replayed(response, is_replay))
}
