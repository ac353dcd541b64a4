//! Accounts of a merchant's own customers: opened once per key, and read, also as they stood in the past.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::ids::{AccountId, MerchantId};
use domain::money::Currency;
use rust_decimal::Decimal;
use serde_json::json;
use shared::account::moving::Request;
use shared::account::opening::{self, NewAccount};
use shared::account::store::{self, Account, Filter, Past};
use shared::database::failure::Failure;
use shared::database::standby;
use shared::payment::transition;
use tokio::time::Instant;
use uuid::Uuid;

use super::admin::Admin;
use super::merchant::Merchant;
use super::{KEY_WAIT, REPLAYED, Sent};
use crate::body::Fields;
use crate::clean::unclean;
use crate::contract::{Serve as _, operations};
use crate::fault::Kind;
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::Params;
use crate::refusal::NotMoved;
use crate::render::account as render;
use crate::{App, request};

/// The longest owner or other id, in characters.
const NAME_MAX: usize = 255;

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::OPEN_ACCOUNT, open)
        .serve(&operations::LIST_ACCOUNTS, list)
        .serve(&operations::GET_ACCOUNT, read)
        .serve(&operations::LIST_ACCOUNT_ENTRIES, entries)
        .serve(&operations::OPEN_FUNDING_ACCOUNT, open_as_admin)
}

/// `POST /v1/accounts`: 201 and the account, the same for every try with one key.
async fn open(State(app): State<App>, Merchant(merchant): Merchant, sent: Sent) -> Result<Response, Problem> {
    let new = asked(&sent, merchant, None)?;
    opened(app, new).await
}

/// `POST /v1/merchants/{id}/accounts`: the same for that merchant, and an account may be one that owes. By
/// such accounts money comes into a merchant's book, so no merchant opens one.
async fn open_as_admin(
    State(app): State<App>,
    admin: Admin,
    id: Result<Path<MerchantId>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    // What is wrong with the body is told first, as on every path.
    let merchant = super::id(id, "merchant");
    let new = asked(&sent, merchant.as_ref().map_or(Uuid::nil().into(), |id| *id), Some(()))?;
    let merchant = merchant?;
    if !opening::is_merchant(&app.pool, merchant).await? {
        return Err(Problem::NotFound("merchant"));
    }
    let account_id = new.id;
    let response = opened(app, new).await?;
    tracing::info!(event = "account_opened_by_admin", by = admin.credential(), %merchant, %account_id, "opened");
    Ok(response)
}

/// The account that a request asks for. Only an administrator may say that it may owe.
fn asked(sent: &Sent, merchant: MerchantId, admin: Option<()>) -> Result<NewAccount, Problem> {
    let key = request::idempotency_key(&sent.headers);
    let read = || {
        let mut fields = sent.fields()?;
        let currency = fields.text("currency");
        let owner = fields.text("owner").and_then(|owner| name(&mut fields, "owner", owner));
        let external_id =
            fields.optional_text("external_id").and_then(|id| name(&mut fields, "external_id", id));
        let allow_negative = admin.is_some() && fields.flag("allow_negative");
        let read = currency.zip(owner);
        let (currency, owner) = fields.end(read)?;
        let currency = currency.parse().and_then(Currency::for_new_payment);
        Ok((currency.map_err(|why| Problem::invalid("currency", why))?, owner, external_id, allow_negative))
    };
    match (key, read()) {
        (Ok(key), Ok((currency, owner, external_id, allow_negative))) => Ok(NewAccount {
            id: AccountId::generate(),
            merchant,
            currency,
            owner,
            external_id,
            allow_negative,
            key,
            is_asked_by_admin: admin.is_some(),
        }),
        (Err(problem), Err(Problem::InvalidRequest(more))) => Err(problem.and(more)),
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    }
}

/// The merchant's own name for something, if it may be one.
fn name(fields: &mut Fields<'_>, field: &str, name: String) -> Option<String> {
    let length = name.chars().count();
    let fault = if (1..=NAME_MAX).contains(&length) {
        unclean(&name).map(|why| format!("{field} {why}"))
    } else {
        Some(format!("{field} must have 1 to {NAME_MAX} characters, it has {length}"))
    };
    match fault {
        None => Some(name),
        Some(detail) => {
            fields.fault(field, Kind::Invalid, detail);
            None
        }
    }
}

/// Opens the account, or finds the one that its key opened.
async fn opened(app: App, new: NewAccount) -> Result<Response, Problem> {
    let opening = tokio::spawn(async move {
        let deadline = Instant::now() + KEY_WAIT;
        let request = Request {
            merchant: Some(new.merchant),
            key: Some(new.taken_key()),
            object_id: new.id.uuid(),
            movements: Vec::new(),
            is_group: false,
        };
        loop {
            if let Some(found) = app.accounts.remembered(&request).await? {
                let id = AccountId::from(found.object_id);
                return shown(&app, new.merchant, id, id != new.id).await;
            }
            let waited_for = match opening::open(&app.pool, &new).await {
                Ok(true) => return shown(&app, new.merchant, new.id, false).await,
                // Another request took the key a moment ago.
                Ok(false) => Problem::KeyInProgress,
                Err(error) if opening::external_id_is_taken(&error) => return Err(Problem::ExternalIdTaken),
                // Another request has the key under way, or another session the table. The connection may
                // also have broken after the commit.
                Err(error) if is_worth_another_try(&error) => {
                    tracing::debug!(%error, "opening again");
                    if transition::key_is_held(&error) { Problem::KeyInProgress } else { error.into() }
                }
                Err(error) => return Err(error.into()),
            };
            if Instant::now() >= deadline {
                return Err(waited_for);
            }
        }
    });
    opening.await.map_err(|_| Problem::Internal)?
}

fn is_worth_another_try(error: &sqlx::Error) -> bool {
    matches!(Failure::of(error), Failure::LockedOut | Failure::Crossed | Failure::Gone)
}

/// The first answer to who opened an account, from what never changes of it.
async fn shown(app: &App, merchant: MerchantId, id: AccountId, is_replay: bool) -> Result<Response, Problem> {
    let account = store::account(&app.pool, merchant, id).await?.ok_or(Problem::Internal)?;
    let digits = account.currency.parse().map_or(0, Currency::digits);
    let zero = Decimal::new(0, digits).to_string();
    let mut response = (StatusCode::CREATED, Json(render::opened(&account, &zero))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/accounts/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    let replayed = if is_replay { "true" } else { "false" };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static(replayed));
    Ok(response)
}

/// `GET /v1/accounts/{id}`: the account as it stands. With `?at=` it is shown as it stood at that time.
async fn read(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<AccountId>, PathRejection>,
    mut params: Params,
) -> Result<Response, Problem> {
    let at = params.time("at");
    params.end()?;
    let id = account_id(id)?;
    let account = find(&app, merchant, id).await?;
    let Some(at) = at else {
        told_of(&app, std::iter::once(&account)).await?;
        return Ok(Json(render::account(&account)).into_response());
    };
    let past = store::balance_at(&app.pool, merchant, id, at).await.map_err(|error| {
        if Failure::of(&error) == Failure::LockedOut { Problem::AccountBusy(id) } else { error.into() }
    })?;
    match past {
        Some(Past::Known(balance)) => {
            standby::before_telling(&app.pool, balance.at.unwrap_or(account.created_at)).await?;
            Ok(Json(render::balance(&account, &balance)).into_response())
        }
        Some(Past::Future) => {
            Err(crate::fault::Fault::query("at", Kind::Invalid, "at must not be in the future").into())
        }
        Some(Past::Unborn) | None => Err(no_such_account(id)),
    }
}

async fn find(app: &App, merchant: MerchantId, id: AccountId) -> Result<Account, Problem> {
    store::account(&app.pool, merchant, id).await?.ok_or_else(|| no_such_account(id))
}

fn account_id(path: Result<Path<AccountId>, PathRejection>) -> Result<AccountId, Problem> {
    super::id(path, "account")
}

fn no_such_account(id: AccountId) -> Problem {
    Problem::Refused(NotMoved::no_account(id))
}

/// Waits until what these accounts show may be told.
async fn told_of<'a>(app: &App, accounts: impl Iterator<Item = &'a Account>) -> Result<(), Problem> {
    let newest = accounts.map(|it| it.balance.at.unwrap_or(it.created_at)).max();
    if let Some(newest) = newest {
        standby::before_telling(&app.pool, newest).await?;
    }
    Ok(())
}

/// `GET /v1/accounts`: the merchant's accounts that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    mut params: Params,
) -> Result<Response, Problem> {
    let owner = params.text("owner");
    let currency = params.text("currency");
    let external_id = params.text("external_id");
    let pages = Pages::of(&mut params, json!(["accounts", merchant, owner, currency, external_id]));
    params.end()?;
    let filter =
        Filter { owner, currency, external_id, starting_after: pages.after, limit: pages.one_more() };
    let found = store::list(&app.pool, merchant, &filter).await?;
    told_of(&app, found.iter()).await?;
    Ok(Json(pages.page(&found, |it| AccountId::from(it.id), render::account)).into_response())
}

/// `GET /v1/accounts/{id}/entries`: each change of the account, oldest first. A page begins after the version
/// that `starting_after` names.
async fn entries(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<AccountId>, PathRejection>,
    mut params: Params,
) -> Result<Response, Problem> {
    let named = id.as_ref().ok().map(|Path(id)| *id);
    let pages: Pages<i64> = Pages::of(&mut params, json!(["entries", merchant, named]));
    params.end()?;
    let id = account_id(id)?;
    let account = find(&app, merchant, id).await?;
    let found = store::entries(&app.pool, id, pages.after.unwrap_or(0), pages.one_more()).await?;
    let newest = found.iter().map(|it| it.at).max().unwrap_or(account.created_at);
    standby::before_telling(&app.pool, newest).await?;
    let shown = pages.page(&found, |entry| entry.version, render::entry);
    Ok(Json(shown).into_response())
}
