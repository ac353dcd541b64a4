//! Reads the event log from its first payment to its last, and folds each payment's events into the row that
//! the table must have.
//!
//! Invariants: only events are read. A payment is never cut in two. An event is believed only if it says
//! itself from which status to which it leads.

use futures::TryStreamExt as _;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Event;
use super::history::{self, Row};

/// The number of events in a page. The last payment of a page has all of its events there.
const PAGE_EVENTS: i64 = 5_000;

/// A payment, as its events tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The payment whose events they are.
    pub id: Uuid,
    /// The row that they make, or the sentence that says why they cannot be a payment's.
    pub told: Result<Row, String>,
    /// How many events there are.
    pub events: u64,
}

/// The next payments of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The payments, in the order of their ids.
    pub stories: Vec<Story>,
    /// All payments up to this id are in this page or in one before.
    pub until: Uuid,
    /// Whether no payment follows this page.
    pub is_last: bool,
}

impl Story {
    /// The row as JSON, in the names of its columns and exact in each, with the payment's id. None where the
    /// events make no row.
    ///
    /// # Errors
    /// The row is no JSON, which cannot be.
    pub fn columns(&self) -> serde_json::Result<Option<Value>> {
        let Ok(row) = &self.told else { return Ok(None) };
        let mut columns = serde_json::to_value(row)?;
        columns["id"] = json!(self.id);
        Ok(Some(columns))
    }

    fn begin(id: Uuid, event: &Event) -> Self {
        Self { id, told: next(None, event), events: 1 }
    }

    fn go_on(&mut self, event: &Event) {
        self.events += 1;
        // The first wrong event says what is wrong. Later events have no row to happen to.
        if let Ok(row) = &self.told {
            self.told = next(Some(row.clone()), event);
        }
    }
}

/// The row after one more event, which must say the same of itself.
fn next(row: Option<Row>, event: &Event) -> Result<Row, String> {
    let before = row.as_ref().map(|row| row.status.clone());
    let row = history::next(row, event).map_err(|why| why.to_string())?;
    if event.from_status == before && event.to_status == row.status {
        return Ok(row);
    }
    let from = event.from_status.as_deref().unwrap_or("nothing");
    let Event { version, event_type, to_status, .. } = event;
    Err(format!("event {version}, {event_type}, says that it leads from {from} to {to_status}"))
}

/// The payments after `after`, as far as one page goes. Within a transaction of one snapshot the page is what
/// the log was then.
///
/// # Errors
/// Returns the database's error.
pub async fn page(connection: &mut PgConnection, after: Uuid) -> sqlx::Result<Page> {
    let end = sqlx::query_scalar!(
        "select payment_id from payment_events where payment_id > $1 order by payment_id, version offset $2 limit 1",
        after,
        PAGE_EVENTS
    )
    .fetch_optional(&mut *connection)
    .await?;
    let until = end.unwrap_or(Uuid::max());
    let mut events = sqlx::query!(
        "select payment_id, version, type as event_type, from_status, to_status, reason, evidence, claim_token, due_at,
                spends, correlation_id, at
           from payment_events where payment_id > $1 and payment_id <= $2 order by payment_id, version",
        after,
        until
    )
    .fetch(connection);
    let mut stories: Vec<Story> = Vec::new();
    while let Some(read) = events.try_next().await? {
        let event = Event {
            version: read.version,
            event_type: read.event_type,
            from_status: read.from_status,
            to_status: read.to_status,
            reason: read.reason,
            evidence: read.evidence,
            claim_token: read.claim_token,
            due_at: read.due_at,
            spends: read.spends,
            correlation_id: read.correlation_id,
            at: read.at,
        };
        match stories.last_mut() {
            Some(story) if story.id == read.payment_id => story.go_on(&event),
            _ => stories.push(Story::begin(read.payment_id, &event)),
        }
    }
    Ok(Page { stories, until, is_last: end.is_none() })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn event(version: i32, event_type: &str, from: Option<&str>, to: &str) -> Event {
        Event {
            version,
            event_type: event_type.to_owned(),
            from_status: from.map(str::to_owned),
            to_status: to.to_owned(),
            reason: None,
            evidence: json!({
                "merchant_id": Uuid::nil(), "customer_id": "c1", "amount": "12.30", "currency": "EUR",
                "payment_method": "sim_ok", "metadata": {"order": "7"}, "send_by": "2026-01-01T00:00:00+00:00",
            }),
            claim_token: None,
            due_at: None,
            spends: false,
            correlation_id: "c".to_owned(),
            at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_story_makes_its_row_with_every_digit() {
        let mut story = Story::begin(Uuid::max(), &event(1, "created", None, "pending"));
        story.go_on(&event(2, "attempt_started", Some("pending"), "processing"));

        let columns = story.columns().unwrap().unwrap();

        assert_eq!((&columns["id"], &columns["status"]), (&json!(Uuid::max()), &json!("processing")));
        assert_eq!((&columns["amount"], &columns["metadata"]["order"]), (&json!("12.30"), &json!("7")));
        assert_eq!(story.events, 2);
    }

    #[test]
    fn what_cannot_be_is_said_of_the_first_event_that_is_wrong_and_no_row_is_made() {
        let created = event(1, "created", None, "pending");
        for (second, says) in [
            (event(3, "attempt_started", Some("pending"), "processing"), "event 3 where 2 was to come"),
            (event(2, "attempt_started", Some("processing"), "processing"), "from processing to processing"),
            (event(2, "attempt_started", Some("pending"), "succeeded"), "from pending to succeeded"),
        ] {
            let mut story = Story::begin(Uuid::max(), &created);
            story.go_on(&second);
            story.go_on(&event(9, "created", None, "pending"));

            let why = story.told.clone().unwrap_err();
            assert!(why.contains(says), "{why}, not {says}");
            assert_eq!(story.columns().unwrap(), None);
        }
    }
}
