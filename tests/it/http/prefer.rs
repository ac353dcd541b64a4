//! `Prefer: wait=n` on `POST /v1/payments`: the end of the payment, if it comes in time.

use std::time::Duration;

use serde_json::json;
use tests::client::Request;
use tests::wait::wait_for_within;
use tests::{Answer, System, a_payment};

use super::an_api;
use crate::PROGRAM;

/// Pays with the longest wait there is. Only an answer before its end passes, for which there is almost a
/// minute.
async fn pay_and_wait(system: &System, request: &Request) -> Answer {
    const BEFORE_ITS_END: Duration = Duration::from_secs(58);
    let what = "the payment to be at rest before the wait ends";
    let request = request.clone().header("prefer", "respond-async, wait=60");
    wait_for_within(BEFORE_ITS_END, what, async || Some(system.pay(request.clone()).await)).await
}

#[tokio::test]
async fn a_payment_that_ends_in_time_is_answered_as_it_stands_and_so_is_a_repeat() {
    let system = System::start(PROGRAM).await;
    for (method, status) in [("sim_ok", "succeeded"), ("sim_declined", "failed")] {
        let request = a_payment().method(method);

        let first = pay_and_wait(&system, &request).await;

        first.assert_status(201);
        assert_eq!(first.json()["status"], status);
        assert_eq!(first.header("preference-applied"), "wait=60");
        assert_eq!(first.header("idempotent-replayed"), "false");
        let read = system.client.get(first.header("location")).await;
        assert_eq!((read.header("etag"), &read.body), (first.header("etag"), &first.body));
        let repeat = pay_and_wait(&system, &request).await;
        repeat.assert_status(200);
        assert_eq!(repeat.header("preference-applied"), "wait=60");
        assert_eq!(repeat.header("idempotent-replayed"), "true");
        assert_eq!(repeat.body, first.body);
        assert_eq!(repeat.header("location"), first.header("location"));
    }
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_payment_that_is_held_ends_the_wait() {
    let system = System::start(PROGRAM).await;

    let answer = pay_and_wait(&system, &a_payment().method("sim_wrong_amount")).await;

    answer.assert_status(201);
    assert_eq!(answer.json()["held_reason"], "wrong_answer");
}

#[tokio::test]
async fn a_wait_in_vain_is_answered_as_if_there_had_been_none() {
    let system = an_api().await;
    let request = a_payment();

    let first = system.pay(request.clone().header("prefer", "wait=1")).await;
    let repeat = system.pay(request.clone().header("prefer", "wait=1")).await;
    let plain = system.pay(request).await;

    for (answer, replayed) in [(&first, "false"), (&repeat, "true")] {
        answer.assert_status(202);
        assert_eq!(answer.header("preference-applied"), "");
        assert_eq!(answer.header("etag"), "");
        assert_eq!(answer.header("idempotent-replayed"), replayed);
        assert_eq!((&answer.body, answer.header("location")), (&plain.body, plain.header("location")));
    }
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_preference_that_is_none_of_ours_is_ignored() {
    let system = System::start(PROGRAM).await;
    let request = a_payment();
    let first = system.pay(request.clone()).await;
    system.ended(first.payment_id()).await;
    // With a wait that counts, the repeat of a payment that has ended shows its end.
    system.pay(request.clone().header("prefer", "wait=5")).await.assert_status(200);
    for preference in
        ["respond-async", "wait=0", "wait=61", "wait=-1", "wait=soon", "wait", "return=minimal", "=,;"]
    {
        let answer = system.pay(request.clone().header("prefer", preference)).await;

        assert_eq!((answer.status, &answer.body), (202, &first.body), "{preference}");
        assert_eq!(answer.header("preference-applied"), "", "{preference}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_is_refused_without_a_wait() {
    let system = an_api().await;
    let request = a_payment();
    system.accepted(request.clone()).await;

    let reused = system.pay(request.clone().amount("9.00").header("prefer", "wait=60")).await;
    let invalid = system.pay(a_payment().amount("0").header("prefer", "wait=60")).await;

    reused.assert_problem(422, "idempotency_key_reused");
    assert_eq!(invalid.assert_problem(400, "invalid_request")["errors"][0]["pointer"], json!("/amount"));
}

#[tokio::test]
async fn every_answer_to_a_request_with_a_key_says_whether_it_is_that_of_an_earlier_one() {
    let system = an_api().await;
    let request = a_payment();
    let stranger = system.client.with_secret("payonce_sk_unknown".to_owned());
    let too_large = request.clone().with("description", json!("x".repeat(70_000)));
    for (what, answer, status) in [
        ("the first", system.pay(request.clone()).await, 202),
        ("no key", system.pay(request.clone().without_key()).await, 400),
        ("another request", system.pay(request.clone().amount("9.00")).await, 422),
        ("a fault", system.pay(a_payment().amount("0")).await, 400),
        ("too large", system.pay(too_large).await, 413),
        ("coded", system.pay(a_payment().header("content-encoding", "gzip")).await, 415),
    ] {
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (status, "false"), "{what}");
    }
    // A stranger does not even hear that this path takes a key.
    assert!(!stranger.pay(request.clone()).await.headers.contains_key("idempotent-replayed"));
    assert_eq!(system.pay(request).await.header("idempotent-replayed"), "true");
    assert_eq!(system.client.get("/v1/payments").await.header("idempotent-replayed"), "");
}
