//! A charge that the gateway denies after it had confirmed it, and that two people put right.

use reqwest::Method;
use serde_json::json;
use tests::{System, a_payment};

use super::{ADAS_KEY, BOBS_KEY, approves, asks, proposes};
use crate::PROGRAM;
use crate::reconcile::{first_tick_over, open_breaks, reconcile};

#[tokio::test]
async fn a_charge_that_the_gateway_denies_is_told_unless_two_people_have_agreed_to_correct_it() {
    let mut system = System::start(PROGRAM).await;
    first_tick_over(&system).await;
    let id = system.accepted(a_payment().method("sim_flip_flop")).await;
    system.ended(id).await;
    // What they agreed to waits for a worker.
    system.workers[0].kill9();
    let proposed = proposes(&system, id, "charge_missing", ("0", None), ADAS_KEY).await.json();
    assert_eq!(reconcile(&system).await.0, 3);
    assert_eq!(open_breaks(&system).await, [format!("charge_denied of {id}")], "one alone agrees to nothing");
    let closed =
        "update breaks set closed_at = now(), closed_by = 'ada', closed_reason = 'so', detail = '{}'";
    sqlx::query(closed).execute(&system.database.pool).await.unwrap();

    approves(&system, &proposed["id"], BOBS_KEY).await.assert_status(200);
    assert_eq!(reconcile(&system).await.0, 0);
    assert_eq!(open_breaks(&system).await, Vec::<String>::new());

    let withdrawn = "update corrections set ended_at = now(), outcome = 'withdrawn', refusal = 'bob: not so'";
    sqlx::query(withdrawn).execute(&system.database.pool).await.unwrap();
    assert_eq!(reconcile(&system).await.0, 3);
    assert_eq!(open_breaks(&system).await, [format!("charge_denied of {id}")]);
}

#[tokio::test]
async fn what_was_taken_back_is_approved_by_nobody() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    let proposed = proposes(&system, id, "charge_missing", ("0", None), ADAS_KEY).await.json();
    let withdraw = format!("/v1/corrections/{}/withdraw", proposed["id"]);

    let withdrawn =
        asks(&system, Method::POST, &withdraw, Some(json!({ "reason": "a mistake" })), BOBS_KEY).await;

    withdrawn.assert_status(200);
    assert_eq!(withdrawn.json()["state"], "withdrawn");
    approves(&system, &proposed["id"], BOBS_KEY).await.assert_problem(409, "correction_closed");
}
