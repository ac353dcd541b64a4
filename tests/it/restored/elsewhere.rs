//! A database that was moved as it was, one that is a copy beside the original, and the end of an upgrade.

use serde_json::{Value, json};
use tests::{Exit, Process, System, TestDatabase, a_payment};

use super::{Past, code, idle, one, payonce, said};
use crate::PROGRAM;

async fn reopened(system: &mut System) {
    system.database.pool = shared::database::connect(&system.database.url, 4).await.unwrap();
}

#[tokio::test]
async fn a_database_that_was_moved_as_it_was_goes_on_in_its_epoch() {
    let mut system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    system.workers.iter_mut().chain(&mut system.apis).for_each(Process::kill9);
    let dump = system.database.dump().await;
    system.database = TestDatabase::from_dump(&dump).await;
    system.database.pool.close().await;
    for point in ["settle_in.before", "settle_in.committed"] {
        let (exit, _) = payonce(&system, &["moved", "--by", "ada"])
            .env("PAYONCE_FAULTS", format!("{point}=kill"))
            .run()
            .await;
        assert_eq!(exit, Exit::Signal(9), "{point}");
    }

    said(payonce(&system, &["moved", "--by", "ada", "--json"])).await;

    reopened(&mut system).await;
    let now =
        one(&system, "select epoch, must_restore, returned_at is not null as returned from installation")
            .await;
    assert_eq!(now, json!({ "epoch": 1, "must_restore": null, "returned": true }));
    system.api().start().await;
}

#[tokio::test]
async fn a_database_that_forgot_a_charge_was_not_moved_as_it_was() {
    let mut past = Past::new().await;
    past.comes_back().await;
    past.leaves().await;

    let (moved, process) = code(payonce(&past.system, &["moved", "--by", "ada"])).await;

    assert_eq!(moved, 1);
    assert!(process.stderr().contains("run `payonce restored`"), "{}", process.stderr());
    reopened(&mut past.system).await;
    let why = one(&past.system, "select must_restore from installation").await;
    assert!(
        why["must_restore"].as_str().is_some_and(|why| why.contains("1 payments are forgotten")),
        "{why}"
    );
}

#[tokio::test]
async fn a_move_ends_no_restoring_that_was_begun() {
    let mut past = Past::new().await;
    past.comes_back().await;
    past.leaves().await;
    let (exit, _) = payonce(&past.system, &["restored", "--by", "ada", "--yes"])
        .env("PAYONCE_FAULTS", "keep_orphans.committed=kill")
        .run()
        .await;
    assert_eq!(exit, Exit::Signal(9));

    let (moved, process) = code(payonce(&past.system, &["moved", "--by", "ada"])).await;

    assert_eq!(moved, 1, "{}", process.stderr());
}

#[tokio::test]
async fn a_copy_beside_the_original_leaves_alone_what_is_the_originals() {
    let mut past = Past::new().await;
    let before = past.system.journal().await.len();
    past.comes_back().await;
    past.leaves().await;
    for point in ["hold_all.before", "hold_all.committed"] {
        let (exit, _) = payonce(&past.system, &["restored", "--as-copy", "--by", "ada"])
            .env("PAYONCE_FAULTS", format!("{point}=kill"))
            .run()
            .await;
        assert_eq!(exit, Exit::Signal(9), "{point}");
    }
    let id = |past: &Past| past.waiting.uuid();

    let report = said(payonce(&past.system, &["restored", "--as-copy", "--by", "ada", "--json"])).await;

    reopened(&mut past.system).await;
    assert_eq!((&report["is_copy"], &report["orphans"]), (&json!(true), &json!([])), "{report}");
    let waiting = format!("select held_reason, due_at, look_first from payments where id = '{}'", id(&past));
    assert_eq!(
        one(&past.system, &waiting).await,
        json!({ "held_reason": "restored", "due_at": null, "look_first": true })
    );
    let now = one(
        &past.system,
        "select key_space = id::text as own_keys, own_since > '-infinity' as own, must_restore,
                (select count(*) from gateway_identities) + (select count(*) from gateway_effects) as remembered from installation",
    )
    .await;
    assert_eq!(now, json!({ "own_keys": true, "own": true, "must_restore": Value::Null, "remembered": 0 }));
    assert_eq!(past.system.journal().await.len(), before, "the gateway was asked");
    let (rebuilt, process) = code(payonce(&past.system, &["rebuild", "--check"])).await;
    assert_eq!(rebuilt, 0, "{}", process.stdout());
    let number =
        one(&past.system, &format!("select id from breaks where payment_id = '{}'", id(&past))).await;
    let number = number["id"].to_string();
    let release = ["breaks", "resolve", &number, "--by", "ada", "--reason", "x", "--decision", "release"];
    let (released, process) = code(payonce(&past.system, &release)).await;
    assert_eq!(released, 1);
    assert!(process.stderr().contains("of which this is a copy"), "{}", process.stderr());
    let all = ["restored", "release", "--all", "--by", "ada", "--reason", "x", "--yes", "--json"];
    assert_eq!(said(payonce(&past.system, &all)).await, json!({ "held": [], "released": 0 }));
    // What the original knows of its gateway is not held against the copy's own.
    let (_, process) = code(payonce(&past.system, &["reconcile", "--json"])).await;
    let report: Value = serde_json::from_str(&process.stdout()).unwrap();
    assert_eq!(report["gateway"]["found"], 0, "{report}");
}

#[tokio::test]
async fn keys_are_derived_once_no_older_process_is_connected() {
    let system = idle().await;
    // As it is where older programs made it, which list by these indexes.
    let of_before = "update installation set key_scheme = 1;
        create index payments_by_merchant on payments (merchant_id, id);
        create index payments_by_customer on payments (merchant_id, customer_id, id)";
    sqlx::raw_sql(of_before).execute(&system.database.pool).await.unwrap();
    let finish = || payonce(&system, &["migrate", "--finish", "--json"]);
    let older =
        sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&system.database.url).await.unwrap();
    sqlx::raw_sql("set application_name = 'payonce worker 01KA2238C469B700B84A52'")
        .execute(&older)
        .await
        .unwrap();
    // The tests' own connections have no name either.
    system.database.pool.close().await;

    let (refused, process) = code(finish()).await;

    assert_eq!(refused, 1);
    assert!(process.stderr().contains("older processes: process "), "{}", process.stderr());
    let scheme = "select key_scheme::bigint from installation";
    let indexes =
        "select count(*) from pg_indexes where indexname in ('payments_by_merchant', 'payments_by_customer')";
    let asked = async |question: &'static str| -> i64 {
        sqlx::query_scalar(question).fetch_one(&older).await.unwrap()
    };
    assert_eq!((asked(scheme).await, asked(indexes).await), (1, 2));
    // The same session, now under a name that no process of ours has.
    sqlx::raw_sql("set application_name = 'psql'").execute(&older).await.unwrap();
    for point in ["finish_migration.before", "finish_migration.committed"] {
        let (exit, _) = finish().env("PAYONCE_FAULTS", format!("{point}=kill")).run().await;
        assert_eq!(exit, Exit::Signal(9), "{point}");
    }
    assert_eq!(said(finish()).await["finished"], true);
    assert_eq!((asked(scheme).await, asked(indexes).await), (2, 0), "nobody lists by them any more");
}

#[tokio::test]
async fn a_merchant_that_was_forgotten_comes_back_under_its_id() {
    let system = idle().await;
    let id = "mer_01920f2d6a0b7c3e8f5a4b2c1d0e9f88";
    let create =
        |name: &str| payonce(&system, &["keys", "create", "--merchant", name, "--merchant-id", id, "--json"]);

    said(create("acme")).await;
    said(create("acme")).await;

    let made =
        one(&system, "select replace(id::text, '-', '') as id from merchants where name = 'acme'").await;
    assert_eq!(made["id"], id.trim_start_matches("mer_"));
    let (other, process) = code(create("another")).await;
    assert_eq!(other, 1);
    assert!(process.stderr().contains("is another merchant's"), "{}", process.stderr());
}
