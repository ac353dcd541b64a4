//! Payments: recorded once per key, and read. Their lists are in `list`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, ETAG, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use chrono::{DateTime, Utc};
use domain::idempotency::{self, Key, UncheckedRequest};
use domain::ids::{AccountId, PaymentId};
use domain::money::Money;
use domain::request::{Accepted, First, Remembered};
use serde_json::json;
use shared::database::batch::Refused;
use shared::database::failure::Failure;
use shared::database::{self, standby};
use shared::merchant::auth::Presented;
use shared::payment::Payment;
use shared::payment::store::{self, Asked};
use shared::payment::transition::{self, NewPayment, Recorded};
use shared::platform::metrics::{self, Accept};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::merchant::{ApiKey, Merchant, caller};
use super::{KEY_WAIT, REPLAYED, Sent};
use crate::contract::{Serve as _, operations};
use crate::correlation::CorrelationId;
use crate::etag::{Known, Tag};
use crate::pages::Pages;
use crate::prefer::PREFERENCE_APPLIED;
use crate::problem::Problem;
use crate::query::Params;
use crate::refusal::NotMoved;
use crate::{App, prefer, render, request};

mod balance;
mod list;

/// The header that in chaos mode makes the API record the payment, and fail before the answer.
const SIMULATE_CHAOS: HeaderName = HeaderName::from_static("x-simulate-chaos");

/// The path at which payments are made and listed.
pub(super) const PATH: &str = "/v1/payments";

const WAIT_MAX: u64 = 60;

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::CREATE_PAYMENT, create)
        .serve(&operations::LIST_PAYMENTS, list::list)
        .serve(&operations::GET_PAYMENT, read)
        .serve(&operations::LIST_PAYMENT_EVENTS, events)
}

/// `POST /v1/payments`: 202 and the payment, the same for every try with one key; 201 if an account paid
/// it. A client that prefers to wait gets the payment as it stands, once it has ended or waits for a person:
/// 201, and 200 for a repeat.
async fn create(
    State(app): State<App>,
    ApiKey { key: api_key, slot }: ApiKey,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    sent: Sent,
) -> Result<Response, Problem> {
    let wait = prefer::wait(&sent.headers);
    let fails_afterwards =
        app.chaos_mode && sent.headers.get(SIMULATE_CHAOS).is_some_and(|value| value == "true");
    let told = record_once(&app, api_key, correlation_id, sent).await?;
    if fails_afterwards && !told.is_replay {
        tracing::warn!("simulating a failure after the payment was recorded");
        return Err(Problem::Internal);
    }
    // A wait for which there is no place is a preference that cannot be kept.
    if let Some(secs) = wait
        && matches!(told.accepted.first, First::Pending | First::InReview | First::Denied)
        && app.limit.wait(&slot).is_ok()
        && let Some(payment) = at_rest_within(&app, told.payment_id(), api_key, secs).await
    {
        return Ok(told.at_rest(&payment, secs));
    }
    told.first_answer()
}

/// Records the payment, or finds the one that its key made before.
async fn record_once(
    app: &App,
    api_key: Presented,
    correlation_id: String,
    sent: Sent,
) -> Result<Told, Problem> {
    let (key, unchecked) = match asked(&sent) {
        Ok(asked) => asked,
        Err(problem) => return Err(told(app, api_key, problem).await),
    };
    // A parameter is against today's rules alone: once it passed unread.
    let request = match checked_with(sent.params, &unchecked) {
        Ok(money) => request::checked(unchecked, money),
        Err(problem) => return recorded_before(app, api_key, &key, &unchecked, problem).await,
    };
    let payment = NewPayment {
        id: PaymentId::generate(),
        api_key,
        key,
        fingerprint: idempotency::fingerprint(&request),
        request,
        correlation_id,
    };
    // A task of its own: a client that hangs up drops this handler, and must not leave a statement half-way.
    let app = app.clone();
    let accepted = match payment.request.payment_method.parse::<AccountId>() {
        Ok(_) => tokio::spawn(balance::pay(app, payment).in_current_span()).await,
        Err(_) => tokio::spawn(accept(app, payment).in_current_span()).await,
    };
    accepted.unwrap_or(Err(Problem::Internal))
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
) -> Result<Told, Problem> {
    let merchant = caller(app, api_key).await?.merchant;
    match store::remembered(&app.pool, merchant, &request.customer_id, key).await? {
        Some(remembered) => {
            standby::before_telling(&app.pool, remembered.accepted.created_at).await?;
            let differing = idempotency::differing_fields(request, &remembered.accepted);
            replay(remembered, differing)
        }
        None => Err(problem),
    }
}

/// Records the payment, or finds the one that its key made.
async fn accept(app: App, payment: NewPayment) -> Result<Told, Problem> {
    let deadline = Instant::now() + KEY_WAIT;
    let mut alone = false;
    let mut waited_for = Problem::KeyInProgress;
    while Instant::now() < deadline {
        match record(&app, &payment, alone).await {
            Ok(Some(Recorded::New(accepted))) => {
                app.usage.note(&payment.api_key);
                return Ok(created(accepted));
            }
            Ok(Some(Recorded::Before(remembered))) => {
                app.usage.note(&payment.api_key);
                standby::before_telling(&app.pool, remembered.accepted.created_at).await?;
                let differing = idempotency::differences(&payment.request, payment.fingerprint, &remembered);
                return replay(remembered, differing);
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

/// What the first request of a key is told.
fn created(accepted: Accepted) -> Told {
    metrics::accepted(Accept::Created);
    let payment_id = PaymentId::from(accepted.id);
    tracing::info!(event = "created", %payment_id, status = render::status_at_first(&accepted.first), "accepted");
    Told { accepted, renderer: idempotency::RENDERER, is_replay: false }
}

fn is_worth_another_try(error: &sqlx::Error) -> bool {
    matches!(Failure::of(error), Failure::LockedOut | Failure::Crossed)
}

/// The first answer once more, if this is the same request. One that differs in a field is refused, with the
/// names of these fields.
fn replay(remembered: Remembered, differing: Vec<&'static str>) -> Result<Told, Problem> {
    let payment_id = PaymentId::from(remembered.accepted.id);
    if !differing.is_empty() {
        metrics::accepted(Accept::Refused);
        tracing::info!(%payment_id, "an idempotency key came with another request");
        return Err(Problem::KeyReused { fields: differing, payment_id: payment_id.to_string() });
    }
    metrics::accepted(Accept::Replayed);
    tracing::debug!(%payment_id, "replayed");
    Ok(Told { accepted: remembered.accepted, renderer: remembered.renderer, is_replay: true })
}

/// What a client is told of the payment that its key stands for.
struct Told {
    accepted: Accepted,
    /// The number of the renderer of its first answer.
    renderer: i16,
    /// Whether an earlier request had made the payment.
    is_replay: bool,
}

impl Told {
    fn payment_id(&self) -> PaymentId {
        self.accepted.id.into()
    }

    /// The answer that is the same for every try.
    fn first_answer(&self) -> Result<Response, Problem> {
        let shown = render::first_answer(&self.accepted, self.renderer)?;
        let answer = match &self.accepted.first {
            First::Pending | First::InReview | First::Denied => {
                (StatusCode::ACCEPTED, Json(shown)).into_response()
            }
            First::Paid => (StatusCode::CREATED, Json(shown)).into_response(),
            First::Short(available) => NotMoved::short_of(available).into_response(),
        };
        Ok(self.about_it(answer))
    }

    /// The answer to a client that has waited until the payment was at rest.
    fn at_rest(&self, payment: &Payment, secs: u64) -> Response {
        let status = if self.is_replay { StatusCode::OK } else { StatusCode::CREATED };
        let mut answer = (status, Json(render::payment(payment))).into_response();
        let headers = [(ETAG, Tag::of(payment).header()), (PREFERENCE_APPLIED, prefer::applied(secs))];
        answer.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
        self.about_it(answer)
    }

    /// Says where the payment is, and whether it was there before.
    fn about_it(&self, mut answer: Response) -> Response {
        if let Ok(location) = HeaderValue::from_str(&format!("{PATH}/{}", self.payment_id())) {
            answer.headers_mut().insert(LOCATION, location);
        }
        let replayed = if self.is_replay { "true" } else { "false" };
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static(replayed));
        answer
    }
}

/// The payment, if it ends or is held within this time. None as well where that cannot be read: it is
/// recorded, which can be told all the same.
async fn at_rest_within(app: &App, id: PaymentId, api_key: Presented, secs: u64) -> Option<Payment> {
    app.waiters.at_rest_within(id, Duration::from_secs(secs), &app.shutdown).await;
    find(app, id, api_key).await.ok().filter(|payment| !is_moving(payment))
}

fn is_moving(payment: &Payment) -> bool {
    payment.terminal_at.is_none() && payment.held_reason.is_none() && payment.status != "in_review"
}

/// `GET /v1/payments/{id}`: the payment as it stands. With `?wait=seconds` the answer comes once it has
/// ended or is held, or the time is over. A client that knows what there is to show then gets 304.
async fn read(
    State(app): State<App>,
    ApiKey { key: api_key, slot }: ApiKey,
    known: Known,
    id: Result<Path<PaymentId>, PathRejection>,
    params: Params,
) -> Result<Response, Problem> {
    let (id, wait) = match asked_for(id, params) {
        Ok(asked) => asked,
        Err(problem) => return Err(told(&app, api_key, problem).await),
    };
    let mut payment = find(&app, id, api_key).await?;
    if let (true, Some(secs)) = (is_moving(&payment), wait) {
        app.limit.wait(&slot)?;
        app.waiters.at_rest_within(id, Duration::from_secs(secs), &app.shutdown).await;
        payment = find(&app, id, api_key).await?;
    }
    let tag = Tag::of(&payment);
    let mut answer = match known.has(&tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(render::payment(&payment)).into_response(),
    };
    // Kept by its client alone, who asks before each use whether it still holds.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    answer.headers_mut().extend(tag.header().map(|tag| (ETAG, tag)));
    Ok(answer)
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
    let list = json!(["events", id.as_ref().ok().map(|Path(id)| id.to_string())]);
    let pages = Pages::of_whole(&mut params, list);
    params.end()?;
    let events = store::events(&app.pool, merchant, super::id(id, "payment")?).await?;
    if events.is_empty() {
        return Err(Problem::NotFound("payment"));
    }
    told_of(&app, events.iter().map(|event| event.at)).await?;
    let rest: Vec<_> =
        events.iter().filter(|event| pages.after.is_none_or(|after| event.version > after)).collect();
    Ok(Json(pages.page(&rest, |event| event.version, |event| render::event(event))).into_response())
}
