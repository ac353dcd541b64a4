//! Every error, on every path, is a problem document with a stable code and a `Request-Id`.

use domain::ids::PaymentId;
use reqwest::Method;
use tests::a_payment;
use tests::client::send;

use super::an_api;

#[tokio::test]
async fn a_path_that_does_not_exist_is_a_404() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let below = format!("/v1/payments/{id}/nothing");
    for path in ["/", "/v1", "/v2/payments", "/v1/payments/", "//v1/payments", "/favicon.ico", "/%ff", &below]
    {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = send(system.client.request(method, path)).await;

            answer.assert_problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn an_id_that_is_unknown_or_none_at_all_is_a_404() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let digits = id.uuid().as_simple().to_string();
    let ids = [
        PaymentId::generate().to_string(),
        "pay_1".to_owned(),
        "1".to_owned(),
        digits.clone(),
        id.uuid().to_string(),
        format!("mer_{digits}"),
        format!("pay_{}", digits.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")),
        format!("pay_{digits}0"),
        format!("PAY_{digits}"),
        "pay_%00".to_owned(),
        "%ff".to_owned(),
        "%2e%2e/%2e%2e".to_owned(),
        "'%20or%201=1".to_owned(),
        "x".repeat(5_000),
    ];
    for id in ids {
        for suffix in ["", "/events", "?wait=1"] {
            let answer = system.client.get(&format!("/v1/payments/{id}{suffix}")).await;

            assert_eq!(answer.status, 404, "{id}{suffix}");
            answer.assert_problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_a_405_which_names_those_it_does() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let table = [
        (
            "/v1/payments".to_owned(),
            vec![Method::PUT, Method::PATCH, Method::DELETE],
            "GET,HEAD,OPTIONS,POST",
        ),
        (
            format!("/v1/payments/{id}"),
            vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE],
            "GET,HEAD,OPTIONS",
        ),
        (format!("/v1/payments/{id}/events"), vec![Method::POST, Method::DELETE], "GET,HEAD,OPTIONS"),
        ("/health".to_owned(), vec![Method::POST, Method::DELETE], "GET,HEAD,OPTIONS"),
        ("/health/live".to_owned(), vec![Method::POST], "GET,HEAD,OPTIONS"),
        ("/health/ready".to_owned(), vec![Method::POST], "GET,HEAD,OPTIONS"),
    ];
    let stored = system.stored().await;
    for (path, methods, allowed) in table {
        for method in methods {
            let answer = send(system.client.request(method.clone(), &path)).await;

            assert_eq!(answer.status, 405, "{method} {path}");
            answer.assert_problem(405, "method_not_allowed");
            let mut names: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
            names.sort_unstable();
            assert_eq!(names.join(","), allowed, "{method} {path}");
        }
    }
    assert_eq!(system.stored().await, stored);
}

#[tokio::test]
async fn a_head_request_has_the_status_and_headers_of_a_get_and_no_body() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let missing = PaymentId::generate();
    let paths = [
        "/v1/payments".to_owned(),
        format!("/v1/payments/{id}"),
        format!("/v1/payments/{missing}"),
        "/health".to_owned(),
    ];
    for path in paths {
        let get = system.client.get(&path).await;
        let head = send(system.client.request(Method::HEAD, &path)).await;

        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(!head.header("request-id").is_empty(), "{path}");
        assert_eq!(head.body, b"", "{path}");
    }
}
