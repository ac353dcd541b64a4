//! The bytes of renderer 1, which never change.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_796_000_000 + second, 0).unwrap()
}

fn logged(version: i32, event_type: &str, from: Option<&str>, to: &str, evidence: Value) -> Event {
    Event {
        version,
        event_type: event_type.to_owned(),
        from_status: from.map(str::to_owned),
        to_status: to.to_owned(),
        reason: None,
        evidence,
        claim_token: None,
        due_at: None,
        spends: false,
        correlation_id: "c".to_owned(),
        at: at(version.into()),
    }
}

fn history() -> Vec<Event> {
    let created = json!({
        "merchant_id": Uuid::nil(), "customer_id": "c1", "amount": "12.3", "currency": "EUR", "payment_method": "sim_ok",
        "description": "tea", "metadata": {"order": "7"},
    });
    vec![
        logged(1, "created", None, "pending", created),
        logged(
            2,
            "attempt_started",
            Some("pending"),
            "processing",
            json!({"send_by": "2026-12-01T00:00:00+00:00"}),
        ),
        logged(3, "succeeded", Some("processing"), "succeeded", json!({"charge_id": "ch_1"})),
    ]
}

fn succeeded() -> Stored {
    Stored {
        id: EventId { epoch: 1_796_000_000, tx: 745, object: Uuid::from_u128(0xabc), version: 3 },
        previous_version: None,
        kind: "payment".to_owned(),
        event_type: "payment.succeeded".to_owned(),
        renderer: 1,
        at: at(3),
    }
}

#[test]
fn renderer_1_writes_these_bytes_for_ever() {
    let body = payment(Uuid::nil().into(), &succeeded(), Some(&history())).unwrap();
    let golden = concat!(
        r#"{"id":"evt_6b0cc90000000000000002e900000000000000000000000000000abc00000003","object":"event","#,
        r#""type":"payment.succeeded","api_version":"2026-11-30","created_at":"2026-11-30T00:53:23.000000Z","#,
        r#""merchant":"mer_00000000000000000000000000000000","payment":"pay_00000000000000000000000000000abc","#,
        r#""version":3,"previous_version":null,"data":{"id":"pay_00000000000000000000000000000abc","object":"payment","#,
        r#""status":"succeeded","amount":"12.30","currency":"EUR","customer_id":"c1","payment_method":"sim_ok","#,
        r#""description":"tea","metadata":{"order":"7"},"attempt_count":1,"due_at":null,"held_reason":null,"failure":null,"#,
        r#""gateway":{"transaction_id":"ch_1"},"created_at":"2026-11-30T00:53:21.000000Z","#,
        r#""updated_at":"2026-11-30T00:53:23.000000Z","terminal_at":"2026-11-30T00:53:23.000000Z","version":3}}"#,
    );
    assert_eq!(body.get(), golden);
}

#[test]
fn a_hole_in_the_history_is_told_without_data_and_a_word_of_a_newer_program_is_not_told_at_all() {
    let mut holed = history();
    holed.remove(1);
    let body = payment(Uuid::nil().into(), &succeeded(), Some(&holed)).unwrap();
    assert!(body.get().ends_with(r#""data":null}"#), "{body}");

    let mut newer = history();
    newer[1].event_type = "of_another_time".to_owned();
    assert!(payment(Uuid::nil().into(), &succeeded(), Some(&newer)).is_err());
}
