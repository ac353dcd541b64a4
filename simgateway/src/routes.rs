//! The HTTP side: paths, what a caller may send, how a reply leaves.
//!
//! Invariant: a malformed request is refused here with a 4xx and leaves no trace. Every call that is taken up
//! goes through the writer, so it is in the journal before its answer leaves.

mod parse;

mod render;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, body::Bytes};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::act::ActRequest;
use crate::batch::Call;
use crate::connection::{Ending, Wire};
use crate::faults::{Fate, FaultSwitch, Faults};
use crate::journal;
use crate::listing;
use crate::reply::{Answer, Failure, Refusal, Reply};
use crate::request::Request;
use crate::settings::ApiKey;
use crate::writer::Desk;

use parse::{ChargesQuery, JournalQuery, RefundsQuery, Wanted};
use render::{ChargesPage, JournalPage, Problem};

const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) desk: Desk,
    /// The pool reads the journal and the list of charges, and never writes.
    pub(crate) pool: PgPool,
    /// The name of the account that all charges go to.
    pub(crate) account: Arc<str>,
    /// What every caller must have; none lets everybody in.
    pub(crate) api_key: Option<ApiKey>,
    pub(crate) switch: Arc<Mutex<FaultSwitch>>,
    /// Whether faults may end the process.
    pub(crate) is_alone: bool,
    /// Ends the waits of slow answers.
    pub(crate) shutdown: CancellationToken,
}

/// All paths, and what holds for each of them.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/charges", post(post_charge).get(get_charges))
        .route("/charges/{id}", get(get_charge))
        .route("/voids", post(post_void))
        .route("/refunds", post(post_refund).get(get_refunds))
        .route("/dashboard/refunds", post(post_refund_by_hand))
        .route("/dashboard/returns", post(post_return))
        .route("/dashboard/disputes", post(post_dispute))
        .route("/dashboard/disputes/{id}/won", post(post_won))
        .route("/dashboard/disputes/{id}/lost", post(post_lost))
        .route("/journal", get(get_journal))
        .route("/account", get(get_account))
        .route("/faults", get(get_faults).put(put_faults))
        .layer(from_fn_with_state(app.clone(), require_key))
        .route("/health", get(get_health))
        .fallback(async || Problem::from(Refusal::NotFound))
        .method_not_allowed_fallback(async || Problem::from(Refusal::MethodNotAllowed))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Lets nobody in who has not the key, where there is one.
async fn require_key(State(app): State<App>, request: axum::extract::Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    match &app.api_key {
        Some(key) if !key.admits(given) => Problem::from(Refusal::Unauthorized).into_response(),
        Some(_) | None => next.run(request).await,
    }
}

type Body = Result<Bytes, BytesRejection>;
type Caller = (State<App>, Extension<Wire>, HeaderMap);

async fn post_charge(caller: Caller, body: Body) -> Result<Response, Problem> {
    let faults = Arc::clone(&caller.0.0.switched().faults);
    let request = parse::charge(&caller.2, &parse::bytes(body)?, &faults)?;
    serve(caller, Request::Charge(request)).await
}

async fn get_charges(
    caller: Caller,
    query: Result<Query<ChargesQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    match parse::query(query)?.wanted()? {
        Wanted::Key(key) => serve(caller, Request::LookUpKey(key)).await,
        Wanted::Page { after, limit } => list_charges(&caller.0.0, &after, limit).await,
    }
}

/// All charges, oldest first. The list is about no single key, so the journal has no row of the reading.
async fn list_charges(app: &App, after: &str, limit: i64) -> Result<Response, Problem> {
    if app.switched().faults.lookup_unsupported {
        return Err(Refusal::LookupUnsupported.into());
    }
    let mut charges = listing::read(&app.pool, after, limit + 1).await.map_err(|error| {
        tracing::error!("cannot list charges: {error:#}");
        Problem::from(Refusal::Internal)
    })?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = charges.len() > limit;
    charges.truncate(limit);
    Ok(ChargesPage::of(&charges, has_more).into_response())
}

async fn get_charge(caller: Caller, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let id = parse::charge_id(id)?;
    serve(caller, Request::LookUpCharge(id)).await
}

async fn post_void(caller: Caller, body: Body) -> Result<Response, Problem> {
    let key = parse::void(&caller.2, &parse::bytes(body)?)?;
    serve(caller, Request::Void(key)).await
}

async fn post_refund(caller: Caller, body: Body) -> Result<Response, Problem> {
    let request = parse::refund(&caller.2, &parse::bytes(body)?)?;
    serve(caller, Request::Refund(request)).await
}

async fn get_refunds(
    caller: Caller,
    query: Result<Query<RefundsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let key = parse::query(query)?.key()?;
    serve(caller, Request::LookUpRefunds(key)).await
}

/// A refund without a key of the caller's, as somebody makes it in the gateway's dashboard.
async fn post_refund_by_hand(caller: Caller, body: Body) -> Result<Response, Problem> {
    let request = parse::refund_by_hand(&parse::bytes(body)?)?;
    serve(caller, Request::Refund(request)).await
}

async fn post_return(caller: Caller, body: Body) -> Result<Response, Problem> {
    let (charge_id, amount) = parse::act(&parse::bytes(body)?)?;
    serve(caller, Request::Act(ActRequest::Return { charge_id, amount })).await
}

async fn post_dispute(caller: Caller, body: Body) -> Result<Response, Problem> {
    let (charge_id, amount) = parse::act(&parse::bytes(body)?)?;
    serve(caller, Request::Act(ActRequest::Dispute { charge_id, amount })).await
}

async fn post_won(caller: Caller, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let id = parse::charge_id(id)?;
    serve(caller, Request::Act(ActRequest::End { id, is_won: true })).await
}

async fn post_lost(caller: Caller, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let id = parse::charge_id(id)?;
    serve(caller, Request::Act(ActRequest::End { id, is_won: false })).await
}

async fn get_journal(
    State(app): State<App>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Json<JournalPage>, Problem> {
    let (after, limit) = parse::query(query)?.bounds()?;
    // One row more than asked for tells whether there are more.
    let mut data = journal::read(&app.pool, after, limit + 1).await.map_err(|error| {
        tracing::error!("cannot read the journal: {error}");
        Problem::from(Refusal::Internal)
    })?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = data.len() > limit;
    data.truncate(limit);
    Ok(Json(JournalPage { data, has_more }))
}

/// The account that these books belong to. It stays the same for as long as they are kept.
async fn get_account(State(app): State<App>) -> Result<Json<serde_json::Value>, Problem> {
    if app.switched().faults.unauthorized {
        return Err(Refusal::Unauthorized.into());
    }
    Ok(Json(serde_json::json!({ "account": &*app.account, "environment": "simulation" })))
}

async fn get_faults(State(app): State<App>) -> Json<Faults> {
    Json(Faults::clone(&app.switched().faults))
}

async fn put_faults(State(app): State<App>, body: Body) -> Result<Json<Faults>, Problem> {
    let faults: Faults = parse::json(&parse::bytes(body)?)?;
    if faults.may_crash() && !app.is_alone {
        return Err(Refusal::CrashUnsupported.into());
    }
    let faults = app.switched().set(faults);
    tracing::info!("faults set: {}", serde_json::to_string(&*faults).unwrap_or_default());
    Ok(Json(Faults::clone(&faults)))
}

async fn get_health() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "healthy" }))
}

/// Has a request decided, and lets the reply leave as it is meant to.
async fn serve(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (State(app), Extension(wire), headers) = caller;
    let correlation_id = parse::correlation_id(&headers)?;
    let (op, key, payment_id) = request.in_words();
    let call = app.take_up(request, correlation_id.clone());
    let faults = Arc::clone(&call.faults);
    let is_charge = matches!(call.request, Request::Charge(_));

    let reply = app.desk.take(call).await;
    let http_status = reply.answer().map(Answer::http_status);
    tracing::info!(op, key, payment_id, correlation_id, http_status, "decided");

    if is_charge {
        app.wait(faults.slow_ms).await;
    }
    Ok(match reply {
        Reply::Answer(answer) => answer.into_response(),
        Reply::LateAnswer(answer) => {
            app.wait(faults.slow_token_ms).await;
            answer.into_response()
        }
        Reply::None(Failure::Silence) => {
            app.wait(faults.timeout_delay_ms).await;
            wire.end(Ending::Close).await
        }
        Reply::None(Failure::HangUp) => wire.end(Ending::Close).await,
        Reply::None(Failure::Reset) => wire.end(Ending::Reset).await,
    })
}

impl App {
    /// A call with the faults of this moment, and the accidents that chance has drawn for it.
    fn take_up(&self, request: Request, correlation_id: Option<String>) -> Call {
        let mut switch = self.switched();
        let faults = Arc::clone(&switch.faults);
        let fate = match &request {
            Request::Charge(_) | Request::Refund(_) => switch.dice.draw_charge(&faults),
            Request::LookUpKey(_) | Request::LookUpCharge(_) | Request::LookUpRefunds(_) => {
                switch.dice.draw_lookup(&faults)
            }
            Request::Void(_) | Request::Act(_) => Fate::default(),
        };
        let fate = Fate { crash: switch.dice.draw_crash(&faults), ..fate };
        Call { request, correlation_id, faults, fate }
    }

    /// The switch. A poisoned lock is as good as any: no code that holds it can leave the switch half set.
    fn switched(&self) -> std::sync::MutexGuard<'_, FaultSwitch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not past the shutdown.
    async fn wait(&self, delay_ms: u32) {
        if delay_ms > 0 {
            let delay = Duration::from_millis(delay_ms.into());
            self.shutdown.run_until_cancelled(tokio::time::sleep(delay)).await;
        }
    }
}
