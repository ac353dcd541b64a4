//! Requests that never reach the books.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::caller::{ChargeCall, Gateway, a_charge};

#[tokio::test]
async fn a_charge_call_that_is_not_right_is_refused_and_leaves_no_trace() {
    let gateway = Gateway::start().await;
    let too_long = "x".repeat(256);

    for (call, refused) in [
        (a_charge("pay_1").under(None), "400 idempotency_key_missing"),
        (a_charge("pay_1").under(Some("")), "400 idempotency_key_missing"),
        (a_charge(&too_long), "400 idempotency_key_missing"),
        (a_charge("pay 1"), "400 idempotency_key_missing"),
        (a_charge("pay_1").correlated("corr 1"), "400 invalid_request"),
        (a_charge("pay_1").amount("-12.30"), "400 invalid_request"),
        (a_charge("pay_1").amount("0.00"), "400 invalid_request"),
        (a_charge("pay_1").amount("1e3"), "400 invalid_request"),
        (a_charge("pay_1").amount("NaN"), "400 invalid_request"),
        (a_charge("pay_1").amount(""), "400 invalid_request"),
        (a_charge("pay_1").amount("1000000000000.01"), "400 invalid_request"),
        (a_charge("pay_1").amount("0.0000001"), "400 invalid_request"),
        (a_charge("pay_1").with("amount", json!(12.3)), "400 invalid_request"),
        (a_charge("pay_1").with("amount", json!(null)), "400 invalid_request"),
        (a_charge("pay_1").with("currency", json!("eur")), "400 invalid_request"),
        (a_charge("pay_1").with("currency", json!("EU\0")), "400 invalid_request"),
        (a_charge("pay_1").with("reference", json!("pay_1\0")), "400 invalid_request"),
        (a_charge("pay_1").with("reference", json!(too_long)), "400 invalid_request"),
        (a_charge("pay_1").method("pm_\0"), "400 invalid_request"),
        (a_charge("pay_1").method(""), "400 invalid_request"),
        (a_charge("pay_1").with("colour", json!("red")), "400 invalid_request"),
    ] {
        let shown = format!("{call:?}");
        assert_eq!(gateway.charge(call).await, refused, "{shown}");
    }

    assert_untouched(&gateway).await;
}

#[tokio::test]
async fn a_body_that_is_no_charge_is_refused_and_leaves_no_trace() {
    let gateway = Gateway::start().await;
    let whole = r#"{"amount":"1.00","currency":"EUR","payment_method":"sim_ok","reference":"pay_1"}"#;

    for (body, refused) in [
        (whole[..whole.len() - 1].to_owned(), "400 invalid_request"),
        (format!("{whole}x"), "400 invalid_request"),
        (whole.replace("pay_1", "\\ud800"), "400 invalid_request"),
        (whole.replace("\"EUR\"", "\"EUR\",\"currency\":\"EUR\""), "400 invalid_request"),
        (r#"["1.00","EUR","sim_ok","pay_1"]"#.to_owned(), "400 invalid_request"),
        ("{}".to_owned(), "400 invalid_request"),
        ("null".to_owned(), "400 invalid_request"),
        (String::new(), "400 invalid_request"),
        (format!("{whole}{}", " ".repeat(65_536)), "413 too_large"),
    ] {
        let request = gateway.request(Method::POST, "/charges").header("idempotency-key", "pay_1");
        assert_eq!(gateway.call(request.body(body.clone())).await, refused, "{}", body.trim_end());
    }

    assert_untouched(&gateway).await;
}

#[tokio::test]
async fn any_other_call_that_is_not_right_is_refused_and_leaves_no_trace() {
    let gateway = Gateway::start().await;
    let get = |path: &str| gateway.request(Method::GET, path);
    let void = |key: &str, body: &str| -> RequestBuilder {
        let request = gateway.request(Method::POST, "/voids").body(body.to_owned());
        if key.is_empty() { request } else { request.header("idempotency-key", key) }
    };

    for (request, refused) in [
        (void("", r#"{"key":"pay_1"}"#), "400 idempotency_key_missing"),
        (void("pay_1", r#"{"key":"pay_1"}"#), "400 idempotency_key_mismatch"),
        (void("pay_2:void", r#"{"key":"pay_1"}"#), "400 idempotency_key_mismatch"),
        (void(":void", r#"{"key":""}"#), "400 invalid_request"),
        (void("pay_1:void", r#"{"key":"pay_1\u0000"}"#), "400 invalid_request"),
        (void("pay_1:void", r#"{"key":"pay_1","amount":"1.00"}"#), "400 invalid_request"),
        (void("pay_1:void", r#"{"key":"pay_1""#), "400 invalid_request"),
        (get("/charges"), "400 invalid_request"),
        (get("/charges?key="), "400 invalid_request"),
        (get("/charges?key=%00"), "400 invalid_request"),
        (get("/charges?key=pay_1&id=1"), "400 invalid_request"),
        (get("/charges/%00"), "400 invalid_request"),
        (get("/journal?limit=0"), "400 invalid_request"),
        (get("/journal?limit=10001"), "400 invalid_request"),
        (get("/journal?after=-1"), "400 invalid_request"),
        (get("/journal?after=x"), "400 invalid_request"),
        (get("/nowhere"), "404 not_found"),
        (gateway.request(Method::DELETE, "/journal"), "405 method_not_allowed"),
        (gateway.request(Method::PUT, "/charges"), "405 method_not_allowed"),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(gateway.call(request).await, refused, "{shown}");
    }

    assert_untouched(&gateway).await;
}

#[tokio::test]
async fn an_unknown_token_charges_nothing() {
    let gateway = Gateway::start().await;

    for token in ["sim_unheard_of", "sim_OK", "visa", "4242424242424242", "pm"] {
        let call: ChargeCall = a_charge(token).method(token);
        assert_eq!(gateway.charge(call).await, "400 invalid_payment_method", "{token}");
        assert_eq!(gateway.effects_of(token).await, [""; 0], "{token}");
    }

    assert_eq!(gateway.count("select count(*) from gateway_charges").await, 0);
}

async fn assert_untouched(gateway: &Gateway) {
    assert_eq!(gateway.journal().await, [json!(null); 0]);
    assert_eq!(gateway.count("select count(*) from gateway_keys").await, 0);
    assert_eq!(gateway.count("select count(*) from gateway_charges").await, 0);
}
