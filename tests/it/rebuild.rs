//! `payonce rebuild`: the table of payments follows from the event log alone. A change of a row is found, and
//! mended by a table made from events, with which the system goes on.

mod check;
mod exchange;

use std::collections::BTreeSet;

use domain::ids::PaymentId;
use domain::status::EventType;
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Exit, Launch, Process, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// Payment methods by which payments go through everything that these tests need.
const TOKENS: &[&str] = &[
    "sim_ok",
    "sim_declined",
    "sim_503",
    "sim_503_always",
    "sim_timeout_charged",
    "sim_reset_before",
    "sim_doubt",
    "sim_wrong_amount",
    "sim_wrong_amount",
    "sim_wrong_amount",
];

/// `payonce rebuild` of this system's books.
fn rebuild(url: &str, more: &[&str]) -> Launch {
    Launch::payonce(PROGRAM).args(["rebuild"]).args(more).env("DATABASE_URL", url)
}

/// Its exit code and its report. The report is null where the command failed.
async fn report(url: &str, more: &[&str]) -> (i32, Value, Process) {
    let (exit, process) = rebuild(url, more).args(["--json"]).run().await;
    let Exit::Code(code) = exit else { unreachable!("nobody sent it a signal") };
    let report = serde_json::from_str(&process.stdout()).unwrap_or_default();
    (code, report, process)
}

/// Has a person decide about the held payment.
async fn decide(system: &System, id: PaymentId, decision: &str) {
    let pool = &system.database.pool;
    let number: i64 = sqlx::query_scalar("select id from breaks where payment_id = $1 and closed_at is null")
        .bind(id.uuid())
        .fetch_one(pool)
        .await
        .unwrap();
    let resolve =
        ["breaks", "resolve", &number.to_string(), "--by", "ada", "--reason", "seen", "--decision", decision];
    let (exit, process) =
        Launch::payonce(PROGRAM).args(resolve).env("DATABASE_URL", system.database.app_url()).run().await;
    assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
}

/// Payments of every fate: ended in each way, held, released and held again, decided by a person, taken over,
/// waiting and under way. The workers are gone.
async fn after_all_sorts() -> (System, Vec<PaymentId>) {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "500".to_owned())];
    let shape = Shape { apis: 1, workers: 1, worker_env, ..Shape::default() };
    let mut system = System::with(PROGRAM, shape).await;
    let mut ids = Vec::new();
    for token in TOKENS {
        let metadata = json!({ "order": "№ 7", "note": "\"quoted\"" });
        ids.push(system.accepted(a_payment().method(token).with("metadata", metadata)).await);
    }
    system.settled().await;
    decide(&system, ids[7], "release").await;
    decide(&system, ids[8], "void").await;
    system.settled().await;
    system.workers.remove(0);
    // One payment that is taken over, and one that is under way in a worker that died.
    for is_last in [false, true] {
        let dying = system.add_worker([("PAYONCE_FAULTS", "charge.answered=kill")]).await;
        ids.push(system.accepted(a_payment().key(if is_last { "last" } else { "first" })).await);
        assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9));
        if !is_last {
            let next = system.add_worker([("RUST_LOG", "info")]).await;
            system.ended(ids[ids.len() - 1]).await;
            system.workers[next].kill9();
        }
    }
    ids.push(system.accepted(a_payment().key("waits")).await);
    system.workers.clear();
    (system, ids)
}

/// The table, byte for byte.
async fn rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select p::text from payments p order by id").fetch_all(pool).await.unwrap()
}

/// Ends all APIs and workers, so that no session is connected and no worker is heard of.
async fn close_the_doors(system: &mut System) {
    system.apis.clear();
    system.workers.clear();
    sqlx::query("update apalis.workers set last_seen = now() - interval '1 minute'")
        .execute(&system.database.pool)
        .await
        .unwrap();
    leave(system).await;
}

/// Ends the test's own connections.
async fn leave(system: &System) {
    system.database.pool.close().await;
    let name = system.database.url.rsplit('/').next().unwrap().to_owned();
    wait_until("all connections to end", async || {
        let connected: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where datname = $1")
            .bind(&name)
            .fetch_one(&system.gateway_database.pool)
            .await
            .unwrap();
        connected == 0
    })
    .await;
}

async fn open_the_doors(system: &mut System) {
    system.database.pool = shared::database::connect(&system.database.url, 4).await.unwrap();
}

#[tokio::test]
async fn what_really_happened_makes_the_table_in_every_column() {
    let (system, ids) = after_all_sorts().await;
    let pool = &system.database.pool;

    let (code, report, _) = report(&system.database.url, &["--check"]).await;

    assert_eq!((code, &report["equal"]), (0, &true.into()), "{report}");
    assert_eq!((&report["payments"], &report["written"]), (&ids.len().into(), &0.into()));
    assert_eq!(report["events"], system.count("select count(*) from payment_events").await);
    let text = "select distinct status || case when held_reason is not null then ' held'
                       when claim_token is not null then ' claimed' else '' end from payments";
    let there: Vec<String> = sqlx::query_scalar(text).fetch_all(pool).await.unwrap();
    let wanted = ["pending", "processing claimed", "processing held", "succeeded", "failed", "reversed"];
    assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), wanted.map(str::to_owned).into());
    let events: Vec<String> =
        sqlx::query_scalar("select distinct type from payment_events").fetch_all(pool).await.unwrap();
    // All events except those that only a wrong clock, a past that came back, or a rule of risk brings about.
    let rare = [
        EventType::Rescheduled,
        EventType::Restored,
        EventType::Doubted,
        EventType::ReviewStarted,
        EventType::Approved,
    ];
    let all = EventType::ALL.iter().filter(|event| !rare.contains(event));
    let all = all.map(|event| event.as_str().to_owned()).collect();
    assert_eq!(events.into_iter().collect::<BTreeSet<_>>(), all);
    let rebuilt = system.count("select count(*) from pg_class where relname like 'payments_re%'").await;
    assert_eq!(rebuilt, 0, "a check wrote something");
}

#[tokio::test]
async fn a_call_that_asks_for_two_things_is_refused() {
    let (exit, process) = rebuild("postgres://nowhere", &["--check", "--swap"]).run().await;

    assert_eq!((exit, process.stdout()), (Exit::Code(2), String::new()));
}
