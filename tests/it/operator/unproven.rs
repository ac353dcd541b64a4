//! Where the gateway tells nothing, a person ends a payment without proof. It is marked so, counted
//! separately, and no machine undoes it.

use serde_json::json;
use tests::{Shape, System, a_payment};

use super::decide::{assert_refused, verified};
use super::page::{get, text};
use super::{BLIND, charge_id, decides, held_in_doubt, version};
use crate::PROGRAM;
use crate::reconcile::{behind_the_guards, reconcile};

#[tokio::test]
async fn a_silent_gateway_leaves_only_ends_without_proof_which_no_machine_undoes() {
    let worker_env = [("DOUBT_DEADLINE_MS", "300"), ("GATEWAY_VOID_SUPPORTED", "false")];
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_doubt")).await;
    system.add_worker(worker_env).await;
    let held = version(&system.held(id).await);

    assert_refused(&system, (id, held), &["succeed&charge_id=ch_1", "fail", "reverse"], "silent").await;
    assert_eq!(decides(&system, id, held, "fail+unproven").await.status, 303);

    assert_eq!(system.client.payment(id).await["status"], "failed");
    let (code, report) = verified(&system).await;
    assert_eq!((code, &report["violations"]), (3, &json!(0)), "{report}");
    let unproven = &report["unproven"];
    assert_eq!((&unproven["payments"], &unproven["refuted"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(unproven["first"][0]["subject"], id.to_string().as_str(), "{report}");
    // Reconciliation finds the charge, and no worker voids it, not even one that knows nothing of proof.
    assert_eq!(reconcile(&system).await.0, 3);
    let opened = "select count(*) from breaks where kind = 'unproven_refuted' and closed_at is null";
    assert_eq!(system.count(opened).await, 1);
    sqlx::query(
        "insert into breaks (payment_id, kind, detail, opened_at) values ($1, 'charged_after_end', '{}', now())
             on conflict do nothing",
    )
    .bind(id.uuid())
    .execute(&system.database.pool)
    .await
    .unwrap();
    assert_eq!(system.count("select count(*) from breaks where kind = 'charged_after_end'").await, 0);
    let paid = system.accepted(a_payment()).await;
    system.ended(paid).await;
    assert!(!system.journal_of(id).await.contains(&"request void".to_owned()));
    assert_eq!(verified(&system).await.0, 3);
}

#[tokio::test]
async fn a_silence_is_no_proof_until_it_has_lasted_as_long_as_a_doubt_may() {
    let (mut system, id, held) = held_in_doubt("sim_reset_after").await;
    behind_the_guards(&system, "update payments set held_reason = 'contradiction' where id = $id", id).await;
    system.gateway.kill9();

    let unproven = ["reverse+unproven", "succeed+unproven&charge_id=ch_1"];
    assert_refused(&system, (id, held), &unproven, "for as long as a doubt may last").await;
    behind_the_guards(
        &system,
        "update decisions set ended_at = ended_at - interval '1 hour' where payment_id = $id",
        id,
    )
    .await;
    assert_eq!(decides(&system, id, held, "reverse+unproven").await.status, 303);

    assert_eq!(system.client.payment(id).await["status"], "reversed");
}

#[tokio::test]
async fn a_gateway_that_is_declared_to_look_up_nothing_leaves_ends_without_proof() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_reset_after")).await;
    system.add_worker(BLIND).await;
    let held = version(&system.held(id).await);
    let charge = charge_id(&system, id).await;

    assert_refused(&system, (id, held), &[&format!("succeed&charge_id={charge}")], "does not look up").await;
    let done = decides(&system, id, held, &format!("succeed+unproven&charge_id={charge}")).await;

    assert_eq!(done.status, 303);
    assert_eq!(system.client.payment(id).await["status"], "succeeded");
    assert!(text(&get(&system, &format!("/ops/payments/{id}")).await).contains("without proof"));
    let (code, report) = verified(&system).await;
    assert_eq!(
        (code, &report["unproven"]["payments"], &report["unproven"]["refuted"]),
        (0, &json!(1), &json!(0))
    );
}
