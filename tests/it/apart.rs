//! One bad row spoils only itself. A payment that this version cannot read, or whose history has a hole, is
//! set apart and held with a break. Its neighbours notice nothing.

use domain::ids::PaymentId;
use serde_json::json;
use tests::{Shape, System, a_payment};

use crate::PROGRAM;

use crate::verify::{behind_the_guards, report, verify};

/// Reconciliation at the start finds such payments too. Here a claim or a settlement must find them.
const WITHOUT_RECONCILIATION: (&str, &str) = ("PAYONCE_FAULTS", "reconcile_begin.before=error");

/// An API, and payments that wait for a worker.
async fn waiting(count: usize) -> (System, Vec<PaymentId>) {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(system.accepted(a_payment()).await);
    }
    (system, ids)
}

async fn plant(system: &System, sql: &str, id: PaymentId) {
    behind_the_guards(&system.database.pool, &sql.replace("$id", &format!("'{}'", id.uuid()))).await;
}

/// The open breaks about a payment.
async fn breaks(system: &System, id: PaymentId) -> Vec<String> {
    sqlx::query_scalar("select kind from breaks where payment_id = $1 and closed_at is null order by kind")
        .bind(id.uuid())
        .fetch_all(&system.database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_payment_that_this_version_cannot_read_is_held_and_its_neighbours_feel_nothing() {
    let defects = [
        "update payments set currency = 'XAU' where id = $id",
        "update payments set amount = 12.345 where id = $id",
        "update payments set amount = 0.00000000000000000000000000000000000001 where id = $id",
    ];
    let (mut system, ids) = waiting(20).await;
    for (defect, id) in defects.iter().zip(&ids) {
        plant(&system, defect, *id).await;
    }

    system.add_worker([WITHOUT_RECONCILIATION]).await;

    for id in &ids[defects.len()..] {
        let payment = system.ended(*id).await;
        assert_eq!((&payment["status"], &payment["attempt_count"]), (&json!("succeeded"), &json!(1)));
    }
    for id in &ids[..defects.len()] {
        assert_eq!(system.held(*id).await["held_reason"], "unreadable");
        assert_eq!(breaks(&system, *id).await, ["unreadable"]);
        assert!(system.journal_of(*id).await.is_empty(), "it was charged");
        assert_eq!(system.story(*id).await, ["created", "attempt_started", "held"]);
    }
    assert_eq!(system.count("select count(*) from payment_events where type = 'taken_over'").await, 0);
    system.client.get("/v1/payments").await.assert_status(200);
}

#[tokio::test]
async fn a_hole_in_the_history_halts_a_payment_at_its_next_claim() {
    let (mut system, ids) = waiting(5).await;
    plant(&system, "delete from payment_events where payment_id = $id", ids[0]).await;

    system.add_worker([WITHOUT_RECONCILIATION]).await;

    for id in &ids[1..] {
        assert_eq!(system.ended(*id).await["status"], "succeeded");
    }
    assert_eq!(system.held(ids[0]).await["held_reason"], "contradiction");
    assert_eq!(breaks(&system, ids[0]).await, ["contradiction"]);
    assert!(system.journal_of(ids[0]).await.is_empty(), "it was charged");
}

#[tokio::test]
async fn a_hole_that_comes_while_the_gateway_is_asked_halts_it_where_it_is_settled_and_loses_no_evidence() {
    let (mut system, ids) = waiting(1).await;
    let worker =
        system.add_worker([("PAYONCE_FAULTS", "reconcile_begin.before=error,charge.answered=stop")]).await;
    system.workers[worker].wait_until_stopped().await;
    plant(&system, "delete from payment_events where payment_id = $id and version = 1", ids[0]).await;

    system.workers[worker].cont();

    let held = system.held(ids[0]).await;
    assert_eq!((&held["status"], &held["held_reason"]), (&json!("processing"), &json!("contradiction")));
    let detail: serde_json::Value =
        sqlx::query_scalar("select detail from breaks where kind = 'contradiction'")
            .fetch_one(&system.database.pool)
            .await
            .unwrap();
    assert_eq!((&detail["said"], &detail["http_status"]), (&json!("succeeded"), &json!(201)), "{detail}");
    assert_eq!(system.count("select count(*) from ledger_transfers").await, 0);
    assert_eq!(system.count("select count(*) from payments where in_doubt").await, 1);
}

#[tokio::test]
async fn what_is_held_apart_waits_for_a_person_and_is_no_violation() {
    let (mut system, ids) = waiting(2).await;
    plant(
        &system,
        "update payments set currency = 'XAU' where id = $id;
         update payment_events set evidence = jsonb_set(evidence, '{currency}', '\"XAU\"') where payment_id = $id and version = 1",
        ids[0],
    )
    .await;
    system.add_worker([("RUST_LOG", "info")]).await;
    system.held(ids[0]).await;
    system.ended(ids[1]).await;

    let (code, said) = report(verify(&system, &[])).await;

    assert_eq!(
        (code, &said["violations"], &said["waiting_for_a_person"]),
        (3, &json!(0), &json!(1)),
        "{said}"
    );
}
