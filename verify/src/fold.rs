//! History: a payment's events are 1..n without gaps, each may follow the one before, and together they make
//! its row.
//!
//! The table of what may follow what, and the fold, are the checker's own. The product's may be wrong, and
//! would then agree with itself.

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use serde_json::Value;
use uuid::Uuid;

use super::amount::Amount;
use super::ours::{EventRow, PaymentRow};
use super::report::Check;

/// Every event, the status in which it may happen (none: before the payment), and the one that it leads to.
pub(super) const LEGAL: &[(&str, Option<&str>, &str)] = &[
    ("created", None, "pending"),
    ("attempt_started", Some("pending"), "processing"),
    ("taken_over", Some("processing"), "processing"),
    ("verifying", Some("pending"), "processing"),
    ("verifying", Some("processing"), "processing"),
    ("outcome_unknown", Some("processing"), "processing"),
    ("void_started", Some("processing"), "processing"),
    ("held", Some("pending"), "processing"),
    ("held", Some("processing"), "processing"),
    ("released", Some("processing"), "processing"),
    ("rescheduled", Some("pending"), "pending"),
    ("rescheduled", Some("processing"), "processing"),
    ("restored", Some("pending"), "processing"),
    ("restored", Some("processing"), "processing"),
    ("doubted", Some("pending"), "processing"),
    ("doubted", Some("processing"), "processing"),
    ("retry_scheduled", Some("processing"), "pending"),
    ("succeeded", Some("processing"), "succeeded"),
    ("failed", Some("processing"), "failed"),
    ("reversed", Some("processing"), "reversed"),
    ("review_started", Some("pending"), "in_review"),
    ("approved", Some("in_review"), "pending"),
    ("succeeded", Some("pending"), "succeeded"),
    ("succeeded", Some("in_review"), "succeeded"),
    ("failed", Some("pending"), "failed"),
    ("failed", Some("in_review"), "failed"),
];

/// The row that the events make.
#[derive(Debug, Default)]
struct Told {
    merchant_id: Uuid,
    customer_id: String,
    amount: Option<Amount>,
    currency: String,
    payment_method: String,
    description: Option<String>,
    metadata: Value,
    correlation_id: String,
    created_at: DateTime<Utc>,
    gateway: String,
    gateway_key: Option<String>,
    from_balance: bool,
    accepted_as: Option<Value>,
    approved_at: Option<DateTime<Utc>>,
    status: String,
    due_at: Option<DateTime<Utc>>,
    claim_token: Option<Uuid>,
    look_first: bool,
    in_doubt: bool,
    doubt_since: Option<DateTime<Utc>>,
    void_started_at: Option<DateTime<Utc>>,
    held_reason: Option<String>,
    takeover_count: i32,
    attempt_count: i32,
    retries_spent: i32,
    delay_count: i32,
    verify_count: i32,
    not_found_count: i32,
    first_sent_at: Option<DateTime<Utc>>,
    left_nothing_at: Option<DateTime<Utc>>,
    send_by: Option<DateTime<Utc>>,
    gateway_transaction_id: Option<String>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    failure_retryable: Option<bool>,
    version: i32,
    updated_at: DateTime<Utc>,
    terminal_at: Option<DateTime<Utc>>,
}

/// The names of the fields in which two rows differ.
macro_rules! differing {
    ($one:ident, $other:ident: $($field:ident)+) => {
        [$((stringify!($field), $one.$field != $other.$field)),+]
            .into_iter()
            .filter_map(|(name, differs)| differs.then_some(name))
            .collect::<Vec<_>>()
    };
}

/// Compares one payment with its events, oldest first.
pub(super) fn check(payment: &PaymentRow, events: &[EventRow], history: &mut Check) {
    history.checked += 1;
    let id = PaymentId::from(payment.id);
    match fold(events) {
        Err(why) => history.blame(id, why),
        Ok(told) => {
            let differing = differing(&told, payment);
            if !differing.is_empty() {
                history.blame(id, format!("is not what its events tell: {}", differing.join(", ")));
            }
        }
    }
}

/// Blames events that belong to no payment.
pub(super) fn check_strays(events: &[EventRow], history: &mut Check) {
    for event in events {
        let id = PaymentId::from(event.payment_id);
        history
            .blame(id, format!("has event {}, {}, but no such payment exists", event.version, event.event));
    }
}

fn differing(told: &Told, payment: &PaymentRow) -> Vec<&'static str> {
    let mut names = differing!(told, payment:
        merchant_id customer_id currency payment_method description metadata correlation_id created_at gateway gateway_key from_balance accepted_as approved_at status due_at
        claim_token look_first in_doubt doubt_since void_started_at held_reason takeover_count attempt_count retries_spent delay_count verify_count
        not_found_count first_sent_at send_by gateway_transaction_id failure_code failure_message failure_retryable
        version updated_at terminal_at);
    // Of when it was set only that it was: no money hangs on the rest.
    if told.left_nothing_at.is_some() != payment.left_nothing_at.is_some() {
        names.push("left_nothing_at");
    }
    let amount = Amount::parse(&payment.amount);
    if amount.is_none() || amount != told.amount {
        names.push("amount");
    }
    names
}

/// The row that the events make, or the sentence that says why they cannot be a history.
fn fold(events: &[EventRow]) -> Result<Told, String> {
    let mut told = Told::default();
    for event in events {
        let expected = told.version + 1;
        if event.version != expected {
            return Err(format!("has event {} where {expected} was to come", event.version));
        }
        step(&told, event)?;
        apply(&mut told, event)?;
    }
    if events.is_empty() { Err("has no events".to_owned()) } else { Ok(told) }
}

/// Whether the event may follow now, and names the right statuses itself.
fn step(told: &Told, event: &EventRow) -> Result<(), String> {
    let (version, name) = (event.version, event.event.as_str());
    let status = (told.version > 0).then_some(told.status.as_str());
    let mut ways = LEGAL.iter().filter(|(legal, ..)| *legal == name).peekable();
    if ways.peek().is_none() {
        return Err(format!("has event {version}, {name}, which is none that a payment can have"));
    }
    let Some((_, from, to)) = ways.find(|(_, from, _)| *from == status) else {
        return Err(format!("has event {version}, {name}, while it was {}", status.unwrap_or("not there")));
    };
    if event.from_status.as_deref() != *from || event.to_status != *to {
        let said = event.from_status.as_deref().unwrap_or("nothing");
        return Err(format!("has event {version}, {name}, from {said} to {}", event.to_status));
    }
    Ok(())
}

fn apply(told: &mut Told, event: &EventRow) -> Result<(), String> {
    let name = event.event.as_str();
    let is_claim = matches!(name, "attempt_started" | "taken_over" | "verifying");
    if event.claim_token.is_some() && !is_claim && name != "rescheduled" {
        told.left_nothing_at = left_nothing(told, event);
    }
    told.version = event.version;
    told.status.clone_from(&event.to_status);
    told.updated_at = event.at;
    told.due_at = event.due_at;
    if name != "rescheduled" {
        told.claim_token = None;
    }
    if name != "restored" {
        told.held_reason = None;
    }
    told.retries_spent += i32::from(event.spends);
    change(told, event)?;
    if matches!(told.status.as_str(), "succeeded" | "failed" | "reversed") {
        told.terminal_at = Some(event.at);
    }
    Ok(())
}

/// When the first attempt began, where no request has left us since, up to this end of a claim.
fn left_nothing(before: &Told, event: &EventRow) -> Option<DateTime<Utc>> {
    let is_first = before.first_sent_at == Some(before.updated_at);
    let had_left_nothing = before.left_nothing_at.is_some() && before.left_nothing_at == before.first_sent_at;
    let leaves_nothing = event.evidence["left"] == false && !before.in_doubt;
    before.first_sent_at.filter(|_| leaves_nothing && (is_first || had_left_nothing))
}

/// Applies what is particular to the kind of this event.
fn change(told: &mut Told, event: &EventRow) -> Result<(), String> {
    let name = event.event.as_str();
    let lacks = |field: &str| format!("has event {}, {name}, without {field}", event.version);
    let text = |field: &str| event.evidence[field].as_str().map(str::to_owned).ok_or_else(|| lacks(field));
    match name {
        "created" => {
            told.merchant_id = text("merchant_id")?.parse().map_err(|_| lacks("merchant_id"))?;
            told.customer_id = text("customer_id")?;
            told.amount = Amount::parse(&text("amount")?);
            told.currency = text("currency")?;
            told.payment_method = text("payment_method")?;
            told.description = event.evidence["description"].as_str().map(str::to_owned);
            told.metadata = event.evidence["metadata"].clone();
            told.correlation_id.clone_from(&event.correlation_id);
            told.created_at = event.at;
            // Not said where it is the gateway of every merchant for which none was named.
            told.gateway = event.evidence["gateway"].as_str().unwrap_or("default").to_owned();
            // A payment accepted before gateway keys were derived does not say so. Its key is its id.
            told.gateway_key = event.evidence["gateway_key"].as_str().map(str::to_owned);
            told.look_first = event.evidence["look_first"] == true;
            told.from_balance = event.evidence["from_balance"] == true;
            told.accepted_as = event.evidence.get("accepted_as").filter(|it| !it.is_null()).cloned();
        }
        "attempt_started" => {
            told.claim_token = event.claim_token;
            told.takeover_count = 0;
            told.attempt_count += 1;
            (told.verify_count, told.not_found_count) = (0, 0);
            told.first_sent_at.get_or_insert(event.at);
            told.send_by = Some(text("send_by")?.parse().map_err(|_| lacks("send_by"))?);
        }
        "taken_over" | "verifying" => {
            told.claim_token = event.claim_token;
            // A takeover from before takeovers were counted does not say so, and counts for nothing.
            let takeovers = event.evidence["takeovers"].as_i64().and_then(|count| count.try_into().ok());
            told.takeover_count = takeovers.unwrap_or(0);
            doubt(told, event.at);
        }
        "outcome_unknown" => {
            doubt(told, event.at);
            told.verify_count += 1;
            told.not_found_count += i32::from(event.reason.as_deref() == Some("not_found"));
            told.look_first = told.look_first && event.reason.as_deref() != Some("restored_seen");
        }
        "retry_scheduled" => told.delay_count = if event.spends { 0 } else { told.delay_count + 1 },
        "rescheduled" => {
            told.first_sent_at = told.first_sent_at.map(|at| at.min(event.at));
            told.doubt_since = told.doubt_since.map(|at| at.min(event.at));
            let send_by = event.evidence["send_by"].as_str().map(str::parse).transpose();
            told.send_by = send_by.map_err(|_| lacks("send_by"))?;
        }
        "restored" => restored(told, event)?,
        "doubted" => {
            doubt(told, event.at);
            told.left_nothing_at = None;
        }
        // Only where the event says so: a payment with an open orphan's key is looked at first for ever.
        "released" => told.look_first = told.look_first && event.evidence["look_first"] == true,
        "void_started" => _ = told.void_started_at.get_or_insert(event.at),
        // The key had been closed before, and no void is known to have been started.
        "reversed" if event.reason.as_deref() == Some("key_closed") => {
            doubt(told, event.at);
            told.void_started_at.get_or_insert(event.at);
        }
        "held" => told.held_reason.clone_from(&event.reason),
        "succeeded" if told.from_balance => drop(text("transfer_id")?),
        "succeeded" => told.gateway_transaction_id = Some(text("charge_id")?),
        "approved" => told.approved_at = Some(event.at),
        "failed" => failed(told, &event.evidence["failure"]),
        "review_started" => {}
        _ => {}
    }
    Ok(())
}

fn failed(told: &mut Told, failure: &Value) {
    told.failure_code = failure["code"].as_str().map(str::to_owned);
    told.failure_message = failure["message"].as_str().map(str::to_owned);
    told.failure_retryable = failure["retryable"].as_bool();
}

/// Applies that the payment came back with a restored database.
fn restored(told: &mut Told, event: &EventRow) -> Result<(), String> {
    let instant = |field: &str| {
        let told = event.evidence[field].as_str().and_then(|text| text.parse().ok());
        told.ok_or_else(|| format!("has event {}, restored, without {field}", event.version))
    };
    told.look_first = true;
    (told.in_doubt, told.doubt_since) = (true, Some(event.at));
    told.first_sent_at = Some(instant("first_sent_at")?);
    told.send_by = Some(instant("send_by")?);
    (told.takeover_count, told.verify_count, told.not_found_count) = (0, 0, 0);
    told.left_nothing_at = None;
    Ok(())
}

fn doubt(told: &mut Told, since: DateTime<Utc>) {
    told.in_doubt = true;
    told.doubt_since.get_or_insert(since);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_follow_what_is_as_the_drawing_of_the_states_says() {
        let drawing = include_str!("../../docs/STATES.md");
        let drawn: BTreeSet<&str> =
            drawing.lines().map(str::trim).filter(|line| line.contains(" --> ")).collect();
        let known: BTreeSet<String> = LEGAL
            .iter()
            .map(|(event, from, to)| format!("{} --> {to} : {event}", from.unwrap_or("[*]")))
            .collect();
        assert_eq!(drawn, known.iter().map(String::as_str).collect());
    }

    fn event(version: i32, event: &str, from: Option<&str>, to: &str) -> EventRow {
        let evidence = json!({
            "merchant_id": Uuid::nil(), "customer_id": "c1", "amount": "12.30", "currency": "EUR",
            "payment_method": "sim_ok", "metadata": {}, "send_by": "2026-01-01T00:00:00+00:00", "charge_id": "ch_1",
        });
        EventRow {
            payment_id: Uuid::max(),
            version,
            event: event.to_owned(),
            from_status: from.map(str::to_owned),
            to_status: to.to_owned(),
            reason: None,
            evidence,
            claim_token: None,
            due_at: None,
            spends: false,
            correlation_id: "c".to_owned(),
            at: DateTime::from_timestamp_nanos(i64::from(version)),
        }
    }

    fn usual() -> [EventRow; 3] {
        [
            event(1, "created", None, "pending"),
            event(2, "attempt_started", Some("pending"), "processing"),
            event(3, "succeeded", Some("processing"), "succeeded"),
        ]
    }

    #[test]
    fn a_usual_story_makes_its_row() {
        let told = fold(&usual()).unwrap();

        assert_eq!((told.status.as_str(), told.version, told.attempt_count), ("succeeded", 3, 1));
        assert_eq!(told.terminal_at, Some(told.updated_at));
        assert_eq!(told.gateway_transaction_id.as_deref(), Some("ch_1"));
    }

    #[test]
    fn a_story_that_cannot_be_is_told_by_its_event() {
        let [created, started, succeeded] = usual();
        for (events, says) in [
            (vec![], "has no events"),
            (vec![event(2, "created", None, "pending")], "has event 2 where 1 was to come"),
            (
                vec![created, event(3, "attempt_started", Some("pending"), "processing")],
                "where 2 was to come",
            ),
            (vec![event(1, "paid", None, "pending")], "paid, which is none that a payment can have"),
            (vec![event(1, "succeeded", Some("processing"), "succeeded")], "while it was not there"),
            (
                usual().into_iter().chain([event(4, "failed", Some("processing"), "failed")]).collect(),
                "has event 4, failed, while it was succeeded",
            ),
            (
                vec![
                    event(1, "created", None, "pending"),
                    event(2, "attempt_started", Some("pending"), "succeeded"),
                ],
                "from pending to succeeded",
            ),
        ] {
            let why = fold(&events).unwrap_err();
            assert!(why.contains(says), "{why}, not {says}");
        }
        assert_eq!((started.version, succeeded.version), (2, 3));
    }

    #[test]
    fn an_event_without_its_evidence_tells_nothing() {
        let mut events = usual();
        events[2].evidence = json!({});
        assert_eq!(fold(&events).unwrap_err(), "has event 3, succeeded, without charge_id");
    }
}
