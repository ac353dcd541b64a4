//! Processes that die, fail or pause around the statements of rules, reviews and payments from balances: what
//! is repeated finds one effect.

use reqwest::Method;
use serde_json::{Value, json};
use tests::client::answer;
use tests::{Client, Process, Shape, System};

use super::{POINTS, act, add_rule, large, review_large};
use crate::operator::ADMIN_KEY;
use crate::{PROGRAM, dead_letters};

/// An API at which this fault is armed, and an administrator's client of it.
async fn faulty(system: &System, faults: &str) -> (Process, Client) {
    let api = system.api().env("PAYONCE_FAULTS", faults).start().await;
    let client = Client::new(vec![api.address("api").to_owned()], ADMIN_KEY.to_owned());
    (api, client)
}

const ACTIONS: [&str; 3] = ["kill", "error", "delay:300"];

#[tokio::test]
async fn whatever_happens_around_a_decision_its_repetition_finds_one() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    review_large(&system).await;
    for point in POINTS.iter().filter(|point| point.starts_with("review")) {
        for action in ACTIONS {
            let id = system.accepted(large()).await;
            let (_api, admin) = faulty(&system, &format!("{point}={action}")).await;
            let path = format!("/v1/reviews/{id}/approve");
            let _ = answer(admin.request(Method::POST, &path).json(&json!({ "by": "ada" }))).await;

            let again = act(&system, id, "approve").await;

            again.assert_status(200);
            assert_eq!(again.json()["status"], "approved", "{point}={action}");
            assert_eq!(system.story(id).await, ["created", "review_started", "approved"], "{point}={action}");
        }
    }
    let jobs = "select count(*) from apalis.jobs where idempotency_key like '%:3'";
    assert_eq!(system.count(jobs).await, 6, "one for each");
}

#[tokio::test]
async fn a_rule_that_was_not_told_of_is_there_or_not_and_can_be_seen() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    for point in POINTS.iter().filter(|point| point.starts_with("rule")) {
        let launch = tests::Launch::payonce(PROGRAM)
            .args(["rules", "add", "new_customer", "--action", "review", "--reason", "x", "--by", "ada"])
            .env("DATABASE_URL", system.database.app_url())
            .env("PAYONCE_FAULTS", format!("{point}=kill"));
        assert_eq!(launch.run().await.0, tests::Exit::Signal(9));
        let (_, list) = dead_letters::payonce(&system, &["rules", "list", "--json"]).await;
        let list: Value = serde_json::from_str(&list.stdout()).unwrap();
        let there = usize::from(point.ends_with("committed"));
        assert_eq!(list["data"].as_array().unwrap().len(), there, "{point}");
    }
    add_rule(&system, &["new_customer", "--action", "deny"]).await;
}
