//! What is wrong with a request is told in full: each fault with its place, in words that a client knows.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::client::send;
use tests::{Answer, System, a_payment, raw};

use super::an_api;
use super::keys::{asks, is_merchants, is_open, is_page, routes_of_the_api};
use crate::operator::ADAS_KEY;

/// Words of the parser and of our source. No client knows them.
const NOT_OURS: [&str; 9] =
    ["expected", "invalid type", "at line", "struct", "deserialize", "element", "RawValue", "Query", "i64"];

/// Each fault as its place, the name there, and its code.
fn told(answer: &Answer) -> Vec<(String, String, String)> {
    let problem = answer.assert_problem(400, "invalid_request");
    let text = answer.json().to_string();
    for word in NOT_OURS {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    assert_eq!(problem["detail"], errors[0]["detail"], "{problem}");
    let place = |error: &Value| {
        let places: Vec<_> =
            ["pointer", "query", "header"].into_iter().filter(|it| error[it].is_string()).collect();
        assert_eq!(places.len(), 1, "{error}");
        places[0]
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    errors
        .iter()
        .inspect(|error| assert!(!text(&error["detail"]).is_empty(), "{error}"))
        .map(|error| (place(error).to_owned(), text(&error[place(error)]), text(&error["code"])))
        .collect()
}

fn fault(place: &str, name: &str, code: &str) -> (String, String, String) {
    (place.to_owned(), name.to_owned(), code.to_owned())
}

/// A request of any path with the key that opens it.
fn opened(system: &System, method: &Method, path: &str) -> RequestBuilder {
    let key = if is_merchants(path) { system.client.secret() } else { ADAS_KEY };
    asks(system, method, path).header("x-api-key", key).header("idempotency-key", "key-1")
}

/// Every path of the API itself that needs a key.
fn locked() -> Vec<(Method, String)> {
    let all = routes_of_the_api().into_iter();
    all.filter(|(_, path)| !is_open(path) && !is_page(path)).collect()
}

#[tokio::test]
async fn a_body_that_is_no_object_is_told_so_on_every_path_that_takes_one() {
    let system = an_api().await;
    let paths = locked().into_iter().filter(|(method, path)| {
        // These have no body.
        let bare =
            ["/v1/transfers/1/void", "/v1/corrections/1/approve", "/rotate_secret", "/disable", "/test"];
        *method == Method::POST && !bare.iter().any(|end| path.ends_with(end))
    });
    let mut seen = 0;
    for (method, path) in paths {
        let fields = json!(["12.50", "EUR", "c", "sim_ok", null, {}]);
        for (body, is) in [
            (fields, "an array"),
            (json!([]), "an array"),
            (json!("text"), "a string"),
            (json!(null), "null"),
        ] {
            let answer = send(opened(&system, &method, &path).json(&body)).await;

            assert_eq!(told(&answer), [fault("pointer", "", "wrong_type")], "{path}: {body}");
            let detail = format!("the body must be a JSON object, it is {is}");
            assert_eq!(answer.json()["detail"], detail, "{path}: {body}");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} paths take a body");
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn all_faults_of_a_body_are_told_at_once_and_the_first_names_the_param() {
    let system = an_api().await;
    let body = json!({
        "amount": true, "currency": null, "customer_id": 7, "payment_method": " tok", "description": {},
        "metadata": {"order": 77, "card": "4242424242424242", "a/b": null}, "colour": "red",
    });

    let answer = system.client.pay_text("two words", body.to_string()).await;

    let expected = [
        fault("header", "Idempotency-Key", "invalid"),
        fault("pointer", "/amount", "wrong_type"),
        fault("pointer", "/currency", "wrong_type"),
        fault("pointer", "/customer_id", "wrong_type"),
        fault("pointer", "/description", "wrong_type"),
        fault("pointer", "/metadata/order", "wrong_type"),
        fault("pointer", "/metadata/a~1b", "wrong_type"),
        fault("pointer", "/colour", "unknown"),
        fault("pointer", "/payment_method", "invalid"),
        fault("pointer", "/metadata/card", "invalid"),
    ];
    let mut told = told(&answer);
    told.sort();
    let mut all = expected.to_vec();
    all.sort();
    assert_eq!(told, all);
    assert_eq!(answer.json()["param"], "Idempotency-Key");
    let broken = json!({"amount": "-1", "currency": "HRK", "customer_id": "", "payment_method": "sim_ok"});
    let rules = system.client.pay_text("key-1", broken.to_string()).await;
    let named: Vec<_> = self::told(&rules).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(named, ["/amount", "/currency", "/customer_id"]);
    assert_eq!(rules.json()["param"], "amount");
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn an_empty_object_is_told_each_field_that_is_missing_and_a_name_that_stands_twice_is_named() {
    let system = an_api().await;
    let payment = system.client.pay_text("key-1", "{}").await;
    let missing = ["/amount", "/currency", "/customer_id", "/payment_method"];
    assert_eq!(told(&payment), missing.map(|name| fault("pointer", name, "missing")));

    let correction = send(opened(&system, &Method::POST, "/v1/corrections").json(&json!({}))).await;
    let missing = ["/payment_id", "/kind", "/amount", "/reason"];
    assert_eq!(told(&correction), missing.map(|name| fault("pointer", name, "missing")));

    let twice = br#"{"reason":"a","reason":"b","unproven":"yes"}"#.to_vec();
    let resolve = send(opened(&system, &Method::POST, "/v1/breaks/1/resolve").body(twice)).await;
    let expected = [fault("pointer", "/reason", "repeated"), fault("pointer", "/unproven", "wrong_type")];
    assert_eq!(told(&resolve), expected);
}

#[tokio::test]
async fn no_request_makes_a_long_answer_out_of_short_faults() {
    let system = an_api().await;
    let many: Value = (0..5_000).map(|n| (format!("f{n}"), json!(1))).collect();
    let long = json!({"n".repeat(60_000): 1});
    for body in [many, long] {
        let answer = system.client.pay_text("key-1", body.to_string()).await;

        assert!(told(&answer).len() <= 20);
        assert!(answer.body.len() < 10_000, "{} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn every_path_refuses_a_parameter_that_it_does_not_know_and_one_that_stands_twice() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let paths = locked();
    assert!(paths.len() > 15, "{paths:?}");
    for (method, path) in paths {
        let path = path.replace("/v1/payments/1", &format!("/v1/payments/{id}"));
        let mut request = opened(&system, &method, &format!("{path}?colour=red&colour=blue"));
        if path == "/v1/payments" && method == Method::POST {
            request = request.json(&a_payment().body);
        }

        let answer = send(request).await;

        let told = told(&answer);
        for code in ["repeated", "unknown"] {
            assert!(told.contains(&fault("query", "colour", code)), "{method} {path}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_told_what_it_must_be() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let events = format!("/v1/payments/{id}/events");
    let payment = format!("/v1/payments/{id}");
    let bounds = "limit must be a whole number from 1 to 100";
    let table = [
        ("/v1/payments", "limit=0", bounds),
        ("/v1/payments", "limit=ten", bounds),
        (&events, "limit=101", bounds),
        ("/v1/breaks", "limit=", bounds),
        ("/v1/corrections", "limit=-1", bounds),
        ("/v1/dead-letters", "limit=1.5", bounds),
        ("/v1/reconciliation/runs", "limit=101", bounds),
        ("/v1/recovery-reports", "limit=0", bounds),
        ("/v1/payments", "created_after=yesterday", "such as 2026-01-31T12:00:00Z"),
        ("/v1/payments", "created_after=2026-01-31T12:00:00+01:00", "a + in it is written %2B"),
        ("/v1/payments", "status=paid", "one of pending, processing"),
        ("/v1/payments", "starting_after=7", "pay_ and 32"),
        (&events, "starting_after=first", "the version of an event"),
        (&payment, "wait=61", "a whole number of seconds from 0 to 60"),
        ("/v1/breaks", "open=yes", "true or false"),
        ("/v1/breaks", "kind=odd", "one of "),
        ("/v1/dead-letters", "class=odd", "one of "),
        ("/v1/corrections", "payment_id=7", "pay_ and 32"),
        ("/v1/recovery-reports", "starting_after=x", "a whole number"),
    ];
    for (path, query, wants) in table {
        let answer = send(opened(&system, &Method::GET, &format!("{path}?{query}&colour=red"))).await;

        let name = query.split('=').next().unwrap_or_default();
        let expected = [fault("query", name, "invalid"), fault("query", "colour", "unknown")];
        assert_eq!(told(&answer), expected, "{path}?{query}");
        let problem = answer.json();
        assert_eq!(problem["param"], name);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with(name) && detail.contains(wants), "{path}?{query}: {detail}");
    }
}

#[tokio::test]
async fn a_body_that_is_coded_is_a_415_which_says_how_to_send_it() {
    let system = an_api().await;
    for coding in ["gzip", "br", "identity, gzip", "GZIP"] {
        let answer = system.pay(a_payment().header("content-encoding", coding)).await;

        let problem = answer.assert_problem(415, "unsupported_content_encoding");
        assert_eq!(problem["errors"][0]["header"], "Content-Encoding", "{coding}");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
    system.pay(a_payment().header("content-encoding", "identity")).await.assert_status(202);
}

#[tokio::test]
async fn http_1_1_without_exactly_one_host_is_a_400_on_both_listeners() {
    let system = an_api().await;
    for listener in ["api", "ops", "board"] {
        let base = system.apis[0].address(listener);
        let ask = async |version: &str, hosts: &str| {
            let request = format!("GET /health HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
            raw::exchange(base, &request).await
        };
        for hosts in ["", "host: a\r\nhost: b\r\n", "host: a\r\nhost: a\r\n", "host: a b\r\n"] {
            let answer = ask("1.1", hosts).await;

            assert!(answer.starts_with("HTTP/1.1 400 "), "{listener}, {hosts:?}: {answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
            assert!(answer.contains("\"header\":\"Host\""), "{answer}");
        }
        for (version, hosts) in
            [("1.1", "host: pay_once.local:8080\r\n"), ("1.1", "host: [::1]:80\r\n"), ("1.0", "")]
        {
            let answer = ask(version, hosts).await;

            assert!(!answer.contains(" 400 "), "{listener}, {version} with {hosts:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn ids_that_are_not_clean_are_refused_by_name_and_null_is_an_optional_field_left_out() {
    let system = an_api().await;
    for field in ["customer_id", "payment_method"] {
        for (text, why) in [
            ("a\u{7}", "U+0007 at place 2"),
            ("a\u{200b}b", "U+200B at place 2"),
            ("\u{202e}a", "U+202E at place 1"),
            (" a", "begins or ends with a blank"),
            ("a\t", "U+0009"),
            ("a ", "begins or ends with a blank"),
            ("Zoe\u{308}", "NFC"),
        ] {
            let answer = system.pay(a_payment().with(field, json!(text))).await;

            assert_eq!(told(&answer), [fault("pointer", &format!("/{field}"), "invalid")], "{text:?}");
            let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(detail.contains(why), "{text:?}: {detail}");
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
    let request = a_payment();
    let first = system.pay(request.clone()).await;
    first.assert_status(202);
    for field in ["metadata", "description"] {
        let again = system.pay(request.clone().with(field, Value::Null)).await;

        again.assert_status(202);
        assert_eq!(again.body, first.body, "{field}");
    }
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}
