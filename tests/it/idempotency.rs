//! Idempotency keys: a request made many times, by many clients, or broken off half-way, is one payment and
//! one answer.

mod broken_off;
mod crossed;
mod held_key;
mod held_table;
mod race;
mod replay;
mod rules;
mod scope;

use serde_json::json;
use tests::client::Request;
use tests::{Answer, Shape, System, a_payment};
use tokio::sync::Mutex;

use crate::PROGRAM;

/// Held by the tests with crowds of clients. Two crowds at once would test the machine, and get 503s from
/// full pools.
pub(crate) static CROWD: Mutex<()> = Mutex::const_new(());

/// A system with this number of APIs and no worker: an accepted payment stays as it was accepted.
async fn apis(count: usize) -> System {
    System::with(PROGRAM, Shape { apis: count, ..Shape::default() }).await
}

/// The request that is made many times.
fn the_request() -> Request {
    a_payment().key("order-77").with("metadata", json!({"order": "77", "cart": "b", "age": "3"}))
}

/// Asserts that an answer is the first one once more: byte for byte, and marked.
#[track_caller]
fn assert_replay(answer: &Answer, first: &Answer) {
    assert_repeats(answer, first);
    assert_eq!(answer.header("idempotent-replayed"), "true");
    assert_ne!(answer.header("request-id"), first.header("request-id"));
}

/// Asserts that two answers are the same; either may be the first.
#[track_caller]
fn assert_repeats(answer: &Answer, other: &Answer) {
    answer.assert_status(202);
    assert_eq!(String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(&other.body));
    assert_eq!(answer.header("location"), other.header("location"));
    assert_eq!(answer.header("content-type"), other.header("content-type"));
}
