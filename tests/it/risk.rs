//! Rules of risk and reviews: what a rule says is decided when the payment is accepted, a person decides the
//! rest once, and no gateway hears of what nobody let pass.

mod crashes;
mod race;
mod restore;
mod reviews;
mod rules;

use domain::ids::PaymentId;
use reqwest::Method;
use serde_json::{Value, json};
use tests::client::{Request, send};
use tests::{Answer, System, a_payment};

use crate::dead_letters::payonce;
use crate::operator::ADMIN_KEY;

/// The points of rules, reviews and payments from balances, which the matrix leaves out. `risk/crashes.rs`
/// and `accounts/crashes.rs` kill and stop what passes them.
pub(crate) const POINTS: &[&str] =
    &["pay.before", "pay.committed", "review.before", "review.committed", "rule.before", "rule.committed"];

/// Adds a rule by the command line, and answers its number.
async fn add_rule(system: &System, rule: &[&str]) -> i64 {
    let given = [&["rules", "add"], rule, &["--reason", "a test", "--by", "ada", "--json"]].concat();
    let (code, process) = payonce(system, &given).await;
    assert_eq!(code, 0, "{}", process.stderr());
    serde_json::from_str::<Value>(&process.stdout()).unwrap()["id"].as_i64().unwrap()
}

/// Has everything above 1,000.00 USD wait for a person.
pub(crate) async fn review_large(system: &System) -> i64 {
    add_rule(
        system,
        &["amount_over", "--currency", "USD", "--amount", "1000.00", "--action", "review", "--score", "50"],
    )
    .await
}

/// A payment that waits for a person by then.
pub(crate) fn large() -> Request {
    a_payment().amount("1500").with("currency", json!("USD"))
}

/// Asks for something as an administrator.
async fn ask(system: &System, path: &str, body: Value) -> Answer {
    let admin = system.client.with_secret(ADMIN_KEY.to_owned());
    send(admin.request(Method::POST, path).json(&body)).await
}

async fn act(system: &System, id: PaymentId, act: &str) -> Answer {
    ask(system, &format!("/v1/reviews/{id}/{act}"), json!({ "by": "ada", "note": "seen" })).await
}

async fn get(system: &System, path: &str) -> Answer {
    system.client.with_secret(ADMIN_KEY.to_owned()).get(path).await
}

/// What the gateway's journal has of a payment: no row where it was never asked.
async fn heard_of(system: &System, id: PaymentId) -> usize {
    system.journal_of(id).await.len()
}
