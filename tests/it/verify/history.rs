//! The answers to clients, by their own history, are compared with what is recorded.

use std::fs;
use std::path::PathBuf;

use domain::ids::{MerchantId, PaymentId};
use serde_json::{Value, json};
use tests::{System, a_payment, guardian};

use super::{after_payments_by, at_rest, offences, report, verify};
use crate::PROGRAM;

/// A client's request and its answer.
fn exchange(key: &str, id: Option<PaymentId>) -> Value {
    json!({
        "at": "2026-11-01T12:00:00Z", "customer_id": "customer-1", "key": key, "amount": "12.30", "currency": "EUR",
        "payment_method": "sim_ok", "status": id.map(|_| 202), "payment_id": id, "body_sha256": id.map(|_| "aa"),
    })
}

fn with(mut exchange: Value, field: &str, value: Value) -> Value {
    exchange[field] = value;
    exchange
}

/// A system with a payment for each of these keys.
async fn after_keys(keys: &[&str]) -> (System, Vec<PaymentId>) {
    let mut system = System::start(PROGRAM).await;
    let mut ids = Vec::new();
    for key in keys {
        ids.push(system.accepted(a_payment().key(key)).await);
    }
    at_rest(&mut system).await;
    (system, ids)
}

async fn merchant(system: &System) -> MerchantId {
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from merchants").fetch_one(&system.database.pool).await.unwrap();
    id.into()
}

/// The findings with this history of the one merchant's clients.
async fn with_history(system: &System, exchanges: &[Value]) -> (i32, Value) {
    let heading = json!({ "history": 1, "merchant_id": merchant(system).await });
    let file = written(&heading, exchanges);
    report(verify(system, &["--at-rest", "--history", file.to_str().unwrap()])).await
}

fn written(heading: &Value, exchanges: &[Value]) -> PathBuf {
    let lines: Vec<String> = std::iter::once(heading).chain(exchanges).map(Value::to_string).collect();
    let file = guardian::scratch().join(format!("history-{:016x}", rand::random::<u64>()));
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    file
}

#[tokio::test]
async fn a_true_history_is_clean_and_counted() {
    let (system, ids) = after_keys(&["a", "b", "unheard"]).await;
    let history = [
        exchange("a", None),
        exchange("a", Some(ids[0])),
        exchange("a", Some(ids[0])),
        exchange("b", Some(ids[1])),
        exchange("unheard", None),
        exchange("never arrived", None),
        with(exchange("refused", None), "status", json!(400)),
    ];

    let (code, report) = with_history(&system, &history).await;

    assert_eq!(code, 0, "{report}");
    let expected = json!({
        "attempted": 5, "acknowledged": 2, "unknown": 3, "lost": 0, "unexpected": 0, "duplicated": 0,
    });
    assert_eq!(report["acknowledged"], expected);
}

#[tokio::test]
async fn what_clients_were_told_and_is_not_so_is_named() {
    let (system, ids) = after_keys(&["a", "b", "nobody's"]).await;
    let (a, b) = (ids[0], ids[1]);
    let gone = PaymentId::generate();
    let name = |key: &str| format!("{key:?} of \"customer-1\"");
    let unexpected = (name("nobody's"), "but no client sent it");
    let usual = [exchange("a", Some(a)), exchange("b", Some(b))];
    for (more, counted, subject, says) in [
        (vec![exchange("lost", Some(gone))], "lost", gone.to_string(), "has no such payment"),
        (vec![exchange("a", Some(b))], "duplicated", name("a"), "and again as"),
        (
            vec![with(exchange("a", Some(a)), "body_sha256", json!("bb"))],
            "",
            name("a"),
            "not with the same bytes",
        ),
        (vec![with(exchange("c", Some(a)), "status", json!(201))], "", a.to_string(), "is not recorded"),
        (vec![with(exchange("c", None), "status", json!(202))], "", name("c"), "without the id of a payment"),
    ] {
        let history: Vec<Value> = usual.iter().cloned().chain(more).collect();

        let (code, report) = with_history(&system, &history).await;

        let said = offences(&report);
        assert_eq!((code, said.len()), (1, 2), "{says}: {report}");
        for (subject, says) in [&unexpected, &(subject, says)] {
            let is_it = |(check, of, said): &(String, String, String)| {
                check == "acknowledged" && of == subject && said.contains(says)
            };
            assert!(said.iter().any(is_it), "{subject} {says}: {report}");
        }
        for count in ["lost", "unexpected", "duplicated"] {
            let expected = i32::from(count == "unexpected" || count == counted);
            assert_eq!(report["acknowledged"][count], expected, "{says}: {count}");
        }
    }
}

#[tokio::test]
async fn a_payment_that_is_not_what_was_asked_for_is_named_by_its_fields() {
    let (system, ids) = after_keys(&["a"]).await;
    for (field, value) in
        [("amount", "12.31"), ("currency", "USD"), ("payment_method", "sim_slow"), ("amount", "12,30")]
    {
        let (code, report) =
            with_history(&system, &[with(exchange("a", Some(ids[0])), field, json!(value))]).await;

        let says = format!("is not what was asked for when it was acknowledged: {field}");
        assert_eq!(
            (code, offences(&report)),
            (1, vec![("acknowledged".to_owned(), ids[0].to_string(), says)])
        );
    }
}

#[tokio::test]
async fn a_key_that_leads_to_another_payment_than_was_told_is_a_duplicate() {
    let (system, ids) = after_keys(&["a", "b"]).await;

    let (code, report) =
        with_history(&system, &[exchange("a", Some(ids[1])), exchange("b", Some(ids[1]))]).await;

    assert_eq!((code, &report["acknowledged"]["duplicated"]), (1, &1.into()), "{report}");
}

#[tokio::test]
async fn other_merchants_payments_are_expected_only_by_their_own_clients() {
    let (system, ids) = after_payments_by(&[]).await;
    assert_eq!(ids, []);
    let other = system.another_merchant("other").await;
    let theirs = other.pay(a_payment().key("a")).await.payment_id();
    let of = |merchant: Value| written(&json!({ "history": 1, "merchant_id": merchant }), &[]);

    let ours = of(json!(merchant_named(&system, "first").await));
    let (code, _) = report(verify(&system, &["--history", ours.to_str().unwrap()])).await;
    let all = of(Value::Null);
    let (of_all, report_of_all) = report(verify(&system, &["--history", all.to_str().unwrap()])).await;
    let lost = written(
        &json!({ "history": 1, "merchant_id": merchant_named(&system, "first").await }),
        &[exchange("a", Some(theirs))],
    );
    let (of_a_liar, report_of_liar) = report(verify(&system, &["--history", lost.to_str().unwrap()])).await;

    assert_eq!(code, 0);
    assert_eq!((of_all, &report_of_all["acknowledged"]["unexpected"]), (1, &1.into()));
    assert_eq!((of_a_liar, &report_of_liar["acknowledged"]["lost"]), (1, &1.into()));
}

async fn merchant_named(system: &System, name: &str) -> MerchantId {
    let id: uuid::Uuid = sqlx::query_scalar("select id from merchants where name = $1")
        .bind(name)
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    id.into()
}
