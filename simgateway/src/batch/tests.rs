//! A batch's traces in the books: one row per fact, and nothing where nothing changed.

use super::*;
use crate::reply::{Answer, Refusal};
use crate::request::ChargeRequest;

fn at_noon() -> DateTime<Utc> {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

fn call(request: Request) -> Call {
    Call {
        request,
        correlation_id: Some("corr-1".to_owned()),
        faults: Arc::new(Faults::default()),
        fate: Fate::default(),
    }
}

fn charge_call(payment_method: &str) -> Call {
    call(Request::Charge(ChargeRequest {
        key: "pay_1".to_owned(),
        amount: "12.30".parse().unwrap(),
        currency: "EUR".to_owned(),
        payment_method: payment_method.to_owned(),
        reference: "pay_1".to_owned(),
        is_keyless: false,
    }))
}

/// The journal in short: kind, op, HTTP status.
fn journal(batch: &Batch) -> Vec<(&str, &str, Option<u16>)> {
    batch.journal.iter().map(|e| (e.kind.as_str(), e.op.as_str(), e.http_status)).collect()
}

/// The states that `batch` leaves behind.
fn stored(batch: Batch) -> Vec<KeyState> {
    batch.pages.into_values().map(|page| page.current).collect()
}

#[test]
fn a_call_leaves_its_request_its_effect_and_its_answer_in_this_order() {
    let mut batch = Batch::new(at_noon(), Vec::new());

    batch.decide(&charge_call("sim_ok"));
    batch.decide(&call(Request::LookUpKey("pay_1".to_owned())));
    batch.decide(&call(Request::Void("pay_1".to_owned())));

    let expected = [
        ("request", "charge", None),
        ("charge", "charge", None),
        ("answer", "charge", Some(201)),
        ("request", "lookup", None),
        ("answer", "lookup", Some(200)),
        ("request", "void", None),
        ("void", "void", None),
        ("answer", "void", Some(201)),
    ];
    assert_eq!(journal(&batch), expected);
    assert!(batch.journal.iter().all(|entry| entry.correlation_id.as_deref() == Some("corr-1")));
}

#[test]
fn an_answer_that_never_leaves_has_no_status() {
    let mut batch = Batch::new(at_noon(), Vec::new());

    batch.decide(&charge_call("sim_timeout_charged"));

    let expected = [("request", "charge", None), ("charge", "charge", None), ("answer", "charge", None)];
    assert_eq!(journal(&batch), expected);
}

#[test]
fn calls_of_one_batch_under_one_key_charge_once() {
    let mut batch = Batch::new(at_noon(), Vec::new());

    let first = batch.decide(&charge_call("sim_ok"));
    let second = batch.decide(&charge_call("sim_ok"));

    assert_eq!(first, second);
    assert_eq!(batch.changes().charges.len(), 1);
}

#[test]
fn a_duplicated_call_charges_once_and_has_one_request_and_one_answer() {
    let mut duplicated = charge_call("sim_ok");
    duplicated.fate.is_duplicated = true;
    let mut batch = Batch::new(at_noon(), Vec::new());

    batch.decide(&duplicated);

    let expected = [("request", "charge", None), ("charge", "charge", None), ("answer", "charge", Some(201))];
    assert_eq!(journal(&batch), expected);
}

#[test]
fn a_duplicated_call_charges_twice_where_keys_are_ignored() {
    let mut duplicated = charge_call("sim_ok");
    duplicated.fate.is_duplicated = true;
    duplicated.faults = Arc::new(Faults { ignore_idempotency_keys: true, ..Faults::default() });
    let mut batch = Batch::new(at_noon(), Vec::new());

    batch.decide(&duplicated);

    let charges = batch.changes().charges;
    assert_eq!(charges.len(), 2);
    assert_ne!(charges[0].id, charges[1].id);
}

#[test]
fn a_replay_writes_nothing_but_the_journal() {
    let mut batch = Batch::new(at_noon(), Vec::new());
    batch.decide(&charge_call("sim_ok"));
    let mut later = Batch::new(at_noon(), stored(batch));

    later.decide(&charge_call("sim_ok"));

    let changes = later.changes();
    assert!(changes.keys.is_empty());
    assert!(changes.charges.is_empty());
    assert_eq!(changes.journal.len(), 2);
}

#[test]
fn a_lookup_of_an_unknown_key_leaves_no_key() {
    let mut batch = Batch::new(at_noon(), Vec::new());

    let by_key = batch.decide(&call(Request::LookUpKey("pay_1".to_owned())));
    let by_id = batch.decide(&call(Request::LookUpCharge("ch_1".to_owned())));

    assert_eq!(by_key, Reply::Answer(Answer::Charges(Vec::new())));
    assert_eq!(by_id, Reply::refuse(Refusal::NotFound));
    assert!(batch.changes().keys.is_empty());
}

#[test]
fn what_is_due_takes_effect_without_any_call() {
    let mut batch = Batch::new(at_noon(), Vec::new());
    batch.decide(&charge_call("sim_late_arrival"));
    let three_seconds_on = at_noon() + chrono::TimeDelta::seconds(3);

    let later = Batch::new(three_seconds_on, stored(batch));

    assert_eq!(journal(&later), [("charge", "charge", None)]);
    assert_eq!(later.changes().charges.len(), 1);
}
