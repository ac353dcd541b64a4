//! `POST /v1/payments`, when all is well.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::a_payment;

use super::{an_api, fields};

/// The fields of a payment, no more and no less, sorted.
const PAYMENT: [&str; 18] = [
    "amount",
    "attempt_count",
    "created_at",
    "currency",
    "customer_id",
    "description",
    "due_at",
    "failure",
    "gateway",
    "held_reason",
    "id",
    "metadata",
    "object",
    "payment_method",
    "status",
    "terminal_at",
    "updated_at",
    "version",
];

#[tokio::test]
async fn an_accepted_payment_has_a_location_and_exactly_the_fields_of_the_contract() {
    let system = an_api().await;
    let request = a_payment().with("description", json!("Order 77")).with("metadata", json!({"order": "77"}));

    let posted = system.pay(request).await;
    let id = posted.payment_id();
    let payment = posted.json();

    assert_eq!(posted.header("location"), format!("/v1/payments/{id}"));
    assert_eq!(posted.header("content-type"), "application/json");
    assert!(posted.header("request-id").starts_with("req_"), "{:?}", posted.headers);
    assert_eq!(posted.header("idempotent-replayed"), "false");
    assert_eq!(fields(&payment), PAYMENT);
    let fixed = [
        ("object", json!("payment")),
        ("status", json!("pending")),
        ("amount", json!("12.30")),
        ("currency", json!("EUR")),
        ("customer_id", json!("customer-1")),
        ("payment_method", json!("sim_ok")),
        ("description", json!("Order 77")),
        ("metadata", json!({"order": "77"})),
        ("attempt_count", json!(0)),
        ("held_reason", Value::Null),
        ("failure", Value::Null),
        ("gateway", Value::Null),
        ("terminal_at", Value::Null),
        ("version", json!(1)),
    ];
    for (field, value) in fixed {
        assert_eq!(payment[field], value, "{field}");
    }
    for field in ["created_at", "updated_at", "due_at"] {
        let time = payment[field].as_str().unwrap_or_default();
        assert!(time.ends_with('Z') && time.parse::<DateTime<Utc>>().is_ok(), "{field} is {time}");
    }
    let mut read = system.client.payment(id).await;
    let refunded = read.as_object_mut().unwrap().remove("amount_refunded");
    assert_eq!(refunded, Some(json!("0.00")), "only a read tells what was given back");
    assert_eq!(read, payment, "a read shows what was answered");
}

#[tokio::test]
async fn an_accepted_payment_is_one_payment_one_key_one_event_and_one_job() {
    let system = an_api().await;

    let id = system.accepted(a_payment()).await;

    assert_eq!(system.stored().await, [1, 1, 1, 1]);
    let job: Vec<u8> =
        sqlx::query_scalar("select job from apalis.jobs").fetch_one(&system.database.pool).await.unwrap();
    let job: Value = serde_json::from_slice(&job).unwrap();
    assert_eq!(job, json!({ "payment_id": id }), "a job names its payment and says nothing else");
}

#[tokio::test]
async fn an_amount_is_a_string_or_a_number_and_is_shown_with_the_digits_of_its_currency() {
    let system = an_api().await;
    let table = [
        ("\"12.30\"", "EUR", "12.30"),
        ("\"12.3\"", "EUR", "12.30"),
        ("12.3", "EUR", "12.30"),
        ("12", "EUR", "12.00"),
        ("0.1", "EUR", "0.10"),
        ("0.01", "USD", "0.01"),
        ("1.1e1", "EUR", "11.00"),
        // A float would show the first as 4999.9949999…, and could not hold the second at all.
        ("4999.99", "EUR", "4999.99"),
        ("999999999999.99", "EUR", "999999999999.99"),
        ("\"1000000000000\"", "EUR", "1000000000000.00"),
        ("1500", "JPY", "1500"),
        ("\"1500\"", "JPY", "1500"),
        ("1.5", "KWD", "1.500"),
        ("\"0.001\"", "KWD", "0.001"),
    ];
    for (i, (amount, currency, shown)) in table.into_iter().enumerate() {
        let body = format!(
            r#"{{"amount":{amount},"currency":"{currency}","customer_id":"c","payment_method":"sim_ok"}}"#
        );

        let posted = system.client.pay_text(&format!("key-{i}"), body).await;

        let read = system.client.payment(posted.payment_id()).await;
        assert_eq!(posted.json()["amount"], shown, "{amount} {currency}, answered");
        assert_eq!(read["amount"], shown, "{amount} {currency}, read");
    }
}

#[tokio::test]
async fn texts_come_back_as_they_were_sent_up_to_their_full_length() {
    let system = an_api().await;
    let texts = ["", "Zahlung für „Überraschung“ 🎁", "'; drop table payments; --", "\\u0000 \\ \" \n\t"];
    let longest: Vec<String> = ["d", "ü", "🎁"].iter().map(|c| c.repeat(1000)).collect();
    for text in texts.into_iter().chain(longest.iter().map(String::as_str)) {
        let request = a_payment().with("description", json!(text));

        let id = system.accepted(request).await;

        assert_eq!(system.client.payment(id).await["description"], text);
    }
}

#[tokio::test]
async fn metadata_comes_back_as_it_was_sent_up_to_its_full_size() {
    let system = an_api().await;
    let largest: Value = (0..50).map(|i| (format!("{i:040}"), json!("ü".repeat(500)))).collect();
    for metadata in [json!({}), json!({"b": "2", "a": "", "ключ": "значение"}), largest] {
        let request = a_payment().with("metadata", metadata.clone());

        let id = system.accepted(request).await;

        assert_eq!(system.client.payment(id).await["metadata"], metadata);
    }
}

#[tokio::test]
async fn description_and_metadata_may_be_left_out() {
    let system = an_api().await;

    let left_out = system.pay(a_payment()).await;
    let null = system.pay(a_payment().with("description", Value::Null)).await;

    for posted in [left_out, null] {
        posted.assert_status(202);
        assert_eq!(posted.json()["description"], Value::Null);
        assert_eq!(posted.json()["metadata"], json!({}));
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let system = an_api().await;
    let request = a_payment();

    let first = system.pay(request.clone()).await;
    let replay = system.pay(request).await;
    let read = system.client.get("/v1/payments").await;

    let mut ids = [first, replay, read].map(|answer| answer.header("request-id").to_owned()).to_vec();
    assert!(ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}
