//! A run that is killed anywhere is continued, and has the same result as one that was not.

use serde_json::Value;
use tests::{Exit, System, a_payment, wait_for, wait_until};

use super::{as_if_never_reconciled, at_the_gateway, behind_the_guards, one_that_succeeded, open_breaks};

/// Payments that succeeded, with one defect of each kind: the ledger's, the history's, the gateway's both
/// ways. There was no run yet.
async fn defective() -> System {
    let (mut system, unposted) = one_that_succeeded().await;
    let worker = system.add_worker([("RECONCILE_EVERY_MS", "86400000"), ("RUST_LOG", "info")]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = system.accepted(a_payment()).await;
        system.ended(id).await;
        ids.push(id);
    }
    let denied = system.accepted(a_payment().method("sim_flip_flop")).await;
    system.ended(denied).await;
    system.workers[worker].kill9();
    behind_the_guards(&system, "delete from ledger_transfers where payment_id = $id", unposted).await;
    behind_the_guards(&system, "delete from payment_events where payment_id = $id and version = 2", ids[0])
        .await;
    at_the_gateway(
        &system,
        "update gateway_journal set amount = amount + 1 where kind = 'charge' and key = $key",
        ids[1],
    )
    .await;
    let stray = "update gateway_journal set key = 'strange', reference = 'strange' where kind = 'charge' and key = $key";
    at_the_gateway(&system, stray, ids[2]).await;
    as_if_never_reconciled(&system).await;
    sqlx::query("delete from apalis.jobs").execute(&system.database.pool).await.unwrap();
    system
}

/// The result of a run, without what differs from run to run.
async fn came_to(system: &System) -> (Vec<Value>, Vec<String>) {
    let counts = sqlx::query_scalar("select counts from reconciliation_runs where finished_at is not null");
    let kinds = open_breaks(system).await.into_iter().map(|it| it.split(' ').next().unwrap().to_owned());
    (counts.fetch_all(&system.database.pool).await.unwrap(), kinds.collect())
}

async fn run_once(system: &mut System, faults: &str) -> usize {
    let faults = ("PAYONCE_FAULTS", faults.to_owned());
    system
        .add_worker([faults, ("RECONCILE_EVERY_MS", "86400000".to_owned()), ("RUST_LOG", "info".to_owned())])
        .await
}

async fn finished(system: &System) {
    wait_for("the run to be finished", async || {
        (system.count("select count(*) from reconciliation_runs where finished_at is not null").await == 1)
            .then_some(())
    })
    .await;
}

/// Has the tick run by a worker which dies there, and then by another one. Answers the result.
async fn killed_at(point: &str) -> (Vec<Value>, Vec<String>) {
    let mut system = defective().await;
    let dying = run_once(&mut system, &format!("{point}=kill")).await;
    assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{point}");
    assert_eq!(
        system.count("select count(*) from reconciliation_runs where finished_at is null").await,
        1,
        "{point}"
    );
    // As if the time had passed after which a silent worker counts as dead.
    let aged = "update apalis.workers set last_seen = last_seen - interval '1 minute'";
    sqlx::query(aged).execute(&system.database.pool).await.unwrap();

    run_once(&mut system, "").await;

    finished(&system).await;
    assert_eq!(system.count("select count(*) from reconciliation_runs").await, 1, "{point}");
    came_to(&system).await
}

const FOUND: &[&str] = &[
    "charge_differs",
    "charge_denied",
    "charge_unknown",
    "history",
    "missing_at_gateway",
    "transfer_missing",
];

/// Asserts that a run with a crash finds the same as one without.
async fn finds_all_once(points: &[&str]) {
    for point in points {
        let (counts, mut kinds) = killed_at(point).await;
        kinds.sort_unstable();
        let mut expected = FOUND.to_vec();
        expected.sort_unstable();
        assert_eq!(kinds, expected, "{point}");
        let counts = &counts[0];
        for look in ["ledger", "gateway", "history", "charges", "journal"] {
            assert_eq!(counts[look]["checked"], 5, "{point}, {look}: {counts}");
        }
        let breaks = |look: &str| counts[look]["breaks"].as_i64().unwrap();
        assert_eq!(breaks("journal") + breaks("gateway"), 3, "{point}: {counts}");
        assert_eq!((breaks("ledger"), breaks("history"), breaks("charges")), (1, 1, 1), "{point}: {counts}");
        assert_eq!(counts["balances"]["checked"], 2, "{point}: {counts}");
    }
}

#[tokio::test]
async fn a_run_killed_before_the_gateways_books_are_compared_finds_all_of_it_once() {
    finds_all_once(&["reconcile_step.before", "reconcile_journal.committed"]).await;
}

#[tokio::test]
async fn a_run_killed_while_the_gateways_books_are_compared_finds_all_of_it_once() {
    finds_all_once(&["reconcile_effects.committed", "reconcile_charges.committed"]).await;
}

#[tokio::test]
async fn a_run_killed_before_or_after_a_page_of_payments_finds_all_of_it_once() {
    finds_all_once(&["reconcile_payments.before", "reconcile_payments.committed"]).await;
}

#[tokio::test]
async fn a_run_killed_while_balances_are_compared_finds_all_of_it_once() {
    finds_all_once(&["reconcile_balances.committed"]).await;
}

#[tokio::test]
async fn the_next_tick_goes_on_with_a_run_that_was_broken_off_and_who_was_frozen_in_it_writes_nothing_more() {
    let mut system = defective().await;
    let frozen = run_once(&mut system, "reconcile_payments.before=stop").await;
    system.workers[frozen].wait_until_stopped().await;
    let aged = "update reconciliation_runs set tick = tick - interval '1 day', touched_at = touched_at - interval '2 minutes'";
    // The frozen worker holds the row until its transaction ends, as it would after the limit for idle ones.
    let idle = "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and state = 'idle in transaction'";
    let ended = sqlx::query(idle).execute(&system.database.pool).await.unwrap().rows_affected();
    assert_eq!(ended, 1, "the run was to be frozen in the middle of its transaction");
    sqlx::query(aged).execute(&system.database.pool).await.unwrap();
    let forgotten = "delete from apalis.jobs";
    sqlx::query(forgotten).execute(&system.database.pool).await.unwrap();

    run_once(&mut system, "").await;
    finished(&system).await;
    let (counts, kinds) = came_to(&system).await;
    system.workers[frozen].cont();
    wait_until("who was frozen to be refused", async || {
        system.workers[frozen].stderr().contains("a tick failed")
    })
    .await;

    assert_eq!(kinds.len(), FOUND.len(), "{kinds:?}");
    assert_eq!(counts[0]["ledger"]["checked"], 5);
    assert_eq!(came_to(&system).await, (counts, kinds));
}
