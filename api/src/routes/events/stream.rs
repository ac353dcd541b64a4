//! `GET /v1/events/stream`: public events as they happen, as server-sent events.
//!
//! A stream reads the next page only once the client has taken the one before, so a slow client costs no
//! memory. One that takes nothing is cut off by the listener. Every client goes on by its last event's id.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::ids::MerchantId;
use domain::public_event::EventId;
use futures::stream;
use shared::publish::Told;
use shared::publish::reader::Wanted;
use tokio::time::Instant;

use super::{ID, next, types};
use crate::App;
use crate::fault::{Fault, Kind};
use crate::news::Seat;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::merchant::Merchant;

/// The header by which a client goes on, as every client of server-sent events sends it.
const LAST_EVENT_ID: &str = "last-event-id";

/// The time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream lasts. Its key is read again when the client comes back, so a key that was revoked
/// streams no longer than that.
const LONGEST: Duration = Duration::from_mins(5);

/// The most events that are read at a time.
const PAGE: i64 = 100;

/// An open stream.
struct Open {
    app: App,
    seat: Seat,
    merchant: MerchantId,
    /// What the client wants, after what it was sent.
    wanted: Wanted,
    /// What is read and not sent yet.
    ready: VecDeque<Told>,
    /// The place up to which events were looked at, where the client was told of none there.
    passed: Option<EventId>,
    has_more: bool,
    until: Instant,
    is_over: bool,
}

/// Opens a stream after the event that `Last-Event-ID` or `after` names, or from the beginning.
pub(super) async fn open(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.parsed("after", ID, |text| text.parse::<EventId>().ok());
    let types = types(&mut params);
    let last = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
    let last = last.map(|id| id.to_str().ok().and_then(|id| id.parse::<EventId>().ok()));
    if last == Some(None) {
        params.refuse(Fault::header("Last-Event-ID", Kind::Invalid, format!("Last-Event-ID must be {ID}")));
    }
    params.end()?;
    let seat = app.streams.open(merchant)?;
    let mut open = Open {
        app,
        seat,
        merchant,
        wanted: Wanted { after: last.flatten().or(after), types, limit: PAGE },
        ready: VecDeque::new(),
        passed: None,
        has_more: false,
        until: Instant::now() + LONGEST,
        is_over: false,
    };
    // What is wrong with the place is a plain answer.
    open.read().await?;
    let events = stream::unfold(open, |mut open| async move {
        let event = open.next().await?;
        Some((Ok::<_, Infallible>(event), open))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

impl Open {
    async fn read(&mut self) -> Result<(), Problem> {
        let next = next(&self.app, self.merchant, &self.wanted).await?;
        self.passed = next.reached.filter(|place| next.told.last().is_none_or(|last| last.event.id < *place));
        self.has_more = next.has_more;
        self.ready = next.told.into();
        Ok(())
    }

    /// What the client is sent next; none at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                self.wanted.after = Some(told.event.id);
                return Some(sent(&told));
            }
            if let Some(place) = self.passed.take() {
                // Nothing that the client wants stands up to here: it comes back after it.
                self.wanted.after = Some(place);
                return Some(Event::default().id(place.to_string()));
            }
            if self.is_over || Instant::now() >= self.until {
                return None;
            }
            if !self.has_more {
                let shutdown = self.app.shutdown.clone();
                let news = tokio::time::timeout_at(self.until, self.seat.news_after(self.wanted.after));
                let woken = shutdown.run_until_cancelled(news).await;
                if !matches!(woken, Some(Ok(()))) {
                    return None;
                }
            }
            if let Err(problem) = self.read().await {
                // Whatever it is, the client hears it, comes back by its last event, and gets the answer.
                self.is_over = true;
                return Some(Event::default().event("error").data(problem.code().as_str()));
            }
        }
    }
}

fn sent(told: &Told) -> Event {
    let Told { event, body } = told;
    Event::default().id(event.id.to_string()).event(&event.event_type).data(body.get())
}
