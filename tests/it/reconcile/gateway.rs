//! The gateway's journal beside our payments, both ways, and what it says now beside what it said before.

use serde_json::json;
use tests::{Exit, Shape, System, a_payment, wait_until};

use super::{at_the_gateway, behind_the_guards, one_that_succeeded, open_breaks, payonce, reconcile};
use crate::PROGRAM;

/// Defects that are planted at the gateway about the charge of a payment that succeeded, and the break that
/// each opens.
const DEFECTS: &[(&str, &str)] = &[
    ("delete from gateway_journal where kind = 'charge' and key = $key", "missing_at_gateway"),
    ("update gateway_journal set amount = amount + 1 where kind = 'charge' and key = $key", "charge_differs"),
    ("update gateway_journal set currency = 'USD' where kind = 'charge' and key = $key", "charge_differs"),
    (
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         select seq + 100, at, kind, op, key, 'ch_again', amount, currency, reference
           from gateway_journal where kind = 'charge' and key = $key",
        "charged_twice",
    ),
    (
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         select seq + 100, at, 'void', 'void', key, charge_id, amount, currency, reference
           from gateway_journal where kind = 'charge' and key = $key",
        "missing_at_gateway",
    ),
];

#[tokio::test]
async fn a_journal_that_differs_from_a_payment_opens_exactly_one_break_once() {
    for (defect, kind) in DEFECTS {
        let (system, id) = one_that_succeeded().await;
        at_the_gateway(&system, defect, id).await;

        let (code, first) = reconcile(&system).await;
        let (again, second) = reconcile(&system).await;

        assert_eq!((code, again), (3, 3), "{defect}: {first}");
        assert_eq!(open_breaks(&system).await, [format!("{kind} of {id}")], "{defect}");
        let opened = |report: &serde_json::Value| {
            report["journal"]["breaks"].as_i64().unwrap() + report["gateway"]["breaks"].as_i64().unwrap()
        };
        assert_eq!((opened(&first), opened(&second)), (1, 0), "{defect}: {first} {second}");
        assert_eq!(second["gateway"]["found"], 1, "{defect}: {second}");
        let payment = system.client.payment(id).await;
        assert_eq!(payment["status"], "succeeded", "{defect}");
    }
}

#[tokio::test]
async fn a_charge_that_is_called_by_no_payments_id_is_told_of_its_payment_and_of_its_key() {
    let (system, id) = one_that_succeeded().await;
    let renamed = "update gateway_journal set reference = 'other' where kind = 'charge' and key = $key";
    at_the_gateway(&system, renamed, id).await;

    assert_eq!(reconcile(&system).await.0, 3);

    let key = system.gateway_key(id).await;
    let mut open = open_breaks(&system).await;
    open.sort_unstable();
    assert_eq!(open, [format!("charge_differs of {id}"), format!("charge_unknown of key {key}")]);
}

#[tokio::test]
async fn a_charge_of_no_payment_opens_one_break_about_its_key() {
    let (system, id) = one_that_succeeded().await;
    let stray = "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
                 values (901, now(), 'charge', 'charge', 'strange', 'ch_s', 5, 'EUR', 'strange'),
                        (902, now(), 'charge', 'charge', 'pay_01900000000070008000000000000000', 'ch_t', 5, 'EUR', 'x'),
                        (903, now(), 'charge', 'charge', 'undone', 'ch_u', 5, 'EUR', 'undone'),
                        (904, now(), 'void', 'void', 'undone', 'ch_u', 5, 'EUR', 'undone')";
    at_the_gateway(&system, stray, id).await;

    let (code, report) = reconcile(&system).await;
    let (_, second) = reconcile(&system).await;

    assert_eq!((code, &report["journal"]["found"], &second["journal"]["found"]), (3, &2.into(), &0.into()));
    let mut open = open_breaks(&system).await;
    open.sort_unstable();
    assert_eq!(
        open,
        ["charge_unknown of key pay_01900000000070008000000000000000", "charge_unknown of key strange"]
    );
}

#[tokio::test]
async fn a_charge_that_comes_after_its_payment_ended_without_one_opens_a_break() {
    let mut system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_declined")).await;
    assert_eq!(system.ended(id).await["status"], "failed");
    system.workers[0].kill9();
    reconcile(&system).await;
    assert!(open_breaks(&system).await.is_empty());
    let late = "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
                values (901, now(), 'charge', 'charge', $key, 'ch_late', 12.30, 'EUR', $name)";
    at_the_gateway(&system, late, id).await;

    let (code, report) = reconcile(&system).await;

    assert_eq!((code, &report["journal"]["breaks"]), (3, &1.into()), "{report}");
    assert_eq!(open_breaks(&system).await, [format!("charged_after_end of {id}")]);
    assert_eq!(system.client.payment(id).await["status"], "failed");
    // As a late result tells of the same charge. A person who has closed its break for that is not
    // asked again.
    let closed = "update breaks set closed_at = now(), closed_by = 'ada', closed_reason = 'refunded',
                                    detail = '{\"charge_id\": \"ch_late\", \"op\": \"lookup\", \"void\": {}}'";
    sqlx::query(closed).execute(&system.database.pool).await.unwrap();
    assert_eq!(reconcile(&system).await.0, 0);
    assert!(open_breaks(&system).await.is_empty());
}

#[tokio::test]
async fn a_gateway_that_takes_back_its_answer_opens_a_break_and_the_payment_stays_as_it_ended() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_flip_flop")).await;
    let ended = system.ended(id).await;

    let (code, report) = reconcile(&system).await;

    assert_eq!((code, &report["charges"]["found"]), (3, &1.into()), "{report}");
    assert_eq!(open_breaks(&system).await, [format!("charge_denied of {id}")]);
    assert_eq!(system.client.payment(id).await, ended);
    assert_eq!(ended["status"], "succeeded");
}

#[tokio::test]
async fn a_gateway_that_takes_back_its_answer_is_found_by_a_tick_too() {
    let often = vec![("RECONCILE_EVERY_MS", "300".to_owned())];
    let system =
        System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env: often, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_flip_flop")).await;

    wait_until("the break to be open", async || {
        open_breaks(&system).await == [format!("charge_denied of {id}")]
    })
    .await;
}

#[tokio::test]
async fn what_the_gateway_decided_while_we_were_away_is_what_becomes_of_the_payment() {
    // The payment was claimed by a worker that died, and the gateway's books were written without it.
    for (status, becomes) in [("succeeded", "succeeded"), ("failed", "failed")] {
        let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
        let dying = system.add_worker([("PAYONCE_FAULTS", "charge.sending=kill")]).await;
        let id = system.accepted(a_payment()).await;
        assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{status}");
        let decline = if status == "failed" { "'card_declined'" } else { "null" };
        let booked = format!(
            "insert into gateway_keys (key, amount, currency, payment_method, charge_calls, lookup_calls, closed)
             values ($key, 12.30, 'EUR', 'sim_ok', 0, 0, false);
             insert into gateway_charges (id, key, status, amount, currency, reference, decline_code, created_at)
             values ('ch_booked', $key, '{status}', 12.30, 'EUR', $name, {decline}, now());
             insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
             select 901, now(), 'charge', 'charge', $key, 'ch_booked', 12.30, 'EUR', $name where '{status}' = 'succeeded'"
        );
        at_the_gateway(&system, &booked, id).await;
        sqlx::query("delete from apalis.jobs").execute(&system.database.pool).await.unwrap();
        behind_the_guards(
            &system,
            "update payments set due_at = now() - interval '2 minutes' where id = $id",
            id,
        )
        .await;

        let (code, report) = reconcile(&system).await;

        assert_eq!((code, &report["overdue"]["repaired"]), (0, &1.into()), "{status}: {report}");
        system.add_worker([("RUST_LOG", "info")]).await;
        assert_eq!(system.ended(id).await["status"], becomes);
        assert_eq!(reconcile(&system).await.0, 0, "{status}");
        system.assert_books_agree().await;
    }
}

#[tokio::test]
async fn payments_on_their_way_held_or_voided_are_no_contradiction() {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "300".to_owned())];
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await;
    system.faults(json!({ "late_arrival_ms": 300, "async_delay_ms": 300 })).await;
    let mut ids = Vec::new();
    for token in
        ["sim_ok", "sim_doubt", "sim_async_ok", "sim_async_fail", "sim_timeout_charged", "sim_declined"]
    {
        ids.push(system.accepted(a_payment().method(token)).await);
        reconcile(&system).await;
    }
    for id in ids {
        system.ended(id).await;
    }

    let (code, report) = reconcile(&system).await;

    assert_eq!(code, 0, "{report}");
    assert!(open_breaks(&system).await.is_empty());
}

#[tokio::test]
async fn a_journal_that_lost_rows_opens_a_break_and_is_not_believed() {
    let (system, id) = one_that_succeeded().await;
    assert_eq!(reconcile(&system).await.0, 0);
    at_the_gateway(&system, "delete from gateway_journal", id).await;

    let (code, report) = reconcile(&system).await;

    assert_eq!((code, &report["gateway_books"]), (3, &"unreachable".into()), "{report}");
    assert_eq!(open_breaks(&system).await, ["journal_shrank of gateway default"]);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_keeps_nothing_of_ours_from_being_compared() {
    let (mut system, _) = one_that_succeeded().await;
    system.gateway.kill9();

    let (code, report) = reconcile(&system).await;

    assert_eq!((code, &report["gateway_books"]), (1, &"unreachable".into()), "{report}");
    assert_eq!((&report["ledger"]["checked"], &report["history"]["checked"]), (&1.into(), &1.into()));
    let (code, said) = payonce(&system, &["reconcile"]).await;
    assert_eq!(code, 1);
    assert!(said.stdout().contains("run this again when it answers"), "{}", said.stdout());
}
