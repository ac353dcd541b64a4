//! Requests that are made up at random, for the readers of amounts, keys, headers, cursors and bodies: none
//! of them has an answer that the contract does not list, and none stops the API.
//!
//! `make test` makes up a few hundred, `make fuzz` a million. `tests::client` holds each answer against the
//! document, and debug builds answer 500 in place of a code that an operation does not list.

use futures::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tests::client::answer;
use tests::{System, a_payment, raw};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::an_api;

/// How many requests; a few without it.
const NUMBER: &str = "PAYONCE_FUZZ";

/// The requests that are under way at a time. A failure is cut down to one of them.
const AT_ONCE: usize = 20;

/// A request as it is made up.
#[derive(Debug, Clone)]
struct MadeUp {
    method: Method,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

/// A text that readers are known to stumble over, or any other.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "",
        " ",
        "0",
        "-0",
        "+1",
        "1e2",
        "1e400",
        "1_000",
        "0x10",
        "NaN",
        "Infinity",
        "12.30",
        "12.300",
        ".5",
        "5.",
        "١٢",
        "1,5",
        "999999999999.99",
        "1000000000000",
        "EUR",
        "eur",
        "€",
        "\u{0}",
        "\u{200b}",
        "\u{202e}x",
        "null",
        "true",
        "[]",
        "{}",
        "\"",
        "\\",
        "\"a\"",
        "sim_ok",
        "4242424242424242",
        "pay_",
        "..",
        "%00",
        "a\nb",
        "é",
        "💶",
    ];
    prop_oneof![select(known.to_vec()).prop_map(str::to_owned), ".{0,40}", "[ -~]{0,300}"]
}

/// A JSON value of little depth.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A body: a good one with some fields changed, or numbers as nobody writes them, or pieces of one, or bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let fields =
        ["amount", "currency", "customer_id", "payment_method", "description", "metadata", "id", "transfers"];
    let changed = vec((select(fields.to_vec()), value()), 0..4)
        .prop_map(|changes| {
            let mut body = a_payment().body;
            changes.into_iter().for_each(|(field, value)| body[field] = value);
            body.to_string().into_bytes()
        })
        .boxed();
    let numbers = "-?[0-9]{1,30}(\\.[0-9]{0,30})?([eE][+-]?[0-9]{1,4})?"
        .prop_map(|number| a_payment().body.to_string().replace("\"12.30\"", &number).into_bytes());
    let pieces = (any::<prop::sample::Index>(), vec(any::<u8>(), 0..4), changed.clone()).prop_map(
        |(at, bytes, mut body)| {
            let at = at.index(body.len() + 1);
            body.truncate(at);
            body.extend(bytes);
            body
        },
    );
    prop_oneof![4 => changed, 2 => numbers, 2 => pieces, 1 => vec(any::<u8>(), 0..200)]
}

/// Headers that somebody reads, with any value that HTTP can carry.
fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let names = [
        "idempotency-key",
        "x-correlation-id",
        "prefer",
        "if-none-match",
        "accept",
        "accept-encoding",
        "content-type",
        "content-encoding",
        "content-language",
        "x-simulate-chaos",
        "origin",
        "range",
        "expect-ct",
        "host",
    ];
    let bytes = vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff, Just(b'\t')], 0..60);
    let known = select(
        &[
            "application/json",
            "text/plain",
            "application/json; charset=utf-16",
            "wait=1",
            "wait=-1",
            "wait=99999999999",
            "\"k\"",
            "\"k",
            "k",
            "gzip",
            "W/\"1.1.1\"",
            "*",
            "true",
            "identity;q=0",
        ][..],
    );
    vec((select(names.to_vec()), prop_oneof![bytes, known.prop_map(|it| it.as_bytes().to_vec())]), 0..4)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A path with a query, of those that read something of it.
fn path() -> impl Strategy<Value = String> {
    let lists = [
        "/v1/payments",
        "/v1/accounts",
        "/v1/transfers",
        "/v1/idempotency-keys",
        "/v1/payments/pay_0/events",
    ];
    let names = [
        "cursor",
        "limit",
        "status",
        "held",
        "customer_id",
        "currency",
        "created_after",
        "created_before",
        "amount",
        "wait",
        "key",
        "operation",
        "at",
        "starting_after",
        "nonsense",
    ];
    let value = prop_oneof![text(), "[A-Za-z0-9_-]{0,120}", "[0-9T:Z.+-]{0,30}"];
    let query = vec((select(names.to_vec()), value), 0..4)
        .prop_map(|parameters| {
            let parameters = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
            parameters.collect::<Vec<_>>().join("&")
        })
        .boxed();
    let of_list = (select(lists.to_vec()), query.clone()).prop_map(|(list, query)| format!("{list}?{query}"));
    let of_id = (text(), query).prop_map(|(id, query)| format!("/v1/payments/{}?{query}", encoded(&id)));
    prop_oneof![4 => of_list, 1 => of_id]
}

fn request() -> impl Strategy<Value = MadeUp> {
    let posts = select(&["/v1/payments", "/v1/accounts", "/v1/transfers"][..]).prop_map(str::to_owned);
    let post = (posts, headers(), body(), "[!-~]{1,40}").prop_map(|(path, mut headers, body, key)| {
        // Most of them come as far as the body.
        for (name, value) in [("idempotency-key", key.as_bytes()), ("content-type", b"application/json")] {
            if !headers.iter().any(|(sent, _)| *sent == name) {
                headers.push((name, value.to_vec()));
            }
        }
        MadeUp { method: Method::POST, path, headers, body }
    });
    let get = (path(), headers()).prop_map(|(path, headers)| MadeUp {
        method: Method::GET,
        path,
        headers,
        body: Vec::new(),
    });
    prop_oneof![3 => post, 2 => get]
}

/// How many cases, and whether they are others each time.
fn runner(per_case: usize) -> TestRunner {
    let number = std::env::var(NUMBER).ok().map(|number| number.parse::<usize>().unwrap());
    let cases = number.unwrap_or(400).div_ceil(per_case).try_into().unwrap_or(u32::MAX);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    match number {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

/// What is wrong with the answer to a request; none if nothing is.
async fn wrong(system: &System, made_up: &MadeUp) -> Option<String> {
    let mut request = system.client.request(made_up.method.clone(), &made_up.path).body(made_up.body.clone());
    for (name, value) in &made_up.headers {
        request = request.header(HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?);
    }
    let answer = match answer(request).await {
        Ok(answer) => answer,
        Err(why) => return Some(format!("no answer: {why}")),
    };
    // A body in more than one coding, or a head that no server reads, is told without one by the library.
    let is_bodiless = answer.status == 400 && answer.body.is_empty();
    let is_told = answer.status < 400 || answer.header("content-type") == "application/problem+json";
    let is_fine = answer.status < 500 && (is_told || is_bodiless);
    (!is_fine).then(|| format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

#[test]
fn no_request_that_can_be_made_up_has_an_answer_outside_of_the_contract() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let system = threads.block_on(an_api());
    let held = runner(AT_ONCE).run(&vec(request(), AT_ONCE), |all| {
        let answers = threads.block_on(join_all(all.iter().map(|made_up| wrong(&system, made_up))));
        let first = all.iter().zip(answers).find_map(|(made_up, wrong)| Some((made_up, wrong?)));
        prop_assert!(first.is_none(), "{first:?}");
        Ok(())
    });
    assert!(held.is_ok(), "{}", held.unwrap_err());
    threads.block_on(async {
        system.client.get("/health/ready").await.assert_status(200);
        let panics = system.apis[0].stderr().lines().filter(|line| line.contains("\"panic\"")).count();
        assert_eq!(panics, 0, "no request makes the API panic");
        drop(system);
    });
}

/// Sends bytes that need be no HTTP, and answers what comes back until the connection ends.
async fn exchanged(base: &str, bytes: &[u8]) -> String {
    let mut connection = raw::sent(base, "").await;
    let _ = connection.write_all(bytes).await;
    let _ = connection.shutdown().await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Pieces of heads and bodies, put together.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "POST /v1/payments HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n",
        "GET /v1/payments HTTP/9.9\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "host: a\r\n",
        "host: b\r\n",
        "content-length: 5\r\n",
        "content-length: -1\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "expect: 100-continue\r\n",
        "connection: close\r\n",
        "connection: upgrade\r\nupgrade: h2c\r\n",
        "\r\n",
        "\r\n\r\n",
        "5\r\nabcde\r\n",
        "0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "x: \u{0}\r\n",
        " folded\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "{\"amount\":\"1\"}",
    ];
    let piece = prop_oneof![4 => select(known.to_vec()).prop_map(|it| it.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..20)];
    vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn whatever_comes_over_the_wire_is_answered_or_ended() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let system = threads.block_on(an_api());
    let base = system.client.url("");
    let held = runner(AT_ONCE).run(&vec(wire(), AT_ONCE), |all| {
        let answers = threads.block_on(join_all(all.iter().map(|bytes| exchanged(&base, bytes))));
        for (bytes, answer) in all.iter().zip(answers) {
            let sent = String::from_utf8_lossy(bytes);
            let status = answer.strip_prefix("HTTP/1.1 ").or_else(|| answer.strip_prefix("HTTP/1.0 "));
            let is_ended = answer.is_empty() || answer.starts_with('\0');
            prop_assert!(
                is_ended || status.is_some_and(|rest| !rest.starts_with('5') || rest.starts_with("505")),
                "{sent:?}: {answer}"
            );
        }
        Ok(())
    });
    assert!(held.is_ok(), "{}", held.unwrap_err());
    threads.block_on(async {
        let paid = system.pay(a_payment().with("metadata", json!({ "still": "well" }))).await;
        paid.assert_status(202);
        assert_eq!(system.count("select count(*) from payments").await, 1, "none of that was a payment");
        drop(system);
    });
}
