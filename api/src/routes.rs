//! All paths of the API. Every answer, on every path, has a `Request-Id`. Every error is a problem document.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts as _, MatchedPath, Path, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::database::{self, standby};
use shared::operations::installation;
use shared::payment::store;
use shared::platform::listener::Slow;
use sqlx::PgPool;

use crate::body::Fields;
use crate::contract::recorder::record;
use crate::contract::{self, Caller, Serve as _, operations, reference};
use crate::correlation::identify;
use crate::cors::{self, Origins};
use crate::fault::{Fault, Kind};
use crate::head::well_formed;
use crate::limit;
use crate::packed::packed;
use crate::problem::Problem;
use crate::query::Params;
use crate::request::BODY_BYTES_MAX;
use crate::{App, Settings, secured};

mod accounts;
mod admin;
mod breaks;
mod corrections;
mod dead_letters;
mod events;
mod gateway_acts;
mod idempotency_keys;
mod merchant;
pub(crate) mod metrics;
mod payments;
mod reconciliation;
mod recovery;
mod refunds;
pub(crate) mod reviews;
mod transfers;
mod webhooks;

/// The header that says whether an answer is that of an earlier request with the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How long a request waits for another one with the same key to end.
const KEY_WAIT: Duration = Duration::from_secs(5);

/// All routes, with what holds for each of them but for [`without_paths`].
pub(crate) fn router(app: App, settings: &Settings) -> Router {
    let metrics = if settings.metrics_on_api { metrics::router(app.pool.clone()) } else { Router::new() };
    Router::new()
        .merge(payments::router())
        .merge(refunds::router())
        .merge(gateway_acts::router())
        .merge(idempotency_keys::router())
        .merge(accounts::router())
        .merge(transfers::router())
        .merge(events::router())
        .merge(webhooks::router())
        .merge(breaks::router())
        .merge(corrections::router())
        .merge(reviews::router())
        .merge(dead_letters::router())
        .merge(reconciliation::router())
        .merge(recovery::router())
        .route_layer(from_fn_with_state(app.pool.clone(), told_truly))
        .serve(&operations::GET_HEALTH, health)
        .serve(&operations::GET_LIVENESS, health)
        .serve(&operations::GET_READINESS, ready)
        .serve(&operations::GET_OPENAPI, reference::openapi)
        .serve(&operations::GET_REFERENCE, reference::page)
        .serve(&operations::GET_PROBLEM, reference::problem)
        .merge(metrics)
        .fallback(no_path)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(settings.cors_origins.clone(), around))
        .with_state(app)
}

/// What holds for every request, from the outside in.
///
/// All of it is one layer, because each layer of a router is allocated anew for each request, with all that
/// is within it.
async fn around(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    identify(request, |request| {
        secured::data(request, |request| {
            complete(request, |request| {
                cors::across(&origins, request, |request| {
                    packed(request, |request| {
                        record(request, |request| well_formed(request, |request| next.run(request)))
                    })
                })
            })
        })
    })
    .await
}

/// What holds for every request that needs a key.
async fn told_truly(State(pool): State<PgPool>, request: Request, next: Next) -> Response {
    limit::told(request, |request| vouch(&pool, request, |request| next.run(request))).await
}

/// The answer to a path that there is not. Below `/v1` only somebody with a key hears that it is none.
async fn no_path(State(app): State<App>, request: Request) -> Problem {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    if path != "/v1" && !path.starts_with("/v1/") {
        return Problem::NotFound("path");
    }
    let Some(secret) = merchant::secret(&parts) else { return Problem::Unauthorized };
    let known = app.operators.must_be_known(secret.as_bytes(), admin::asked(&parts)).await;
    known.err().unwrap_or(Problem::NotFound("path"))
}

/// The answer to a method that a path does not take: which ones it takes. Only who may ask for the path hears
/// of them.
async fn other_method(State(app): State<App>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let refusal = match contract::caller(&path) {
        Caller::Anybody => None,
        Caller::Merchant => merchant::Merchant::from_request_parts(&mut parts, &app).await.err(),
        Caller::Operator => admin::Admin::from_request_parts(&mut parts, &app).await.err(),
    };
    if let Some(problem) = refusal {
        return problem.into_response();
    }
    let allow = [(ALLOW, contract::allowed(&path))];
    match parts.method {
        Method::OPTIONS => (StatusCode::NO_CONTENT, allow).into_response(),
        _ => (allow, Problem::MethodNotAllowed).into_response(),
    }
}

/// Whether such an answer tells what is recorded.
fn tells(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// The time that a readiness answer takes at most, whatever the database does.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Completes the headers of every answer. Nobody may keep it who was not told so, for it is about money. And
/// an answer to a request with an idempotency key says whether it is that of an earlier one.
async fn complete<F: Future<Output = Response>>(
    request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let takes_a_key = request.method() == Method::POST && contract::takes_a_key(request.uri().path());
    let mut response = within(request).await;
    let is_refusal = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if takes_a_key && !is_refusal {
        headers.entry(REPLAYED).or_insert(HeaderValue::from_static("false"));
    }
    response
}

/// Every refusal for want of a key looks the same, so that none tells which paths there are. This comes last,
/// since a path adds the methods that it takes after its layers.
pub(crate) fn without_paths(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().remove(ALLOW);
    }
    response
}

/// Makes sure that answers are true: no standby says that something does not exist which has not reached it
/// yet. And no answer rests on a commit that may not last.
async fn vouch<F: Future<Output = Response>>(
    pool: &PgPool,
    request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let response = within(request).await;
    let vouched = match response.status() {
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED => database::confirm_primary(pool).await,
        status if tells(status) && standby::is_unsure() => standby::barrier(pool).await,
        _ => return response,
    };
    match vouched {
        Ok(()) => response,
        Err(why) => Problem::from(why).into_response(),
    }
}

/// Whether this process runs.
async fn health() -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

/// Whether this process can do its work: no shutdown has begun, the database answers, has the right schema,
/// and is no past that came back.
///
/// The answer also says how long the payment that waits longest has been due. That does not decide, because
/// payments are recorded durably even while no worker runs.
async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    if app.shutdown.is_cancelled() {
        return Err(Problem::NotReady("shutting down".to_owned()));
    }
    let lag = tokio::time::timeout(READY_TIMEOUT, lag_if_ready(&app.pool)).await;
    let lag = lag.map_err(|_| Problem::NotReady("the database does not answer".to_owned()))??;
    Ok(Json(json!({ "status": "ready", "queue_lag_s": lag.as_secs_f64() })))
}

/// How long the payment that waits longest has been due, where the database can do its part.
async fn lag_if_ready(pool: &PgPool) -> Result<Duration, Problem> {
    if let Some(why) = database::not_ready(pool).await {
        return Err(Problem::NotReady(why));
    }
    if let Some(why) = installation::closed(pool).await? {
        return Err(Problem::NotReady(why));
    }
    Ok(store::lag(pool).await?)
}

/// A request with a body: its headers, its query and its body, however far that came.
struct Sent {
    headers: HeaderMap,
    params: Params,
    body: Result<Bytes, BytesRejection>,
}

impl Sent {
    /// The fields of the body. A parameter in the query is a fault, as no path that takes a body knows one.
    fn fields(&self) -> Result<Fields<'_>, Problem> {
        let faults = self.params.clone().faults();
        match Fields::read(&self.headers, self.bytes()?) {
            Ok(fields) => Ok(fields.and(faults)),
            Err(problem) => Err(problem.and(faults)),
        }
    }

    fn bytes(&self) -> Result<&Bytes, Problem> {
        self.body.as_ref().map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge(BODY_BYTES_MAX),
            _ => slow(rejection).unwrap_or_else(|| {
                Fault::body(Kind::Unreadable, "the body did not arrive whole; send it again").into()
            }),
        })
    }
}

/// That the body did not come in time, where this is why there is none.
fn slow(rejection: &BytesRejection) -> Option<Problem> {
    let mut causes = std::iter::successors(std::error::Error::source(rejection), |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref::<Slow>()).map(|slow| Problem::TooSlow(slow.to_string()))
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Infallible;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Infallible> {
        let headers = std::mem::take(request.headers_mut());
        let params = Params::read(request.uri().query().unwrap_or_default());
        Ok(Self { headers, params, body: Bytes::from_request(request, state).await })
    }
}

/// The id in a path, of a `what`. An id that cannot be read is the id of nothing.
fn id<T>(path: Result<Path<T>, PathRejection>, what: &'static str) -> Result<T, Problem> {
    path.map(|Path(id)| id).map_err(|_| Problem::NotFound(what))
}
