//! `GET /v1/payments/{id}` and its events.

use std::time::Duration;

use domain::ids::PaymentId;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::wait::wait_for_within;
use tests::{System, a_payment, wait_until};

use super::{an_api, fields};
use crate::PROGRAM;

#[tokio::test]
async fn a_payment_that_succeeded_names_the_gateways_transaction() {
    let system = System::start(PROGRAM).await;

    let id = system.accepted(a_payment()).await;
    let payment = system.ended(id).await;

    assert_eq!(payment["status"], "succeeded");
    assert_eq!(fields(&payment["gateway"]), ["transaction_id"]);
    let journal = system.journal().await;
    let charge = journal.iter().find(|row| row["kind"] == "charge").map(|row| &row["charge_id"]);
    assert_eq!(Some(&payment["gateway"]["transaction_id"]), charge);
    assert_eq!(payment["failure"], Value::Null);
    assert_eq!(payment["due_at"], Value::Null);
    assert!(payment["terminal_at"].is_string(), "{payment}");
}

#[tokio::test]
async fn a_declined_payment_is_no_http_error_and_says_why_it_failed() {
    let system = System::start(PROGRAM).await;

    let id = system.accepted(a_payment().method("sim_declined")).await;
    let payment = system.ended(id).await;

    assert_eq!(payment["status"], "failed");
    assert_eq!(payment["gateway"], Value::Null);
    assert_eq!(fields(&payment["failure"]), ["code", "message", "retryable"]);
    assert_eq!(payment["failure"]["code"], "card_declined");
    assert!(payment["failure"]["message"].as_str().is_some_and(|why| !why.is_empty()), "{payment}");
    assert_eq!(payment["failure"]["retryable"], true, "another payment with the same data may go through");
}

#[tokio::test]
async fn events_are_versions_one_to_n_with_exactly_the_fields_of_the_contract() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_503")).await;
    let payment = system.ended(id).await;

    let list = system.client.get(&format!("/v1/payments/{id}/events")).await.json();

    assert_eq!(list["object"], "list");
    let events = list["data"].as_array().cloned().unwrap_or_default();
    let versions: Vec<i64> = events.iter().filter_map(|event| event["version"].as_i64()).collect();
    let expected: Vec<i64> = (1..=payment["version"].as_i64().unwrap_or_default()).collect();
    assert_eq!(versions, expected);
    assert!(versions.len() > 3, "two retries are in it: {list}");
    let contract = ["at", "correlation_id", "evidence", "from", "reason", "to", "type", "version"];
    for event in &events {
        assert_eq!(fields(event), contract, "{event}");
    }
    for pair in events.windows(2) {
        assert_eq!(pair[1]["from"], pair[0]["to"], "each event starts where the one before it ended");
        let [before, after] = [&pair[0]["at"], &pair[1]["at"]].map(|at| at.as_str().unwrap());
        assert!(before <= after, "{pair:?}");
    }
    assert_eq!(
        (&events[0]["type"], &events[0]["from"], &events[0]["to"]),
        (&json!("created"), &Value::Null, &json!("pending"))
    );
    assert_eq!(events.last().map(|last| &last["to"]), Some(&payment["status"]));
}

/// Every text below it that is an instant, by its name.
fn instants(value: &Value, found: &mut Vec<(String, String)>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        instants(value, found);
        if let Some(text) =
            value.as_str().filter(|text| text.parse::<chrono::DateTime<chrono::Utc>>().is_ok())
        {
            found.push((name.clone(), text.to_owned()));
        }
    }
    value.as_array().into_iter().flatten().for_each(|value| instants(value, found));
}

#[tokio::test]
async fn every_time_is_in_utc_to_the_microsecond() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    let payment = system.ended(id).await;
    let list = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
    let (mut found, digits) = (Vec::new(), "2026-01-31T12:00:00.000000Z".len());
    instants(&payment, &mut found);
    instants(&list, &mut found);

    for name in ["created_at", "updated_at", "terminal_at", "at", "send_by"] {
        assert!(found.iter().any(|(found, _)| found == name), "no {name} in {found:?}");
    }
    for (name, text) in found {
        assert!(text.len() == digits && text.ends_with('Z'), "{name}: {text}");
    }
}

#[tokio::test]
async fn events_are_read_in_pages_where_that_is_asked_for() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_503")).await;
    system.ended(id).await;
    let list =
        async |query: &str| system.client.get(&format!("/v1/payments/{id}/events{query}")).await.json();
    let whole = list("").await;
    let all = whole["data"].as_array().cloned().unwrap_or_default();

    let (mut read, mut has_more) = (Vec::new(), true);
    while has_more {
        let last = read.last().map_or(0, |event: &Value| event["version"].as_i64().unwrap_or_default());
        let page = list(&format!("?limit=2&starting_after={last}")).await;
        read.extend(page["data"].as_array().cloned().unwrap_or_default());
        has_more = page["has_more"] == true;
    }

    assert_eq!(read, all);
    assert_eq!(whole["has_more"], false);
    assert_eq!(list("?limit=1").await["data"], json!([all[0]]));
    assert_eq!(list(&format!("?starting_after={}", all.len())).await["data"], json!([]));
}

/// Waits until the API looks for payments that a long poll waits for.
async fn somebody_waits(system: &System) {
    wait_until("a long poll to be under way", async || {
        let sessions = "select count(*) from pg_stat_activity
                         where datname = current_database() and query like '%terminal_at is not null%'
                           and pid <> pg_backend_pid()";
        system.count(sessions).await > 0
    })
    .await;
}

/// Reads with the longest wait there is. Only an answer before its end passes, for which there is almost
/// a minute.
async fn long_poll(system: &System, id: PaymentId) -> Value {
    const BEFORE_ITS_END: Duration = Duration::from_secs(58);
    let path = format!("/v1/payments/{id}?wait=60");
    let what = "the long poll to be answered before its end";
    let answer = wait_for_within(BEFORE_ITS_END, what, async || Some(system.client.get(&path).await)).await;
    answer.assert_status(200);
    answer.json()
}

#[tokio::test]
async fn a_long_poll_returns_when_the_payment_ends() {
    let mut system = an_api().await;
    let id = system.accepted(a_payment()).await;
    let worker = system.worker();

    let (payment, worker) = tokio::join!(long_poll(&system, id), async {
        somebody_waits(&system).await;
        worker.start().await
    });

    assert_eq!(payment["status"], "succeeded");
    assert_eq!(payment, system.client.payment(id).await);
    system.workers.push(worker);
}

#[tokio::test]
async fn a_long_poll_returns_when_the_payment_is_held_for_a_person() {
    let mut system = an_api().await;
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    let worker = system.worker();

    let (payment, worker) = tokio::join!(long_poll(&system, id), async {
        somebody_waits(&system).await;
        worker.start().await
    });

    assert_eq!((&payment["status"], &payment["held_reason"]), (&json!("processing"), &json!("wrong_answer")));
    system.workers.push(worker);
}

#[tokio::test]
async fn a_hundred_long_polls_of_several_payments_all_return() {
    let mut system = an_api().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(system.accepted(a_payment()).await);
    }
    let worker = system.worker();

    let polls = join_all((0..100).map(|i| long_poll(&system, ids[i % ids.len()])));
    let (payments, worker) = tokio::join!(polls, async {
        somebody_waits(&system).await;
        worker.start().await
    });

    assert!(payments.iter().all(|payment| payment["status"] == "succeeded"), "{payments:?}");
    system.workers.push(worker);
}

#[tokio::test]
async fn a_long_poll_of_a_payment_that_ended_answers_at_once() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    let ended = system.ended(id).await;

    assert_eq!(long_poll(&system, id).await, ended);
}

#[tokio::test]
async fn a_wait_that_is_over_shows_the_payment_as_it_stands() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    for wait in ["0", "1"] {
        let answer = system.client.get(&format!("/v1/payments/{id}?wait={wait}")).await;

        answer.assert_status(200);
        assert_eq!(answer.json()["status"], "pending", "wait={wait}");
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_or_none_is_a_400() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;
    for query in
        ["?wait=61", "?wait=-1", "?wait=1.5", "?wait=soon", "?wait=", "?wait=1&wait=1", "?expand=events"]
    {
        let answer = system.client.get(&format!("/v1/payments/{id}{query}")).await;

        assert_eq!(answer.status, 400, "{query}");
        answer.assert_problem(400, "invalid_request");
    }
}
