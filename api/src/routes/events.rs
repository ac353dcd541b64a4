//! What happened, for who asks: `/v1/events`, one event, and the stream.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use domain::ids::MerchantId;
use domain::public_event::{EventId, PublicEventType};
use shared::database::standby;
use shared::publish::Told;
use shared::publish::reader::{self, Page, Wanted};
use shared::publish::render::{NotRendered, render};

use super::merchant::Merchant;
use crate::contract::{Serve as _, operations};
use crate::problem::Problem;
use crate::query::{NoParams, Params};
use crate::{App, render as shown};

mod stream;

/// What an event's id is, for whoever sent another one.
const ID: &str = "the id of an event: evt_ and 64 lower-case hex digits";

pub(super) fn router() -> Router<App> {
    Router::new()
        .serve(&operations::LIST_EVENTS, list)
        .serve(&operations::STREAM_EVENTS, stream::open)
        .serve(&operations::GET_EVENT, read)
}

/// `GET /v1/events`: the merchant's public events after a place, oldest first.
async fn list(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    mut params: Params,
) -> Result<Response, Problem> {
    let wants = "a whole number from 1 to 100";
    let limit = params.parsed("limit", wants, |text| text.parse().ok().filter(|it| (1..=100).contains(it)));
    let after = params.parsed("after", ID, |text| text.parse::<EventId>().ok());
    let types = types(&mut params);
    params.end()?;
    let limit = limit.unwrap_or(10);
    let page = next(&app, merchant, &Wanted { after, types, limit }).await?;
    let next = page.reached.filter(|_| page.has_more).map(|place| place.to_string());
    Ok(Json(shown::list(page.told.into_iter().map(|it| it.body).collect(), next)).into_response())
}

/// The types of events that a request wants; none for all.
fn types(params: &mut Params) -> Option<Vec<String>> {
    let words = PublicEventType::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
    let wants = format!("types of events with commas between, of {words}");
    params.parsed("types", &wants, |text| {
        let read = |word: &str| word.parse::<PublicEventType>().ok().map(|it| it.as_str().to_owned());
        text.split(',').map(read).collect()
    })
}

/// `GET /v1/events/{id}`: one event, as it is told everywhere.
async fn read(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    id: Result<Path<String>, PathRejection>,
    _: NoParams,
) -> Result<Response, Problem> {
    let id = super::id(id, "event")?.parse().map_err(|_| Problem::NotFound("event"))?;
    let found = reader::one(&app.pool, merchant, id).await?.ok_or(Problem::NotFound("event"))?;
    let told = tell(&app, merchant, vec![found]).await?;
    let event = told.into_iter().next().ok_or(Problem::Internal)?;
    Ok(Json(event.body).into_response())
}

/// The next events, with their bytes.
struct Next {
    told: Vec<Told>,
    /// The event after which reading goes on; none if there is none after the place.
    reached: Option<EventId>,
    has_more: bool,
}

/// The next events, which may be told.
async fn next(app: &App, merchant: MerchantId, wanted: &Wanted) -> Result<Next, Problem> {
    match reader::next(&app.pool, merchant, wanted).await? {
        Page::Events(events) => {
            let found = events.wanted.len();
            let told = tell(app, merchant, events.wanted).await?;
            // A page that was cut short goes on after the last event that was told.
            let is_cut = told.len() < found;
            let reached = if is_cut { told.last().map(|last| last.event.id) } else { events.reached };
            Ok(Next { told, reached, has_more: is_cut || events.has_more })
        }
        Page::Lost(resume_after) => Err(Problem::CursorLost(resume_after)),
    }
}

/// The bytes of these events, once what they rest on is sure to last.
async fn tell(app: &App, merchant: MerchantId, events: Vec<reader::Stored>) -> Result<Vec<Told>, Problem> {
    if let Some(newest) = events.iter().map(|event| event.at).max() {
        standby::before_telling(&app.pool, newest).await?;
    }
    render(&app.pool, merchant, events).await.map_err(|why| match why {
        NotRendered::Database(error) => error.into(),
        why @ (NotRendered::Unknown { .. } | NotRendered::Json(_)) => {
            tracing::error!(%why, "an event cannot be told here");
            Problem::Unavailable
        }
    })
}
