//! The benchmark, run small. The tests assert that it measures, and not what.

use std::fs;
use std::path::PathBuf;

use bench::{Scale, measure};
use domain::ids::PaymentId;
use serde_json::{Value, json};
use shared::merchant;
use tests::{TestDatabase, books, guardian};
use tokio::process::Command;
use uuid::Uuid;

use crate::PROGRAM;

/// A directory of this test's own.
fn a_directory(name: &str) -> PathBuf {
    guardian::scratch().join(format!("{name}-{:016x}", rand::random::<u64>()))
}

#[tokio::test]
async fn a_run_measures_everything_and_writes_what_it_found() {
    let programs = |name: &str| {
        let mut program = Command::new(PROGRAM);
        program.arg(name);
        program
    };
    let scale = Scale {
        bare_secs: 1,
        payments: 40,
        idle: 2,
        crowd: 20,
        transfers: 40,
        accounts: vec![10, 2],
        settings: vec![(30, 1)],
    };
    let out = a_directory("bench-results");

    let report = Box::pin(measure(&scale, &programs, a_directory("bench"))).await.unwrap();
    report.write(&out).unwrap();

    let told: Value = serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    for figure in [
        "/bare/0",
        "/bare/1",
        "/cycles/0/settled_per_s",
        "/cycles/0/accepted_per_s",
        "/cycles/0/drained_per_s",
        "/cycles/0/cost/wal_bytes_per_payment",
        "/idle/post/p50_ms",
        "/idle/settled/p50_ms",
        "/replay/client/p50_ms",
        "/replay/server_mean_ms",
        "/crowd/post/p99_ms",
        "/crowd/last_settled_s",
        "/moves/0/bare_per_s",
        "/moves/0/moved_per_s",
        "/moves/0/bytes_per_transfer",
        "/moves/1/bare_per_s",
        "/moves/1/answer/p99_ms",
    ] {
        assert!(
            told.pointer(figure).and_then(Value::as_f64).is_some_and(|it| it > 0.0),
            "{figure}: {told:#}"
        );
    }
    let table = fs::read_to_string(out.join("table.txt")).unwrap();
    assert!(table.contains("30 stored, 1 worker(s): HTTP to settled"), "{table}");
    assert!(table.contains("2 accounts: transfers"), "{table}");
    for plot in ["throughput.svg", "latency.svg"] {
        assert!(fs::read_to_string(out.join(plot)).unwrap().ends_with("</svg>\n"), "{plot}");
    }
}

#[tokio::test]
async fn what_is_stored_already_is_as_payonce_would_have_stored_it() {
    let database = TestDatabase::fresh().await;
    let merchant = merchant::find_or_create(&database.pool, "bench").await.unwrap();
    let mut connection = database.pool.acquire().await.unwrap();
    bench::fill(&mut connection, merchant.id.uuid(), 50).await.unwrap();

    let ids: Vec<Uuid> =
        sqlx::query_scalar("select id from payments").fetch_all(&mut *connection).await.unwrap();
    let charge =
        |id| json!({"kind": "charge", "amount": "12.50", "reference": PaymentId::from(id).to_string()});
    let journal: Vec<Value> = ids.into_iter().map(charge).collect();
    assert_eq!(journal.len(), 50);
    assert_eq!(books::violations(&database.pool, &journal).await, Vec::<String>::new());
    let keys: i64 = sqlx::query_scalar("select count(distinct payment_id) from idempotency_keys")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(keys, 50);
    let copied: i64 = sqlx::query_scalar(
        "select count(*) from gateway_effects e join payments p on e.charge_id = p.gateway_transaction_id
          where e.seq < 0 and e.key = 'pay_' || replace(p.id::text, '-', '')",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!(copied, 50);
}
