//! Payments: recorded once per key, and read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use chrono::{DateTime, Datelike as _, Utc};
use domain::idempotency::{self, Key, UncheckedRequest};
use domain::ids::PaymentId;
use domain::money::Money;
use domain::request::{Accepted, Remembered};
use domain::status::PaymentStatus;
use shared::database::batch::Refused;
use shared::database::failure::Failure;
use shared::database::{self, standby};
use shared::merchant::auth::Presented;
use shared::payment::Payment;
use shared::payment::store::{self, Asked, Filter};
use shared::payment::transition::{self, NewPayment, Recorded};
use shared::platform::metrics::{self, Accept};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Sent;
use super::merchant::{ApiKey, Merchant, caller};
use crate::correlation::CorrelationId;
use crate::problem::Problem;
use crate::query::Params;
use crate::{App, render, request};

/// The header that in chaos mode makes the API record the payment, and fail before the answer.
const SIMULATE_CHAOS: HeaderName = HeaderName::from_static("x-simulate-chaos");

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How long a request waits for another one with the same key to end.
const KEY_WAIT: Duration = Duration::from_secs(5);

const WAIT_MAX: u64 = 60;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/payments", post(create).get(list))
        .route("/v1/payments/{id}", get(read))
        .route("/v1/payments/{id}/events", get(events))
}

/// `POST /v1/payments`: 202 and the payment, the same for every try with one key.
async fn create(
    State(app): State<App>,
    ApiKey(api_key): ApiKey,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    sent: Sent,
) -> Result<Response, Problem> {
    let (key, unchecked) = match asked(&sent) {
        Ok(asked) => asked,
        Err(problem) => return Err(told(&app, api_key, problem).await),
    };
    // A parameter is against today's rules alone: once it passed unread.
    let request = match checked_with(sent.params, &unchecked) {
        Ok(money) => request::checked(unchecked, money),
        Err(problem) => return recorded_before(&app, api_key, &key, &unchecked, problem).await,
    };
    let payment = NewPayment {
        id: PaymentId::generate(),
        api_key,
        key,
        fingerprint: idempotency::fingerprint(&request),
        request,
        correlation_id,
    };
    let fails_afterwards =
        app.chaos_mode && sent.headers.get(SIMULATE_CHAOS).is_some_and(|value| value == "true");
    // A task of its own: a client that hangs up drops this handler, and must not leave a statement half-way.
    let accepted = tokio::spawn(accept(app, payment).in_current_span()).await;
    let response = accepted.unwrap_or(Err(Problem::Internal))?;
    if fails_afterwards && response.headers().get(REPLAYED).is_some_and(|replayed| replayed == "false") {
        tracing::warn!("simulating a failure after the payment was recorded");
        return Err(Problem::Internal);
    }
    Ok(response)
}

/// The key and the request, if both can be read. If not, the problem tells of both, and of the query.
fn asked(sent: &Sent) -> Result<(Key, UncheckedRequest), Problem> {
    let key = request::idempotency_key(&sent.headers);
    let request = sent.bytes().and_then(|body| request::read(&sent.headers, body));
    match (key, request) {
        (Ok(key), Ok(request)) => Ok((key, request)),
        (Err(problem), Err(Problem::InvalidRequest(more))) => Err(problem.and(more)),
        (Err(problem), _) | (_, Err(problem)) => Err(problem.and(sent.params.clone().faults())),
    }
}

/// Checks the request and its query against today's rules.
fn checked_with(params: Params, request: &UncheckedRequest) -> Result<Money, Problem> {
    let faults = params.faults();
    let money = request::check(request).map_err(|problem| problem.and(faults.clone()))?;
    Problem::unless(faults).map(|()| money)
}

/// The answer to a request that today's rules refuse with this problem. The rules are for new payments. Where
/// the key was used before, the request is compared with what the key made, under the rules of then.
async fn recorded_before(
    app: &App,
    api_key: Presented,
    key: &Key,
    request: &UncheckedRequest,
    problem: Problem,
) -> Result<Response, Problem> {
    let merchant = caller(app, api_key).await?.merchant;
    match store::remembered(&app.pool, merchant, &request.customer_id, key).await? {
        Some(remembered) => {
            standby::before_telling(&app.pool, remembered.accepted.created_at).await?;
            replay(&remembered, idempotency::differing_fields(request, &remembered.accepted))
        }
        None => Err(problem),
    }
}

/// Records the payment, or finds the one that its key made.
async fn accept(app: App, payment: NewPayment) -> Result<Response, Problem> {
    let deadline = Instant::now() + KEY_WAIT;
    let mut alone = false;
    let mut waited_for = Problem::KeyInProgress;
    while Instant::now() < deadline {
        match record(&app, &payment, alone).await {
            Ok(Some(Recorded::New(accepted))) => {
                app.usage.note(&payment.api_key);
                return Ok(created(&accepted));
            }
            Ok(Some(Recorded::Before(remembered))) => {
                app.usage.note(&payment.api_key);
                standby::before_telling(&app.pool, remembered.accepted.created_at).await?;
                let differing = idempotency::differences(&payment.request, payment.fingerprint, &remembered);
                return replay(&remembered, differing);
            }
            // The statement, asked again, sees which payment has the key.
            Ok(None) => drop(caller(&app, payment.api_key).await?),
            // Another request holds the key, or another session a table that all requests need, and has not
            // ended within `lock_timeout`. Or two batches crossed. Nothing was recorded.
            Err(Refused::Failed(error)) if is_worth_another_try(&error) => {
                let key_is_held = transition::key_is_held(&error);
                tracing::debug!(%error, key_is_held, "accepting again");
                waited_for = if key_is_held { Problem::KeyInProgress } else { Problem::DatabaseBusy };
                alone = !database::is_table_locked(&error);
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    if waited_for == Problem::DatabaseBusy {
        tracing::error!("waited in vain for what another session of the database has locked");
    }
    Err(waited_for)
}

/// Records the payment with others, or alone. None where a concurrent request took the key, or where the API
/// key opens nothing.
async fn record(
    app: &App,
    payment: &NewPayment,
    alone: bool,
) -> Result<Option<Recorded>, Refused<sqlx::Error>> {
    if !alone {
        return app.accepts.submit(payment.clone()).await;
    }
    // A request that was held up once would hold up the others of its batch.
    let accepted = transition::accept(&app.pool, std::slice::from_ref(payment)).await;
    accepted
        .map(|mut recorded| recorded.remove(&payment.id))
        .map_err(|error| Refused::Failed(Arc::new(error)))
}

/// The answer to the first request of a key.
fn created(accepted: &Accepted) -> Response {
    metrics::accepted(Accept::Created);
    let payment_id = PaymentId::from(accepted.id);
    tracing::info!(event = "created", %payment_id, status = "pending", "accepted");
    answer(accepted, false)
}

fn is_worth_another_try(error: &sqlx::Error) -> bool {
    matches!(Failure::of(error), Failure::LockedOut | Failure::Crossed)
}

/// The first answer once more, if this is the same request. One that differs in a field is refused, with the
/// names of these fields.
fn replay(remembered: &Remembered, differing: Vec<&'static str>) -> Result<Response, Problem> {
    let payment_id = PaymentId::from(remembered.accepted.id);
    if !differing.is_empty() {
        metrics::accepted(Accept::Refused);
        tracing::info!(%payment_id, "an idempotency key came with another request");
        return Err(Problem::KeyReused { fields: differing, payment_id: payment_id.to_string() });
    }
    if remembered.renderer != idempotency::RENDERER {
        tracing::error!(
            renderer = remembered.renderer,
            "no such renderer: this program is older than the key"
        );
        return Err(Problem::Internal);
    }
    metrics::accepted(Accept::Replayed);
    tracing::debug!(%payment_id, "replayed");
    Ok(answer(&remembered.accepted, true))
}

fn answer(accepted: &Accepted, is_replay: bool) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(render::accepted(accepted))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/payments/{}", PaymentId::from(accepted.id))) {
        response.headers_mut().insert(LOCATION, location);
    }
    let replayed = if is_replay { "true" } else { "false" };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static(replayed));
    debug_assert!(response.headers().contains_key(CONTENT_TYPE));
    response
}

/// `GET /v1/payments/{id}`: the payment as it stands. With `?wait=seconds` the answer comes once it has
/// ended or is held, or the time is over.
async fn read(
    State(app): State<App>,
    ApiKey(api_key): ApiKey,
    id: Result<Path<PaymentId>, PathRejection>,
    params: Params,
) -> Result<Response, Problem> {
    let (id, wait) = match asked_for(id, params) {
        Ok(asked) => asked,
        Err(problem) => return Err(told(&app, api_key, problem).await),
    };
    let mut payment = find(&app, id, api_key).await?;
    let is_moving = payment.terminal_at.is_none() && payment.held_reason.is_none();
    if let (true, Some(secs)) = (is_moving, wait) {
        tokio::select! {
            () = app.waiters.at_rest(id) => {}
            () = tokio::time::sleep(Duration::from_secs(secs)) => {}
            () = app.shutdown.cancelled() => {}
        }
        payment = find(&app, id, api_key).await?;
    }
    Ok(Json(render::payment(&payment)).into_response())
}

fn asked_for(
    id: Result<Path<PaymentId>, PathRejection>,
    mut params: Params,
) -> Result<(PaymentId, Option<u64>), Problem> {
    let wants = format!("a whole number of seconds from 0 to {WAIT_MAX}");
    let wait = params.parsed("wait", &wants, |text| text.parse().ok().filter(|secs| *secs <= WAIT_MAX));
    params.end()?;
    Ok((super::id(id, "payment")?, wait))
}

async fn find(app: &App, id: PaymentId, api_key: Presented) -> Result<Payment, Problem> {
    match app.reads.submit(Asked { id, api_key }).await? {
        Some(payment) => {
            app.usage.note(&api_key);
            standby::before_telling(&app.pool, payment.updated_at).await?;
            Ok(payment)
        }
        None => Err(told(app, api_key, Problem::NotFound("payment")).await),
    }
}

/// Waits until what was written at these times may be told: no commit that may not last is told of.
async fn told_of(app: &App, times: impl Iterator<Item = DateTime<Utc>>) -> Result<(), Problem> {
    if let Some(newest) = times.max() {
        standby::before_telling(&app.pool, newest).await?;
    }
    Ok(())
}

/// The problem that the caller is told: a merchant hears what is wrong with the request, anybody else only
/// that the key is not valid.
async fn told(app: &App, api_key: Presented, problem: Problem) -> Problem {
    caller(app, api_key).await.err().unwrap_or(problem)
}

/// `GET /v1/payments/{id}/events`: the payment's history, oldest first. It is the whole one, unless `limit`
/// says how many events a page has. A page begins after the version that `starting_after` names.
async fn events(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<PaymentId>, PathRejection>,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = params.limit().and_then(|limit| usize::try_from(limit).ok());
    let after = params.parsed("starting_after", "the version of an event, a whole number", |version| {
        version.parse::<i32>().ok()
    });
    params.end()?;
    let events = store::events(&app.pool, merchant, super::id(id, "payment")?).await?;
    if events.is_empty() {
        return Err(Problem::NotFound("payment"));
    }
    told_of(&app, events.iter().map(|event| event.at)).await?;
    let page = events.iter().filter(|event| after.is_none_or(|after| event.version > after));
    let rest = page.clone().count();
    let rows = limit.unwrap_or(rest);
    Ok(Json(render::list(page.take(rows).map(render::event).collect(), rest > rows)).into_response())
}

/// What `created_after` must be. RFC 3339 has years of four digits, and Postgres none that are much older.
const TIME: &str = "a time by RFC 3339 with a year from 0000 to 9999, such as 2026-01-31T12:00:00Z; a + in it is written %2B";

/// `GET /v1/payments`: the merchant's payments that the query asks for, newest first.
async fn list(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    mut params: Params,
) -> Result<Response, Problem> {
    let statuses: Vec<&str> = PaymentStatus::ALL.iter().map(|status| status.as_str()).collect();
    let status = params.word("status", &statuses);
    let customer_id = params.text("customer_id");
    let created_after = params.parsed("created_after", TIME, |text| {
        text.parse().ok().filter(|at: &DateTime<Utc>| (0..=9999).contains(&at.year()))
    });
    let starting_after =
        params.parsed("starting_after", "the id of a payment: pay_ and 32 lower-case hex digits", |id| {
            id.parse().ok()
        });
    let (limit, page) = params.page();
    params.end()?;
    let filter = Filter {
        status: status.and_then(|status| status.parse().ok()),
        customer_id,
        created_after,
        starting_after,
        // One row more than asked for tells whether there are more.
        limit: limit + 1,
    };
    let mut payments = store::list(&app.pool, merchant, &filter).await?;
    let has_more = payments.len() > page;
    payments.truncate(page);
    told_of(&app, payments.iter().map(|payment| payment.updated_at)).await?;
    Ok(Json(render::list(payments.iter().map(render::payment).collect(), has_more)).into_response())
}
