//! What requests are accepted and refused, as tables.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, "application/json".parse().unwrap())])
}

fn with(field: &str, value: Value) -> Value {
    let mut body =
        json!({"amount": "12.30", "currency": "EUR", "customer_id": "c1", "payment_method": "sim_ok"});
    body[field] = value;
    body
}

fn read(body: &str) -> Result<PaymentRequest, Problem> {
    accept(&headers(), body.as_bytes())
}

/// Reads and checks the request, as for a new payment.
fn accept(headers: &HeaderMap, body: &[u8]) -> Result<PaymentRequest, Problem> {
    let request = super::read(headers, body)?;
    check(&request).map(|money| checked(request, money))
}

#[track_caller]
fn check_refused(field: &str, value: Value, param: Option<&str>) {
    match read(&with(field, value.clone()).to_string()) {
        Err(Problem::InvalidRequest(faults)) => {
            let named: Vec<_> = faults.iter().map(Fault::param).collect();
            assert_eq!(named, [param.map(str::to_owned)], "{field} = {value}");
        }
        other => panic!("{field} = {value} gave {other:?}"),
    }
}

#[test]
fn an_amount_is_read_exactly_from_a_string_or_a_number() {
    let amount = |text: &str| {
        let body =
            format!(r#"{{"amount":{text},"currency":"EUR","customer_id":"c","payment_method":"sim_ok"}}"#);
        read(&body).map(|request| request.money.to_string())
    };
    assert_eq!(amount("12.3"), Ok("12.30".to_owned()));
    assert_eq!(amount("\"12.30\""), Ok("12.30".to_owned()));
    assert_eq!(amount("999999999999.99"), Ok("999999999999.99".to_owned()));
    assert_eq!(amount("0.1"), Ok("0.10".to_owned()));
}

#[test]
fn each_bad_field_is_refused_by_name() {
    check_refused("amount", json!("12.345"), Some("amount"));
    check_refused("amount", json!(0), Some("amount"));
    check_refused("amount", json!(null), Some("amount"));
    check_refused("amount", json!({"value": 1}), Some("amount"));
    check_refused("currency", json!("eur"), Some("currency"));
    check_refused("customer_id", json!(""), Some("customer_id"));
    check_refused("customer_id", json!("c".repeat(256)), Some("customer_id"));
    check_refused("customer_id", json!("a\0b"), Some("customer_id"));
    check_refused("payment_method", json!("4242 4242 4242 4242"), Some("payment_method"));
    check_refused("description", json!("pay with 4242424242424242"), Some("description"));
    check_refused("description", json!("d".repeat(1001)), Some("description"));
    check_refused("metadata", json!({"card": "4242-4242-4242-4242"}), Some("metadata"));
    check_refused("metadata", json!({"": "nameless"}), Some("metadata"));
    check_refused("metadata", json!({"n": 1}), Some("metadata"));
    check_refused("metadata", json!([]), Some("metadata"));
    check_refused("unknown", json!(1), Some("unknown"));
    check_refused("customer_id", json!(7), Some("customer_id"));
}

#[test]
fn a_body_that_is_no_object_or_names_a_field_twice_is_refused() {
    let twice = r#"{"amount":"1","amount":"2","currency":"EUR","customer_id":"c","payment_method":"sim_ok"}"#;
    let metadata_twice = r#"{"amount":"1","currency":"EUR","customer_id":"c","payment_method":"p","metadata":{"a":"1","a":"2"}}"#;
    for body in ["", "null", "[]", "{}", "{\"amount\"", "\"text\"", twice, metadata_twice] {
        assert!(matches!(read(body), Err(Problem::InvalidRequest(_))), "{body}");
    }
}

#[test]
fn only_json_is_read() {
    let body = with("amount", json!("1")).to_string();
    for (media_type, is_json) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("text/plain", false),
        ("application/x-www-form-urlencoded", false),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]);
        assert_eq!(accept(&headers, body.as_bytes()).is_ok(), is_json, "{media_type}");
    }
    assert_eq!(accept(&HeaderMap::new(), body.as_bytes()), Err(Problem::UnsupportedMediaType));
}

/// Whether that is what was taken of this field.
fn is_as_sent(taken: &PaymentRequest, field: &str, sent: &Value) -> bool {
    match field {
        "amount" => {
            let digits = sent.as_str().map_or_else(|| sent.to_string(), str::to_owned);
            money::decimal(&digits) == Ok(taken.money.amount())
        }
        "currency" => sent == taken.money.currency().code(),
        "customer_id" => sent == taken.customer_id.as_str(),
        "payment_method" => sent == taken.payment_method.as_str(),
        "description" => *sent == json!(taken.description),
        "metadata" => *sent == json!(taken.metadata) || (sent.is_null() && taken.metadata.is_empty()),
        _ => false,
    }
}

proptest! {
    #[test]
    fn bytes_that_are_no_request_are_told_so_and_of_others_all_is_taken_as_it_was_sent(
        at in 0_usize..120,
        cut in 0_usize..4,
        put in prop_oneof!["[ -~]{0,3}", ".{0,3}"],
    ) {
        let whole = with("metadata", json!({"order": "77"})).to_string().into_bytes();
        let at = at.min(whole.len());
        let body = [&whole[..at], put.as_bytes(), &whole[(at + cut).min(whole.len())..]].concat();

        match accept(&headers(), &body) {
            Ok(taken) => {
                let sent: Value = serde_json::from_slice(&body).unwrap();
                for (field, value) in sent.as_object().unwrap() {
                    prop_assert!(is_as_sent(&taken, field, value), "{} of {} is {:?}", field, sent, taken);
                }
            }
            Err(problem) => prop_assert!(matches!(problem, Problem::InvalidRequest(_)), "{:?}", problem),
        }
    }

    #[test]
    fn a_field_is_taken_as_it_was_sent_or_named(
        field in "(amount|currency|customer_id|payment_method|description|metadata)",
        text in ".{0,60}",
        number in any::<f64>(),
    ) {
        for value in [json!(text), json!(number), json!([text]), json!({text.clone(): text})] {
            match read(&with(&field, value.clone()).to_string()) {
                Ok(taken) => {
                    prop_assert!(is_as_sent(&taken, &field, &value), "{} = {}: {:?}", field, value, taken);
                }
                Err(Problem::InvalidRequest(faults)) => {
                    for fault in faults {
                        let named = fault.param();
                        // Of another currency the amount may have too many digits.
                        let may_be_named = named.as_deref() == Some(field.as_str())
                            || (field == "currency" && named.as_deref() == Some("amount"));
                        prop_assert!(may_be_named, "{} = {} names {:?}", field, value, named);
                    }
                }
                Err(other) => prop_assert!(false, "{} = {}: {:?}", field, value, other),
            }
        }
    }
}
