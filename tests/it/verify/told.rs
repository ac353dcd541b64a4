//! Defects of what was told, planted behind the guards: a skipped, a doubled, a disordered event, and one
//! that an endpoint was never sent.

use serde_json::Value;

use super::{after_payments_by, behind_the_guards, offences, report, verify};

/// What is planted in a payment that succeeded, and what must be said of it. `$id` is the payment's UUID.
const DEFECTS: &[(&str, &str)] = &[
    ("was never told", "delete from public_events where object = $id"),
    (
        "is told as payment.failed, and is not that",
        "insert into public_events select merchant_id, epoch, tx, object, version + 1, version, kind, 'payment.failed', renderer, at
           from public_events where object = $id",
    ),
    ("names another one as that", "update public_events set previous_version = 1 where object = $id"),
    (
        "is told before an earlier one",
        "insert into payment_events (payment_id, version, type, from_status, to_status, correlation_id, at)
         select $id, version + 1, 'held', 'processing', 'processing', 'c', at from payment_events where payment_id = $id and type = 'succeeded';
         insert into public_events select merchant_id, epoch, '3', object, version + 1, version, kind, 'payment.held', renderer, at
           from public_events where object = $id",
    ),
    (
        "neither delivered nor due nor given up",
        "insert into webhook_endpoints (id, merchant_id, idempotency_key, url, start_epoch, start_tx, epoch, tx, object, version)
         select $id, merchant_id, object::text, 'https://example.com/', epoch, (tx::text::bigint - 1)::text::xid8, epoch, tx, object, version
           from public_events where object = $id",
    ),
];

/// The offences that are no events', and how many violations there are beside those.
pub(super) fn beside(report: &Value) -> (Vec<(String, String, String)>, usize) {
    let of_others = |check: &&Value| check["name"] != "events";
    let checks = report["checks"].as_array().unwrap().iter().filter(of_others);
    let violations: u64 = checks.map(|check| check["violations"].as_u64().unwrap()).sum();
    let said = offences(report).into_iter().filter(|(check, ..)| check != "events");
    (said.collect(), violations.try_into().unwrap())
}

#[tokio::test]
async fn an_event_that_was_skipped_doubled_disordered_or_never_sent_is_named() {
    for (says, sql) in DEFECTS {
        let (system, ids) = after_payments_by(&["sim_ok"]).await;
        let (code, clean) = report(verify(&system, &[])).await;
        assert_eq!(code, 0, "{clean}");
        behind_the_guards(&system.database.pool, &sql.replace("$id", &format!("'{}'", ids[0].uuid()))).await;

        let (code, report) = report(verify(&system, &[])).await;

        assert_eq!(code, 1, "{says}");
        let is_named = |(check, subject, told): &(String, String, String)| {
            check == "events" && *subject == ids[0].to_string() && told.contains(says)
        };
        assert!(offences(&report).iter().any(is_named), "{says}: {report}");
    }
}
