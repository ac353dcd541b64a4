//! Every way in which the simulated gateway can behave, and how the payment must end.

use std::collections::BTreeMap;

use domain::ids::PaymentId;
use serde_json::json;
use tests::{Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// How a payment with one token must end.
struct End {
    token: &'static str,
    status: &'static str,
    failure: Option<&'static str>,
    /// The number of claims that could charge. None where it depends on how fast the machine is.
    attempts: Option<i64>,
    /// The number of charges that the gateway made, and of those that still stand.
    charges: (usize, usize),
}

const fn end(
    token: &'static str,
    status: &'static str,
    attempts: Option<i64>,
    charges: (usize, usize),
) -> End {
    End { token, status, failure: None, attempts, charges }
}

const fn failed(token: &'static str, code: &'static str, attempts: i64) -> End {
    End { token, status: "failed", failure: Some(code), attempts: Some(attempts), charges: (0, 0) }
}

const ENDS: &[End] = &[
    end("sim_ok", "succeeded", Some(1), (1, 1)),
    end("pm_card_visa", "succeeded", Some(1), (1, 1)),
    end("tok_anything", "succeeded", Some(1), (1, 1)),
    end("sim_slow", "succeeded", Some(1), (1, 1)),
    failed("sim_declined", "card_declined", 1),
    failed("sim_insufficient_funds", "insufficient_funds", 1),
    failed("sim_invalid", "payment_method_unknown", 1),
    failed("no_such_token", "payment_method_unknown", 1),
    end("sim_503", "succeeded", Some(3), (1, 1)),
    failed("sim_503_always", "retries_exhausted", 4),
    end("sim_429", "succeeded", Some(3), (1, 1)),
    end("sim_500_charged", "succeeded", Some(1), (1, 1)),
    end("sim_500_not_charged", "succeeded", Some(2), (1, 1)),
    end("sim_timeout_charged", "succeeded", Some(1), (1, 1)),
    end("sim_timeout_not_charged", "succeeded", Some(2), (1, 1)),
    end("sim_reset_before", "succeeded", Some(2), (1, 1)),
    end("sim_reset_after", "succeeded", Some(1), (1, 1)),
    end("sim_late_arrival", "succeeded", None, (1, 1)),
    end("sim_async_ok", "succeeded", Some(1), (1, 1)),
    // The first answer is that it is not decided, and a look shows the decline.
    failed("sim_async_fail", "card_declined", 1),
    end("sim_lookup_down", "succeeded", Some(1), (1, 1)),
    end("sim_flip_flop", "succeeded", Some(1), (1, 1)),
    // What they do to refunds is in `refunds.rs`.
    end("sim_refund_timeout_done", "succeeded", Some(1), (1, 1)),
    end("sim_refund_timeout_not_done", "succeeded", Some(1), (1, 1)),
    end("sim_refund_503", "succeeded", Some(1), (1, 1)),
    end("sim_refund_declined", "succeeded", Some(1), (1, 1)),
    end("sim_refund_doubt", "succeeded", Some(1), (1, 1)),
];

#[tokio::test]
async fn every_token_ends_as_its_table_says_and_the_journal_agrees() {
    let system = System::start(PROGRAM).await;
    system.faults(json!({ "slow_token_ms": 200, "async_delay_ms": 500, "late_arrival_ms": 3000 })).await;
    let mut ids: BTreeMap<&str, PaymentId> = BTreeMap::new();
    for end in ENDS {
        ids.insert(end.token, system.accepted(a_payment().method(end.token)).await);
    }

    let mut wrong = Vec::new();
    for end in ENDS {
        let id = ids[end.token];
        let payment = system.ended(id).await;
        let journal = system.journal_of(id).await;
        let count = |words: &str| journal.iter().filter(|row| row.starts_with(words)).count();
        let (made, undone) = (count("charge "), count("void "));
        let same = payment["status"] == end.status
            && payment["failure"]["code"].as_str() == end.failure
            && end.attempts.is_none_or(|attempts| payment["attempt_count"] == attempts)
            && (made, made - undone) == end.charges;
        if !same {
            let story = system.story(id).await.join(" ");
            wrong.push(format!("{}: {payment}\n  {story}\n  {journal:?}", end.token));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_charge_of_which_nothing_can_be_learnt_is_voided_at_the_end_of_the_doubt() {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "500".to_owned())];
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await;

    let id = system.accepted(a_payment().method("sim_doubt")).await;
    let payment = system.ended(id).await;

    assert_eq!(payment["status"], "reversed");
    let journal = system.journal_of(id).await;
    assert_eq!(journal.iter().filter(|row| *row == "charge charge").count(), 1, "{journal:?}");
    assert_eq!(journal.iter().filter(|row| *row == "void void").count(), 1, "{journal:?}");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn an_answer_and_a_lookup_of_another_amount_hold_the_payment_and_open_a_break() {
    let system = System::start(PROGRAM).await;

    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    let payment = system.held(id).await;

    assert_eq!(payment["status"], "processing");
    assert_eq!(payment["held_reason"], "wrong_answer");
    assert_eq!(payment["due_at"], json!(null));
    assert_eq!(
        system.count("select count(*) from breaks where kind = 'wrong_answer' and closed_at is null").await,
        1
    );
    assert_eq!(system.count("select count(*) from ledger_transfers").await, 0);
}

#[tokio::test]
async fn a_rate_limit_spends_no_retry() {
    let system = System::start(PROGRAM).await;

    let id = system.accepted(a_payment().method("sim_429")).await;
    system.ended(id).await;

    assert_eq!(system.count("select retries_spent::bigint from payments").await, 0);
}

#[tokio::test]
async fn each_retry_of_a_payment_waits_twice_as_long_up_to_the_longest_wait_of_the_settings() {
    let worker_env =
        [("RETRIES", "4"), ("BACKOFF_MS", "100"), ("BACKOFF_MAX_MS", "300"), ("GATEWAY_TIMEOUT_MS", "5000")];
    let patient = [("SEND_WINDOW_MS", "5000"), ("LEASE_MS", "30000")];
    let worker_env = worker_env.into_iter().chain(patient).map(|(name, value)| (name, value.to_owned()));
    let shape = Shape { apis: 1, workers: 1, worker_env: worker_env.collect(), ..Shape::default() };
    let system = System::with(PROGRAM, shape).await;

    let id = system.accepted(a_payment().method("sim_503_always")).await;
    assert_eq!(system.ended(id).await["failure"]["code"], "retries_exhausted");

    // What each wait was to be, by the clock that wrote it, give or take a tenth.
    let waits: Vec<f64> = sqlx::query_scalar(
        "select (extract(epoch from due_at - at) * 1000)::float8 from payment_events
          where payment_id = $1 and type = 'retry_scheduled' and spends order by version",
    )
    .bind(id.uuid())
    .fetch_all(&system.database.pool)
    .await
    .unwrap();
    assert_eq!(waits.len(), 4, "{waits:?}");
    for (wait, meant) in waits.iter().zip([100.0, 200.0, 300.0, 300.0]) {
        assert!((meant * 0.88..=meant * 1.12).contains(wait), "{waits:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_leaves_no_doubt_and_costs_no_try() {
    let mut system = System::start(PROGRAM).await;
    system.gateway.kill9();

    let id = system.accepted(a_payment()).await;
    wait_until("the worker to find out", async || {
        system.workers[0].stderr().contains("\"event\":\"breaker_opened\"")
    })
    .await;
    system.restart_gateway().await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert_eq!(system.count("select count(*) from payments where in_doubt or retries_spent > 0").await, 0);
}
