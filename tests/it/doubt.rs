//! Gateways that can do less than the simulated one, as declared and as a surprise. A doubt ends by a
//! look, by a void or with a person, and never by a guess. A gateway that breaks its promise about keys
//! leaves traces.

use domain::ids::PaymentId;
use serde_json::json;
use tests::{Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// Tokens whose first answer is lost in every way: the answer, the request, the connection before and after.
const LOST: &[&str] =
    &["sim_timeout_charged", "sim_timeout_not_charged", "sim_reset_before", "sim_reset_after"];

/// A system with one worker that believes this of the gateway.
async fn declared(believes: &[(&'static str, &str)]) -> System {
    let worker_env = believes.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await
}

/// Payments whose first answer is lost.
async fn lost(system: &System) -> Vec<PaymentId> {
    let mut ids = Vec::new();
    for token in LOST {
        ids.push(system.accepted(a_payment().method(token)).await);
    }
    ids
}

/// How many requests of this kind the gateway got about a payment.
async fn requests(system: &System, id: PaymentId, op: &str) -> usize {
    let journal = system.journal_of(id).await;
    journal.iter().filter(|row| **row == format!("request {op}")).count()
}

async fn assert_held_for_a_person(system: &System, id: PaymentId, reason: &str) {
    let payment = system.held(id).await;
    assert_eq!(payment["held_reason"], reason);
    let breaks: i64 = sqlx::query_scalar(
        "select count(*) from breaks where payment_id = $1 and kind = $2 and closed_at is null",
    )
    .bind(id.uuid())
    .bind(reason)
    .fetch_one(&system.database.pool)
    .await
    .unwrap();
    assert_eq!(breaks, 1);
}

#[tokio::test]
async fn without_lookups_a_doubt_is_voided_and_nothing_is_charged_again_to_find_out() {
    let system = declared(&[("GATEWAY_LOOKUP_SUPPORTED", "false")]).await;

    for id in lost(&system).await {
        let payment = system.ended(id).await;
        assert_eq!(payment["status"], "reversed");
        assert_eq!(requests(&system, id, "lookup").await, 0);
        assert_eq!(requests(&system, id, "charge").await, 1);
    }
    let plain = system.accepted(a_payment()).await;
    assert_eq!(system.ended(plain).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn without_lookups_and_voids_a_doubt_waits_for_a_person() {
    let neither = [("GATEWAY_LOOKUP_SUPPORTED", "false"), ("GATEWAY_VOID_SUPPORTED", "false")];
    let system = declared(&neither).await;

    for id in lost(&system).await {
        assert_held_for_a_person(&system, id, "unverifiable").await;
        assert_eq!(requests(&system, id, "lookup").await + requests(&system, id, "void").await, 0);
        assert_eq!(requests(&system, id, "charge").await, 1);
    }
}

#[tokio::test]
async fn without_voids_a_lookup_still_ends_a_doubt_and_without_an_answer_a_person_does() {
    let system = declared(&[("GATEWAY_VOID_SUPPORTED", "false"), ("DOUBT_DEADLINE_MS", "500")]).await;
    let found = system.accepted(a_payment().method("sim_reset_after")).await;
    let silent = system.accepted(a_payment().method("sim_doubt")).await;

    assert_eq!(system.ended(found).await["status"], "succeeded");
    assert_held_for_a_person(&system, silent, "unverifiable").await;
    assert_eq!(requests(&system, silent, "void").await, 0);
    let story = system.story(silent).await;
    assert!(!story.contains(&"void_started".to_owned()), "a charge found later could not succeed: {story:?}");
}

#[tokio::test]
async fn without_keys_that_are_honoured_nothing_is_charged_again_after_a_doubt() {
    let system = declared(&[("GATEWAY_HONOURS_KEYS", "false")]).await;

    for id in lost(&system).await {
        system.ended(id).await;
        assert_eq!(requests(&system, id, "charge").await, 1);
    }
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_gateway_that_turns_out_not_to_look_up_leads_to_the_void_at_once() {
    let system = declared(&[]).await;
    system.faults(json!({ "lookup_unsupported": true })).await;

    for id in lost(&system).await {
        assert_eq!(system.ended(id).await["status"], "reversed");
        assert_eq!(requests(&system, id, "lookup").await, 1);
        assert_eq!(requests(&system, id, "charge").await, 1);
    }
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_gateway_that_turns_out_not_to_void_leads_to_a_person() {
    let system = declared(&[("DOUBT_DEADLINE_MS", "500")]).await;
    system.faults(json!({ "void_unsupported": true })).await;
    let silent = system.accepted(a_payment().method("sim_doubt")).await;

    assert_held_for_a_person(&system, silent, "unverifiable").await;
}

#[tokio::test]
async fn a_gateway_that_turns_out_to_do_neither_leads_to_a_person() {
    let system = declared(&[]).await;
    system.faults(json!({ "lookup_unsupported": true, "void_unsupported": true })).await;

    for id in lost(&system).await {
        assert_held_for_a_person(&system, id, "unverifiable").await;
    }
}

#[tokio::test]
async fn two_charges_under_a_key_that_was_not_honoured_are_seen_by_the_lookup() {
    let system = declared(&[]).await;
    let twice = json!({ "ignore_idempotency_keys": true, "duplicate_rate": 1.0, "lost_response_rate": 1.0 });
    system.faults(twice).await;
    let id = system.accepted(a_payment()).await;

    assert_held_for_a_person(&system, id, "contradiction").await;
    let odds = system.violations().await;
    assert!(odds.contains(&format!("{id} was charged 2 times")), "{odds:?}");
}

#[tokio::test]
async fn no_doubt_ends_by_a_silence_that_is_the_gateways_own() {
    let believes = [("DOUBT_DEADLINE_MS", "1"), ("VERIFY_WAITS_MS", "3000")];
    let mut system = declared(&believes).await;
    let id = system.accepted(a_payment().method("sim_500_charged")).await;
    wait_until("the doubt", async || system.story(id).await.contains(&"outcome_unknown".to_owned())).await;

    // Its look gets no answer, its deadline is long over, and the worker does not know yet that the gateway
    // is away.
    system.gateway.stop().await;
    wait_until("the worker to find out", async || {
        system.workers[0].stderr().contains("\"event\":\"breaker_opened\"")
    })
    .await;
    system.gateway.cont();

    let payment = system.ended(id).await;
    let story = system.story(id).await;
    assert_eq!(payment["status"], "succeeded", "{story:?}");
    assert!(!story.contains(&"void_started".to_owned()), "{story:?}");
    system.assert_books_agree().await;
}
