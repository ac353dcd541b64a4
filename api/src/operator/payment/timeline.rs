//! A payment's history as a story: what happened, what the gateway said, what came next.

use chrono::{DateTime, Utc};
use domain::ids::ClaimToken;
use domain::status::EventType;
use serde_json::Value;
use shared::payment::Event;

use crate::operator::show::{Time, charges, duration, pretty, told};

/// One event of the history, as it is shown.
pub(super) struct EventView {
    pub(super) version: i32,
    pub(super) at: Time,
    /// How long after the event before it this one came. None for the first that is shown.
    pub(super) after: Option<String>,
    pub(super) name: String,
    pub(super) reason: Option<String>,
    pub(super) explained: &'static str,
    pub(super) tone: &'static str,
    pub(super) said: Option<Said>,
    pub(super) told: Option<String>,
    pub(super) charges: Vec<String>,
    pub(super) next: Option<String>,
    pub(super) evidence: String,
    pub(super) claim: Option<String>,
}

/// A person's name and words.
pub(super) struct Said {
    pub(super) by: String,
    pub(super) reason: String,
}

/// The events as they are shown, oldest first.
pub(super) fn of(events: Vec<Event>) -> Vec<EventView> {
    let mut before = None;
    events.into_iter().map(|event| view(event, &mut before)).collect()
}

fn view(event: Event, before: &mut Option<DateTime<Utc>>) -> EventView {
    let event_type: Option<EventType> = event.event_type.parse().ok();
    let after = before.replace(event.at).map(|before| format!("+{}", duration(event.at - before)));
    let text = |field: &str| event.evidence[field].as_str().map(str::to_owned);
    // A person's decision carries the look that was taken for it.
    let look = &event.evidence["look"];
    let told_by = if look.is_object() { look } else { &event.evidence };
    let is_unproven = event.evidence["unproven"] == true;
    EventView {
        version: event.version,
        after,
        explained: event_type.map_or("", explained),
        tone: event_type.map_or("", tone),
        said: text("by").zip(text("reason")).map(|(by, reason)| Said { by, reason }),
        told: told(told_by),
        charges: charges(told_by),
        next: event.due_at.filter(|_| event_type.is_some_and(is_wait)).map(|due| next(event.at, due)),
        evidence: pretty(&without_empty(&event.evidence)),
        claim: event.claim_token.map(|token| ClaimToken::from(token).to_string()),
        at: event.at.into(),
        name: event.event_type,
        reason: event
            .reason
            .map(|reason| if is_unproven { format!("{reason}, without proof") } else { reason }),
    }
}

fn next(at: DateTime<Utc>, due: DateTime<Utc>) -> String {
    if due <= at { "due at once".to_owned() } else { format!("due again after {}", duration(due - at)) }
}

/// Whether the time at which the payment is due again is worth telling.
const fn is_wait(event: EventType) -> bool {
    match event {
        EventType::RetryScheduled | EventType::OutcomeUnknown => true,
        EventType::Created
        | EventType::AttemptStarted
        | EventType::TakenOver
        | EventType::Verifying
        | EventType::Succeeded
        | EventType::Failed
        | EventType::VoidStarted
        | EventType::Reversed
        | EventType::Held
        | EventType::Released
        | EventType::Rescheduled
        | EventType::Restored
        | EventType::Doubted
        | EventType::ReviewStarted
        | EventType::Approved => false,
    }
}

/// The evidence without the facts that are null.
fn without_empty(evidence: &Value) -> Value {
    match evidence.as_object() {
        Some(object) => {
            object.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        None => evidence.clone(),
    }
}

const fn explained(event: EventType) -> &'static str {
    match event {
        EventType::Created => "The request was accepted.",
        EventType::AttemptStarted => "A worker claimed it and may charge.",
        EventType::TakenOver => "A lease ran out; another worker claimed it, to look up or void only.",
        EventType::Verifying => "A look was due; a worker claimed it, to look up or void only.",
        EventType::OutcomeUnknown => "A charge may have happened. It is looked up before anything else.",
        EventType::RetryScheduled => "This attempt surely did not charge.",
        EventType::Succeeded => "Exactly what is owed was charged, or paid from a balance.",
        EventType::Failed => "Nothing was charged, and nothing more will be tried.",
        EventType::VoidStarted => {
            "No way is left to learn more, or a person decided so: from here only a void, or a person."
        }
        EventType::Reversed => "Whatever was charged has been undone.",
        EventType::Held => "Out of the machine's hands until a person acts.",
        EventType::Released => "A person gave it back to the machine.",
        EventType::Rescheduled => {
            "It was due further away than any wait: the database's clock was wrong. A claim stays."
        }
        EventType::Restored => {
            "It came back with a restored database: the gateway is asked what it has of it before anything else."
        }
        EventType::ReviewStarted => "The rules of risk want a person to look at it before it is charged.",
        EventType::Approved => "A person let it pass. It is charged as any other.",
        EventType::Doubted => "A late result shows that a charge may have happened which is forgotten here.",
    }
}

const fn tone(event: EventType) -> &'static str {
    match event {
        EventType::Succeeded | EventType::Approved => "good",
        EventType::OutcomeUnknown
        | EventType::TakenOver
        | EventType::VoidStarted
        | EventType::Rescheduled
        | EventType::Restored
        | EventType::Doubted
        | EventType::ReviewStarted
        | EventType::RetryScheduled => "warn",
        EventType::Held => "bad",
        EventType::Created
        | EventType::AttemptStarted
        | EventType::Verifying
        | EventType::Failed
        | EventType::Reversed
        | EventType::Released => "",
    }
}
