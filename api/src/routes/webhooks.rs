//! Webhook endpoints: made once per key, shown, disabled and recovered, and what was sent to them.

use std::collections::BTreeSet;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::ids::{EndpointId, MerchantId};
use domain::public_event::PublicEventType;
use serde_json::json;
use shared::publish::endpoints::{self, Endpoint, Made, MakeError, NewEndpoint};
use shared::publish::seal::{SealingKeys, Secret};

use super::merchant::Merchant;
use super::{REPLAYED, Sent};
use crate::body::Fields;
use crate::clean::unclean;
use crate::contract::{Serve as _, operations};
use crate::fault::Kind;
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::render::webhook as render;
use crate::{App, body, query, request};

/// How long the secret before still signs, in seconds: a day.
const OVERLAP_S: i64 = 24 * 3_600;

const DESCRIPTION_MAX: usize = 1_000;

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::CREATE_WEBHOOK_ENDPOINT, create)
        .serve(&operations::LIST_WEBHOOK_ENDPOINTS, list)
        .serve(&operations::GET_WEBHOOK_ENDPOINT, read)
        .serve(&operations::LIST_WEBHOOK_ATTEMPTS, attempts)
        .serve(&operations::ROTATE_WEBHOOK_SECRET, rotate)
        .serve(&operations::DISABLE_WEBHOOK_ENDPOINT, disable)
        .serve(&operations::RECOVER_WEBHOOK_ENDPOINT, recover)
        .serve(&operations::TEST_WEBHOOK_ENDPOINT, test)
}

/// `POST /v1/webhook_endpoints`: 201 and the endpoint with its secret, the same for every try with one key.
async fn create(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    sent: Sent,
) -> Result<Response, Problem> {
    let key = request::idempotency_key(&sent.headers);
    let read = || {
        let mut fields = sent.fields()?;
        let url = fields.text("url").and_then(|url| match app.webhook_rules.read(&url) {
            Ok(_) => Some(url),
            Err(why) => {
                fields.fault("url", Kind::Invalid, format!("nothing is sent to url: {why}"));
                None
            }
        });
        let types = fields.optional("types", types);
        let description = description(&mut fields);
        fields.end(url.map(|url| (url, types.flatten(), description)))
    };
    let (key, (url, types, description)) = match (key, read()) {
        (Ok(key), Ok(read)) => (key, read),
        (Err(problem), Err(Problem::InvalidRequest(more))) => return Err(problem.and(more)),
        (Err(problem), _) | (_, Err(problem)) => return Err(problem),
    };
    let new = NewEndpoint { merchant, key: key.as_str().to_owned(), url, types, description };
    let keys = keys(&app)?;
    // Not undone where the client goes away: its repeat finds what was made.
    let made = endpoints::make(&app.pool, &keys, &new).await;
    made_known(made, StatusCode::CREATED)
}

/// The types that an endpoint wants; none where it wants all.
fn types(raw: &str) -> Result<Option<Vec<String>>, (Kind, String)> {
    let words = PublicEventType::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
    let wrong = || (Kind::Invalid, format!("types must be a list of these, or of \"*\" for all: {words}"));
    let named: Vec<String> = serde_json::from_str(raw).map_err(|_| wrong())?;
    if named.is_empty() || named.iter().any(|word| word != "*" && word.parse::<PublicEventType>().is_err()) {
        return Err(wrong());
    }
    let all = named.iter().any(|word| word == "*");
    Ok((!all).then(|| named.into_iter().collect::<BTreeSet<_>>().into_iter().collect()))
}

fn description(fields: &mut Fields<'_>) -> Option<String> {
    fields.optional("description", |raw| {
        let text = body::text("description", raw)?;
        let is_long = text.chars().count() > DESCRIPTION_MAX;
        let fault = unclean(&text).map(|why| format!("description {why}"));
        match fault.or(is_long.then(|| format!("description must have at most {DESCRIPTION_MAX} characters")))
        {
            Some(detail) => Err((Kind::Invalid, detail)),
            None => Ok(text),
        }
    })
}

fn keys(app: &App) -> Result<SealingKeys, Problem> {
    app.webhook_keys.clone().ok_or(Problem::WebhooksOff)
}

/// The answer to whoever made something, or repeats the request.
fn made_known(made: Result<Made<Endpoint>, MakeError>, status: StatusCode) -> Result<Response, Problem> {
    match made {
        Ok(Made::Made(endpoint, secret, is_replay)) => Ok(with_secret(&endpoint, &secret, is_replay, status)),
        Ok(Made::KeyReused) => Err(Problem::KeyOfAnother),
        Ok(Made::TooMany) => Err(Problem::TooManyEndpoints(endpoints::ENDPOINTS_MAX)),
        Ok(Made::NotFound) => Err(no_endpoint()),
        Err(MakeError::Database(error)) => Err(error.into()),
        Err(MakeError::Sealed(why)) => {
            tracing::error!(%why, "a secret of an endpoint cannot be used");
            Err(Problem::WebhooksOff)
        }
    }
}

fn with_secret(endpoint: &Endpoint, secret: &Secret, is_replay: bool, status: StatusCode) -> Response {
    let body = render::made(endpoint, secret.shown());
    let replayed = if is_replay { "true" } else { "false" };
    (status, [(REPLAYED, replayed)], Json(body)).into_response()
}

const fn no_endpoint() -> Problem {
    Problem::NotFound("webhook endpoint")
}

async fn list(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    mut params: Params,
) -> Result<Response, Problem> {
    let pages: Pages<EndpointId> = Pages::of(&mut params, json!(["webhook_endpoints", merchant]));
    params.end()?;
    let found = endpoints::list(&app.pool, merchant, None, pages.after, pages.one_more()).await?;
    Ok(Json(pages.page(&found, |it| EndpointId::from(it.id), render::endpoint)).into_response())
}

async fn read(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<EndpointId>, PathRejection>,
    _: NoParams,
) -> Result<Response, Problem> {
    shown(&app, merchant, endpoint_id(id)?).await
}

fn endpoint_id(path: Result<Path<EndpointId>, PathRejection>) -> Result<EndpointId, Problem> {
    super::id(path, "webhook endpoint")
}

async fn shown(app: &App, merchant: MerchantId, id: EndpointId) -> Result<Response, Problem> {
    let endpoint = endpoints::one(&app.pool, merchant, id).await?.ok_or_else(no_endpoint)?;
    Ok(Json(render::endpoint(&endpoint)).into_response())
}

/// `GET …/attempts`: what was sent to the endpoint and what it answered, newest first.
async fn attempts(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<EndpointId>, PathRejection>,
    mut params: Params,
) -> Result<Response, Problem> {
    let named = id.as_ref().ok().map(|Path(id)| *id);
    let pages: Pages<i64> = Pages::of(&mut params, json!(["webhook_attempts", named]));
    params.end()?;
    let id = endpoint_id(id)?;
    endpoints::one(&app.pool, merchant, id).await?.ok_or_else(no_endpoint)?;
    let found = endpoints::tries(&app.pool, id, pages.after, pages.one_more()).await?;
    Ok(Json(pages.page(&found, |it| it.id, render::attempt)).into_response())
}

/// `POST …/rotate_secret`: 200 and the endpoint with another secret. The one before signs for a day more.
async fn rotate(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<EndpointId>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    sent.params.clone().end()?;
    let key = request::idempotency_key(&sent.headers)?;
    let id = endpoint_id(id)?;
    let made = endpoints::rotate(&app.pool, &keys(&app)?, (merchant, id), key.as_str(), OVERLAP_S).await;
    made_known(made, StatusCode::OK)
}

/// `POST …/disable`: nothing is sent any more until the endpoint is recovered. Its events wait.
async fn disable(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<EndpointId>, PathRejection>,
    _: NoParams,
) -> Result<Response, Problem> {
    let id = endpoint_id(id)?;
    endpoints::disable(&app.pool, merchant, id).await?;
    shown(&app, merchant, id).await
}

/// `POST …/recover`: the endpoint is enabled, and what was given up is sent again, since a time or at all.
async fn recover(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<EndpointId>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    let mut fields = sent.fields()?;
    let since = fields.optional_parsed("since", "a time by RFC 3339", query::time);
    fields.end(Some(()))?;
    let id = endpoint_id(id)?;
    endpoints::recover(&app.pool, merchant, id, since).await?;
    shown(&app, merchant, id).await
}

/// `POST …/test`: an event is made that this endpoint alone is sent.
async fn test(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<EndpointId>, PathRejection>,
    _: NoParams,
) -> Result<Response, Problem> {
    let id = endpoint_id(id)?;
    if !endpoints::test(&app.pool, merchant, id).await? {
        return Err(no_endpoint());
    }
    Ok((StatusCode::ACCEPTED, shown(&app, merchant, id).await?).into_response())
}
