//! `POST /v1/payments`, when the request is wrong: the answer says what is wrong, and nothing is stored.

use reqwest::Method;
use serde_json::{Value, json};
use tests::a_payment;
use tests::client::send;

use super::an_api;

/// A body that is valid except for one field, whose value is this text of JSON.
fn with(field: &str, value: &str) -> Vec<u8> {
    let mut body =
        json!({"amount": "12.30", "currency": "EUR", "customer_id": "c", "payment_method": "sim_ok"});
    body[field] = json!("<here>");
    body.to_string().replace("\"<here>\"", value).into_bytes()
}

fn without(field: &str) -> Vec<u8> {
    let mut body =
        json!({"amount": "12.30", "currency": "EUR", "customer_id": "c", "payment_method": "sim_ok"});
    if let Some(object) = body.as_object_mut() {
        object.remove(field);
    }
    body.to_string().into_bytes()
}

/// Each field, the name that the answer gives it, and values that are refused.
const FIELDS: &[(&str, Option<&str>, &[&str])] = &[
    (
        "amount",
        Some("amount"),
        &[
            "\"\"",
            "\"abc\"",
            "\"0\"",
            "\"0.00\"",
            "0",
            "-0",
            "-1",
            "\"-12.30\"",
            "\"+1\"",
            "\"12.345\"",
            "0.001",
            "\"1000000000000.01\"",
            "1000000000001",
            "1e400",
            "1e-9",
            "\"1,50\"",
            "\" 1\"",
            "\"1 \"",
            "\"1_000\"",
            "\"NaN\"",
            "\"Infinity\"",
            "\"0x10\"",
            "\"١\"",
            "\"1.\"",
            "\".5\"",
            "true",
            "null",
            "[]",
            "{}",
            "[1]",
            "\"0.3000000000000000000000000000000000000000000001\"",
        ],
    ),
    (
        "currency",
        Some("currency"),
        &["\"eur\"", "\"EU\"", "\"EURO\"", "\"ZZZ\"", "\"XAU\"", "\"XTS\"", "\"\"", "\"€\""],
    ),
    ("currency", Some("currency"), &["null", "978", "[]"]),
    ("customer_id", Some("customer_id"), &["\"\"", "\"a\\u0000b\""]),
    ("customer_id", Some("customer_id"), &["null", "7", "{}", "\"\\ud800\""]),
    ("payment_method", Some("payment_method"), &["\"\"", "\"tok\\u0000\""]),
    ("payment_method", Some("payment_method"), &["null", "7", "[\"sim_ok\"]"]),
    ("description", Some("description"), &["\"\\u0000\""]),
    ("description", Some("description"), &["7", "{}"]),
    ("metadata", Some("metadata"), &["{\"\":\"nameless\"}", "{\"a\":\"\\u0000\"}", "{\"\\u0000\":\"a\"}"]),
    (
        "metadata",
        Some("metadata"),
        &["[]", "\"text\"", "{\"a\":1}", "{\"a\":null}", "{\"a\":{}}", "{\"a\":\"1\",\"a\":\"2\"}"],
    ),
    ("status", Some("status"), &["\"succeeded\""]),
    ("id", Some("id"), &["\"pay_01900000000000000000000000000000\""]),
    ("idempotency", Some("idempotency"), &["1"]),
];

/// Bodies that are refused, and the field that the answer names.
fn refused_bodies() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let of_fields = FIELDS
        .iter()
        .flat_map(|(field, param, values)| values.iter().map(|value| (with(field, value), *param)));
    let too_long =
        |field, param, length: usize| (with(field, &json!("x".repeat(length)).to_string()), Some(param));
    let many: Value = (0..51).map(|i| (format!("n{i}"), json!("v"))).collect();
    let long_name = json!({"n".repeat(41): "v"});
    let long_value = json!({"n": "v".repeat(501)});
    let metadata =
        [many, long_name, long_value].map(|value| (with("metadata", &value.to_string()), Some("metadata")));
    let jpy = br#"{"amount":"1.5","currency":"JPY","customer_id":"c","payment_method":"sim_ok"}"#;
    let twice =
        br#"{"amount":"1","amount":"2","currency":"EUR","customer_id":"c","payment_method":"sim_ok"}"#;
    let trailing = [without(""), b" {}".to_vec()].concat();
    let cut_off = without("")[..40].to_vec();
    let not_utf8 = [&without("")[..30], b"\xff\xfe"].concat();
    let nested = "[".repeat(50_000).into_bytes();
    let no_objects = ["", " ", "null", "[]", "\"text\"", "7", "{", "}", "nul", "{'amount':1}"];
    of_fields
        .chain([
            too_long("customer_id", "customer_id", 256),
            too_long("payment_method", "payment_method", 256),
            too_long("description", "description", 1001),
            (jpy.to_vec(), Some("amount")),
            (twice.to_vec(), Some("amount")),
        ])
        .chain(metadata)
        .chain(
            ["amount", "currency", "customer_id", "payment_method"]
                .map(|field| (without(field), Some(field))),
        )
        .chain([trailing, cut_off, not_utf8, nested].map(|body| (body, None)))
        .chain(no_objects.map(|body| (body.as_bytes().to_vec(), None)))
        .collect()
}

#[tokio::test]
async fn every_invalid_body_is_a_400_that_names_the_field_and_stores_nothing() {
    let system = an_api().await;
    for (body, param) in refused_bodies() {
        let case = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();

        let answer = system.client.pay_text("key-1", body).await;

        assert_eq!(answer.status, 400, "{case}");
        let problem = answer.assert_problem(400, "invalid_request");
        assert_eq!(problem["param"].as_str(), param, "{case}: {problem}");
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_request_without_a_key_is_refused_and_stores_nothing() {
    let system = an_api().await;

    let answer = system.pay(a_payment().without_key()).await;

    answer.assert_problem(400, "idempotency_key_missing");
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_stores_nothing() {
    let system = an_api().await;
    let too_long = "k".repeat(256);
    for key in ["", " ", "\"\"", "\"open", "two words", "\"two words\"", "a\tb", &too_long] {
        let answer = system.pay(a_payment().key(key)).await;

        let problem = answer.assert_problem(400, "invalid_request");
        assert_eq!(problem["param"], "Idempotency-Key", "{key:?}");
    }
    let two = system.pay(a_payment().key("one").header("idempotency-key", "two")).await;
    two.assert_problem(400, "invalid_request");
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn the_shortest_and_the_longest_key_are_taken() {
    let system = an_api().await;

    for key in ["k", &"k".repeat(255), "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"] {
        system.pay(a_payment().key(key)).await.assert_status(202);
    }

    assert_eq!(system.stored().await, [3, 3, 3, 3]);
}

#[tokio::test]
async fn a_body_of_more_than_64_kib_is_a_413_and_stores_nothing() {
    let system = an_api().await;
    let padded = |bytes: usize| {
        let mut body = with("description", "\"padded\"");
        body.resize(bytes, b' ');
        body
    };

    let too_large = system.client.pay_text("key-1", padded(64 * 1024 + 1)).await;
    let stored = system.stored().await;
    let largest = system.client.pay_text("key-1", padded(64 * 1024)).await;

    too_large.assert_problem(413, "payload_too_large");
    assert_eq!(stored, [0, 0, 0, 0]);
    largest.assert_status(202);
}

#[tokio::test]
async fn a_body_that_is_not_sent_as_json_is_a_415_and_stores_nothing() {
    let system = an_api().await;
    for media_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        let mut post = system.client.request(Method::POST, "/v1/payments").header("idempotency-key", "key-1");
        if let Some(media_type) = media_type {
            post = post.header("content-type", media_type);
        }

        let answer = send(post.body(without(""))).await;

        answer.assert_problem(415, "unsupported_media_type");
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}
