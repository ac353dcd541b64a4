//! `payonce verify`: clean where all is well, and each planted defect is found by its own check.

mod call;
mod history;
mod independence;
mod tampering;
mod told;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tests::{Exit, Launch, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// `payonce verify` of this system's books.
pub(super) fn verify(system: &System, more: &[&str]) -> Launch {
    Launch::payonce(PROGRAM)
        .args(["verify", "--json"])
        .args(more)
        .env("DATABASE_URL", system.database.reader_url())
        .env("GATEWAY_URL", system.gateway.address("gateway"))
}

/// Its exit code and its report.
pub(super) async fn report(launch: Launch) -> (i32, Value) {
    let (exit, process) = launch.run().await;
    match exit {
        Exit::Code(code) => (code, serde_json::from_str(&process.stdout()).unwrap()),
        Exit::Signal(signal) => unreachable!("nobody sent it signal {signal}"),
    }
}

/// All offences that are named: check, subject and sentence.
pub(super) fn offences(report: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for check in report["checks"].as_array().unwrap() {
        for offence in check["first"].as_array().unwrap() {
            all.push((text(&check["name"]), text(&offence["subject"]), text(&offence["says"])));
        }
    }
    all
}

/// Does to a database what only a superuser can: triggers and foreign keys look away.
pub(super) async fn behind_the_guards(pool: &PgPool, sql: &str) {
    let planted = format!("set session_replication_role = replica; {sql}; reset session_replication_role");
    let mut connection = pool.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(planted)).execute(&mut *connection).await.unwrap();
}

/// Waits until nothing is under way and every job is done, and ends all workers.
async fn at_rest(system: &mut System) {
    system.settled().await;
    wait_until("all jobs to be done", async || {
        system
            .count("select count(*) from apalis.jobs where job_type = 'payments' and status <> 'Done'")
            .await
            == 0
    })
    .await;
    for worker in &mut system.workers {
        worker.kill9();
    }
}

/// Payments with these tokens, all over or held, and no worker.
async fn after_payments_by(tokens: &[&str]) -> (System, Vec<PaymentId>) {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "500".to_owned())];
    let shape = Shape { apis: 1, workers: 1, worker_env, ..Shape::default() };
    let mut system = System::with(PROGRAM, shape).await;
    system.faults(json!({ "slow_token_ms": 50, "async_delay_ms": 200 })).await;
    let mut ids = Vec::new();
    for token in tokens {
        ids.push(system.accepted(a_payment().method(token)).await);
    }
    at_rest(&mut system).await;
    (system, ids)
}

#[tokio::test]
async fn after_payments_of_every_fate_all_is_clean() {
    let tokens = [
        "sim_ok",
        "sim_declined",
        "sim_invalid",
        "sim_503",
        "sim_503_always",
        "sim_500_charged",
        "sim_timeout_charged",
        "sim_reset_after",
        "sim_reset_before",
        "sim_async_ok",
        "sim_async_fail",
        "sim_doubt",
    ];
    let (system, _) = after_payments_by(&tokens).await;

    let (code, report) = report(verify(&system, &["--at-rest", "--grace", "0"])).await;

    assert_eq!(code, 0, "{report}");
    assert_eq!(offences(&report), []);
    assert_eq!((&report["violations"], &report["in_flight"]), (&0.into(), &0.into()));
    assert_eq!((&report["payments"], &report["charges"]), (&tokens.len().into(), &6.into()), "{report}");
    assert_eq!(report["acknowledged"], Value::Null);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "charge",
            "refunds",
            "ledger",
            "accounts",
            "events",
            "history",
            "by_hand",
            "idempotency",
            "liveness"
        ]
    );
    let apart = ["accounts", "events", "refunds"];
    for check in checks.iter().filter(|check| !apart.iter().any(|name| check["name"] == *name)) {
        assert_eq!(check["checked"], tokens.len(), "{check}");
    }
}

#[tokio::test]
async fn while_payments_come_and_go_nothing_is_taken_for_a_violation() {
    let system = System::start(PROGRAM).await;
    let load = async {
        for _ in 0..60 {
            let _ = system.accepted(a_payment()).await;
        }
    };
    let checks = async {
        for _ in 0..3 {
            let (code, report) = report(verify(&system, &[])).await;
            assert_eq!(code, 0, "{report}");
        }
    };

    futures::join!(load, checks);
}

#[tokio::test]
async fn a_charge_of_a_payment_still_on_its_way_is_no_violation() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let dying = system.add_worker([("PAYONCE_FAULTS", "charge.answered=kill")]).await;
    let id = system.accepted(a_payment()).await;
    assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9));

    let (code, first) = report(verify(&system, &[])).await;
    let (at_rest, second) = report(verify(&system, &["--at-rest"])).await;

    assert_eq!((code, &first["charges"], &first["in_flight"]), (0, &1.into(), &1.into()), "{first}");
    assert_eq!(at_rest, 1, "{second}");
    let said = offences(&second);
    assert!(
        said.iter().any(|(check, subject, says)| {
            (check.as_str(), subject) == ("liveness", &id.to_string()) && says.contains("has not ended")
        }),
        "{second}"
    );
}

#[tokio::test]
async fn a_job_that_nobody_did_is_named_where_all_should_be_done() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let _ = system.accepted(a_payment()).await;

    let (_, on_its_way) = report(verify(&system, &[])).await;
    let (at_rest, report) = report(verify(&system, &["--at-rest"])).await;

    assert_eq!(on_its_way["violations"], 0, "{on_its_way}");
    assert_eq!(at_rest, 1, "{report}");
    assert!(
        offences(&report)
            .iter()
            .any(|(_, subject, says)| subject.starts_with("job ") && says.contains("all should be done")),
        "{report}"
    );
}

#[tokio::test]
async fn what_only_waits_for_a_person_is_told_apart() {
    let (system, _) = after_payments_by(&["sim_ok", "sim_wrong_amount"]).await;

    let (code, report) = report(verify(&system, &["--at-rest"])).await;

    assert_eq!(code, 3, "{report}");
    assert_eq!((&report["violations"], &report["waiting_for_a_person"]), (&0.into(), &1.into()));
}

#[tokio::test]
async fn a_late_charge_is_no_violation_for_as_long_as_a_worker_may_be_having_it_voided() {
    let (system, ids) = after_payments_by(&["sim_declined"]).await;
    let charge = format!(
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         values (1000, now(), 'charge', 'charge', '{0}', 'ch_late', 12.30, 'EUR', '{0}')",
        ids[0]
    );
    behind_the_guards(&system.gateway_database.pool, &charge).await;
    let (unknown, _) = report(verify(&system, &[])).await;
    let asked = "insert into breaks (payment_id, kind, detail, opened_at)
                 select id, 'charged_after_end', '{}', clock_timestamp() from payments";
    behind_the_guards(&system.database.pool, asked).await;

    let (code, voiding) = report(verify(&system, &[])).await;
    let (at_rest, _) = report(verify(&system, &["--at-rest"])).await;
    let (too_late, _) = report(verify(&system, &["--grace", "0"])).await;
    let given_up =
        "update breaks set void_started_at = now(), void_ended_at = now(), detail = '{\"void\": {}}'";
    behind_the_guards(&system.database.pool, given_up).await;
    let (over, judged) = report(verify(&system, &[])).await;

    assert_eq!(code, 3, "{voiding}");
    let counts = [
        &voiding["violations"],
        &voiding["in_flight"],
        &voiding["charges"],
        &voiding["waiting_for_a_person"],
    ];
    assert_eq!(counts, [0, 1, 1, 1], "{voiding}");
    assert_eq!([unknown, at_rest, too_late, over], [1; 4]);
    let said = offences(&judged);
    assert!(
        matches!(&*said, [(check, _, says)] if check == "charge" && says.contains("1 stand")),
        "{said:?}"
    );
}
