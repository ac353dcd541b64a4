//! What each key opens: every path of both listeners, as the routers' own source names them, so that none is
//! forgotten here.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::System;
use tests::client::send;

use super::an_api;
use crate::operator::ADMIN_KEY;
use crate::tidy::sources;

/// What anybody may ask for.
const OPEN: [&str; 4] = ["/health", "/health/live", "/health/ready", "/metrics"];

/// Below it a merchant's key opens, and everywhere else an admin's.
const MERCHANTS: &str = "/v1/payments";

const NOBODYS: &str = "payonce_sk_unknown";

/// Every path that the source below this folder routes, with each method that it takes.
fn routes(folder: &str) -> Vec<(Method, String)> {
    let mut found = Vec::new();
    for (file, text) in sources(&[folder]) {
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

/// Asks the listener that has the path.
fn asks(system: &System, method: &Method, path: &str) -> RequestBuilder {
    let listener = if path.starts_with("/ops") { "board" } else { "api" };
    let url = format!("{}{path}", system.apis[0].address(listener));
    reqwest::Client::new().request(method.clone(), url).json(&json!({}))
}

#[test]
fn the_paths_are_read_from_the_routers() {
    let api = routes("api/src");
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
    let paths = |folder| routes(folder).into_iter().map(|(_, path)| path).collect::<BTreeSet<_>>();
    let open = |api: &[&str]| api.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(paths("worker/src"), open(&OPEN[1..]), "a worker shows nothing else, and asks for no key");
    assert!(paths("api/src").is_superset(&open(&OPEN)));
}

#[tokio::test]
async fn without_a_key_that_is_known_every_path_but_health_and_metrics_is_a_401() {
    let system = an_api().await;
    for (method, path) in routes("api/src") {
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
    for (method, path) in routes("api/src").iter().filter(|(_, path)| !OPEN.contains(&path.as_str())) {
        let (is_page, is_merchants) = (path.starts_with("/ops"), path.starts_with(MERCHANTS));
        for (key, is_its_own) in [(ADMIN_KEY, !is_merchants), (system.client.secret(), is_merchants)] {
            for (how, request) in presented(|| asks(&system, method, path), key) {
                let opens = is_its_own && is_page == (how == "as a password");

                let status = send(request).await.status;

                assert_eq!(status != 401, opens, "{method} {path} with {key} {how}: {status}");
            }
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}
