//! Histories folded by hand: the row that events make, and the events that cannot be.

use serde_json::json;

use super::*;

fn event(version: i32, event_type: &str, evidence: Value) -> Event {
    Event {
        version,
        event_type: event_type.to_owned(),
        from_status: None,
        to_status: String::new(),
        reason: None,
        evidence,
        claim_token: None,
        due_at: None,
        spends: false,
        correlation_id: "c".to_owned(),
        at: DateTime::from_timestamp_millis(1_700_000_000_000 + i64::from(version)).unwrap(),
    }
}

fn created() -> Event {
    let asked = json!({
        "merchant_id": Uuid::nil(), "customer_id": "c1", "amount": "12.30", "currency": "EUR",
        "payment_method": "sim_ok", "description": null, "metadata": {},
    });
    event(1, "created", asked)
}

fn started(version: i32) -> Event {
    event(version, "attempt_started", json!({ "send_by": "2026-01-01T00:00:00+00:00" }))
}

#[test]
fn a_history_folds_to_its_row() {
    let row = fold(&[created(), started(2), event(3, "succeeded", json!({ "charge_id": "ch_1" }))]).unwrap();

    assert_eq!((row.status.as_str(), row.version, row.attempt_count), ("succeeded", 3, 1));
    assert_eq!(row.gateway_transaction_id.as_deref(), Some("ch_1"));
    assert_eq!(row.first_sent_at, Some(started(2).at));
    assert!(row.terminal_at.is_some() && !row.in_doubt);
}

#[test]
fn doubt_begins_once_and_stays() {
    let unknown = |version| event(version, "outcome_unknown", json!({}));
    let row =
        fold(&[created(), started(2), unknown(3), event(4, "verifying", json!({})), unknown(5)]).unwrap();

    assert!(row.in_doubt);
    assert_eq!(row.doubt_since, Some(unknown(3).at));
    assert_eq!(row.verify_count, 2);
}

#[test]
fn what_happens_to_a_held_payment_ends_its_being_held() {
    let held = Event { reason: Some("wrong_answer".to_owned()), ..event(3, "held", json!({})) };
    let due = Some(started(9).at);
    let released = Event { due_at: due, ..event(4, "released", json!({ "by": "ada", "reason": "look" })) };

    let row = fold(&[created(), started(2), held.clone()]).unwrap();
    assert_eq!((row.held_reason.as_deref(), row.due_at), (Some("wrong_answer"), None));
    let row = fold(&[created(), started(2), held.clone(), released]).unwrap();
    assert_eq!((row.status.as_str(), row.held_reason, row.due_at), ("processing", None, due));
    let row = fold(&[created(), started(2), held, event(4, "reversed", json!({}))]).unwrap();
    assert_eq!((row.status.as_str(), row.held_reason), ("reversed", None));
}

#[test]
fn rows_differ_in_facts_and_not_in_how_long_something_waits() {
    let row = fold(&[created(), started(2)]).unwrap();
    let late = Row { created_at: started(9).at, send_by: Some(started(9).at), ..row.clone() };
    let other = Row { send_by: None, attempt_count: 2, ..row.clone() };

    assert!(row.differences(&late).is_empty());
    assert_eq!(row.differences(&other), ["attempt_count", "send_by"]);
}

#[test]
fn a_history_with_a_hole_or_a_step_that_cannot_be_is_refused() {
    assert_eq!(fold(&[]), Err(HistoryError::Empty));
    assert_eq!(fold(&[created(), started(3)]), Err(HistoryError::Gap { expected: 2, found: 3 }));
    assert_eq!(fold(&[event(2, "created", json!({}))]), Err(HistoryError::Gap { expected: 1, found: 2 }));
    let twice = fold(&[created(), started(2), started(3)]);
    assert!(matches!(twice, Err(HistoryError::Illegal(_))), "{twice:?}");
    let no_evidence = fold(&[created(), started(2), event(3, "succeeded", json!({}))]);
    assert_eq!(no_evidence, Err(HistoryError::Lacks { version: 3, field: "charge_id" }));
    assert!(matches!(fold(&[created(), event(2, "paid", json!({}))]), Err(HistoryError::Word(_))));
}
