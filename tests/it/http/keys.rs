//! What each key opens: every path of both listeners, as the routers' own source names them, so that none is
//! forgotten here.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::System;
use tests::client::send;
use tests::contract::operations;

use super::an_api;
use crate::operator::ADMIN_KEY;
use crate::tidy::{sources, text};

/// What anybody may ask for. A worker shows the last three.
const OPEN: [&str; 7] =
    ["/docs", "/openapi.json", "/problems/1", "/health", "/health/live", "/health/ready", "/metrics"];

/// Below these a merchant's key opens, and everywhere else an admin's.
const MERCHANTS: [&str; 9] = [
    "/v1/payments",
    "/v1/idempotency-keys",
    "/v1/accounts",
    "/v1/transfers",
    "/v1/refunds",
    "/v1/returns",
    "/v1/disputes",
    "/v1/events",
    "/v1/webhook_endpoints",
];

const NOBODYS: &str = "payonce_sk_unknown";

/// Whether anybody may ask for that path.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Whether a merchant's key opens that path.
pub(super) fn is_merchants(path: &str) -> bool {
    MERCHANTS.iter().any(|it| path.starts_with(it))
}

/// Every path that the API serves, by its contract and by the source of the operators' pages.
pub(super) fn routes_of_the_api() -> Vec<(Method, String)> {
    let contract = operations().into_iter().map(|it| (it.method.parse().unwrap(), it.path_with("1")));
    routes("api/src").into_iter().chain(contract).collect()
}

/// Every path that the source below this folder routes, with each method that it takes.
fn routes(folder: &str) -> Vec<(Method, String)> {
    let mut found = Vec::new();
    // What the contract routes is read from the contract.
    for (file, text) in sources(&[folder]).into_iter().filter(|(file, _)| file != "api/src/contract.rs") {
        // The job board brings paths of its own, which tests of its own ask for.
        for unseen in [".nest(", ".nest_service(", ".route_service("] {
            assert!(
                file == "api/src/board.rs" || !text.contains(unseen),
                "{file}: {unseen} is not read here"
            );
        }
        for call in text.split(".route(").skip(1) {
            let path = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            assert!(path.is_some(), "{file}: no path in {call:.40}");
            let path = path.unwrap().replace("{id}", "1").replace("{*rest}", "nothing");
            let methods = methods(arguments(call));
            assert!(!methods.is_empty(), "{file}: {path} takes no method that is known here");
            found.extend(methods.into_iter().map(|method| (method, path.clone())));
        }
    }
    found
}

/// What stands before the parenthesis that closes the call.
fn arguments(call: &str) -> &str {
    let mut depth = 1_u32;
    let end = call.find(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    &call[..end.unwrap_or(call.len())]
}

fn methods(arguments: &str) -> Vec<Method> {
    let is_called = |name: &str| {
        let mut calls = arguments.match_indices(name);
        calls.any(|(at, _)| !arguments[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let all = [
        ("get(", Method::GET),
        ("post(", Method::POST),
        ("put(", Method::PUT),
        ("patch(", Method::PATCH),
        ("delete(", Method::DELETE),
        ("any(", Method::GET),
        ("any(", Method::POST),
    ];
    all.into_iter().filter(|(name, _)| is_called(name)).map(|(_, method)| method).collect()
}

/// Whether the path is one of the operators' pages, which stand on a listener of their own.
pub(super) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/ops")
}

/// Asks the listener that has the path.
pub(super) fn asks(system: &System, method: &Method, path: &str) -> RequestBuilder {
    let listener = match path {
        "/metrics" => "metrics",
        _ if is_page(path) => "ops",
        _ => "api",
    };
    // A stream has no end, so its place is one that there is not.
    let query = if path.ends_with("/stream") { "?after=none" } else { "" };
    let url = format!("{}{path}{query}", system.apis[0].address(listener));
    reqwest::Client::new().request(method.clone(), url).json(&json!({}))
}

#[test]
fn the_paths_are_read_from_the_routers() {
    let api = routes_of_the_api();
    for (method, path) in [
        (Method::POST, "/v1/payments"),
        (Method::GET, "/v1/payments"),
        (Method::GET, "/v1/payments/1/events"),
        (Method::POST, "/v1/breaks/1/resolve"),
        (Method::POST, "/v1/corrections"),
        (Method::POST, "/v1/dead-letters/1/replay"),
        (Method::GET, "/ops"),
        (Method::POST, "/ops/payments/1"),
        (Method::GET, "/ops/style.css"),
        (Method::POST, "/ops/nothing"),
    ] {
        assert!(api.contains(&(method.clone(), path.to_owned())), "{method} {path} is not among {api:?}");
    }
    let paths =
        |routes: Vec<(Method, String)>| routes.into_iter().map(|(_, path)| path).collect::<BTreeSet<_>>();
    let open = |api: &[&str]| api.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        paths(routes("worker/src")),
        open(&OPEN[4..]),
        "a worker shows nothing else, and asks for no key"
    );
    assert!(paths(api).is_superset(&open(&OPEN)));
}

#[tokio::test]
async fn without_a_key_that_is_known_every_path_but_health_and_metrics_is_a_401() {
    let system = an_api().await;
    for (method, path) in routes_of_the_api() {
        let asks = || asks(&system, &method, &path);
        for (how, request) in [
            ("no key", asks()),
            ("an empty key", asks().header("x-api-key", "")),
            ("an unknown key", asks().header("x-api-key", NOBODYS)),
            ("an unknown bearer", asks().bearer_auth(NOBODYS)),
            ("an unknown password", asks().basic_auth("ada", Some(NOBODYS))),
            ("a name alone", asks().basic_auth("ada", None::<&str>)),
        ] {
            let status = send(request).await.status;

            assert_eq!(status == 401, !OPEN.contains(&path.as_str()), "{method} {path} with {how}: {status}");
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

/// A key in all the ways in which one may be presented.
fn presented(asks: impl Fn() -> RequestBuilder, key: &str) -> [(&'static str, RequestBuilder); 3] {
    [
        ("as a header", asks().header("x-api-key", key)),
        ("as a bearer", asks().bearer_auth(key)),
        ("as a password", asks().basic_auth("ada", Some(key))),
    ]
}

#[tokio::test]
async fn every_path_opens_with_its_own_kind_of_key_presented_in_its_own_way_and_with_no_other() {
    let system = an_api().await;
    for (method, path) in routes_of_the_api().iter().filter(|(_, path)| !OPEN.contains(&path.as_str())) {
        let (is_page, is_merchants) = (is_page(path), is_merchants(path));
        for (key, is_its_own) in [(ADMIN_KEY, !is_merchants), (system.client.secret(), is_merchants)] {
            for (how, request) in presented(|| asks(&system, method, path), key) {
                let is_its_way = is_page == (how == "as a password");
                // A merchant's key is known where operators are; an admin key nowhere else.
                let is_known = is_its_own || key != ADMIN_KEY;

                let answer = send(request).await;

                let case = format!("{method} {path} with {key} {how}: {}", answer.status);
                assert_eq!(answer.status != 401, is_its_way && is_known, "{case}");
                let lacks_scope =
                    answer.status == 403 && String::from_utf8_lossy(&answer.body).contains("the scope");
                assert_eq!(lacks_scope, is_its_way && is_known && !is_its_own, "{case}");
            }
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn two_different_keys_in_one_request_are_the_401_of_a_key_that_is_unknown() {
    let system = an_api().await;
    for (path, key) in [("/v1/payments", system.client.secret()), ("/v1/breaks", ADMIN_KEY)] {
        let asks = || asks(&system, &Method::GET, path);
        let unknown = send(asks().header("x-api-key", NOBODYS)).await;
        for (how, request) in [
            ("the valid one first", asks().header("x-api-key", key).header("x-api-key", NOBODYS)),
            ("the valid one last", asks().header("x-api-key", NOBODYS).header("x-api-key", key)),
            ("an empty one last", asks().header("x-api-key", key).header("x-api-key", "")),
            ("another bearer", asks().header("x-api-key", key).bearer_auth(NOBODYS)),
            ("a valid bearer", asks().header("x-api-key", NOBODYS).bearer_auth(key)),
        ] {
            let answer = send(request).await;

            assert_eq!(answer.status, 401, "{path}, {how}");
            assert_eq!(answer.problem(), unknown.problem(), "{path}, {how}");
            let names = |answer: &tests::Answer| {
                answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>()
            };
            assert_eq!(names(&answer), names(&unknown), "{path}, {how}");
        }
        for request in [
            asks().header("x-api-key", key).header("x-api-key", key),
            asks().header("x-api-key", key).bearer_auth(key),
        ] {
            send(request).await.assert_status(200);
        }
    }
}

#[test]
fn every_path_of_the_api_stands_in_the_readme_and_an_admins_where_the_key_is_explained() {
    let readme = text("README.md");
    let (_, table) = readme.split_once("\n## The API in short\n").unwrap();
    let table = table.split("\n\n- ").next().unwrap();
    let example = text(".env.example");
    let explained = example.split_once("\nADMIN_KEY=").unwrap().0.rsplit("\n\n").next().unwrap();
    let paths: BTreeSet<String> = routes_of_the_api().into_iter().map(|(_, path)| path).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths.iter().filter(|path| !is_page(path)) {
        let is_open = is_open(path);
        let path = path.replace("problems/1", "problems/{code}").replace("/1", "/{id}");
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_told = [format!("{path}`"), format!("…/{last}`")].iter().any(|it| table.contains(it));
        assert!(is_told, "README.md does not tell of {path}");
        if is_open || is_merchants(&path) {
            continue;
        }
        // The alert of errors sees what is below it.
        assert!(path.starts_with("/v1/"), "{path}");
        let list = path.split("/{id}").next().unwrap_or_default();
        assert!(explained.contains(list), ".env.example does not say that ADMIN_KEY opens {list}");
    }
}

#[tokio::test]
async fn a_method_that_no_router_names_is_a_405_on_every_path() {
    let system = an_api().await;
    let routes = routes_of_the_api();
    let paths: BTreeSet<&String> = routes.iter().map(|(_, path)| path).collect();
    for path in paths.into_iter().filter(|path| !is_page(path)) {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let is_routed = routes.contains(&(method.clone(), path.clone()));
            let key = if is_merchants(path) { system.client.secret() } else { ADMIN_KEY };
            let answer = send(asks(&system, &method, path).header("x-api-key", key)).await;

            assert_eq!(answer.status != 405, is_routed, "{method} {path}: {}", answer.status);
        }
    }
}
