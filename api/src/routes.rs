//! All paths of the API. Every answer, on every path, has a `Request-Id`. Every error is a problem document.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::database::{self, standby};
use shared::operations::gauges;
use shared::operations::installation;
use shared::payment::store;
use shared::platform::listener::Slow;
use shared::platform::metrics;
use sqlx::PgPool;

use crate::App;
use crate::body::Fields;
use crate::correlation::identify;
use crate::fault::{Fault, Kind};
use crate::head::well_formed;
use crate::problem::Problem;
use crate::query::Params;
use crate::request::BODY_BYTES_MAX;

mod accounts;
mod admin;
mod breaks;
mod corrections;
mod dead_letters;
mod merchant;
mod payments;
mod reconciliation;
mod recovery;
mod transfers;

/// All routes, with what holds for each of them.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(payments::router())
        .merge(accounts::router())
        .merge(transfers::router())
        .merge(breaks::router())
        .merge(corrections::router())
        .merge(dead_letters::router())
        .merge(reconciliation::router())
        .merge(recovery::router())
        .route_layer(from_fn_with_state(app.pool.clone(), vouch))
        .route("/health", get(health))
        .route("/health/live", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(scrape))
        .fallback(async || Problem::NotFound("path"))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(well_formed))
        .layer(from_fn(identify))
        .with_state(app)
}

/// The time that a readiness answer takes at most, whatever the database does.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes sure that answers are true: no standby says that something does not exist which has not reached it
/// yet. And no answer rests on a commit that may not last.
async fn vouch(State(pool): State<PgPool>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let vouched = match response.status() {
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED => database::confirm_primary(&pool).await,
        status if status.is_success() && standby::is_unsure() => standby::barrier(&pool).await,
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

async fn scrape(State(app): State<App>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], gauges::scrape(&app.pool).await)
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
