//! A start after a crash leaves a report: which payments were under way in workers that are gone, and how
//! they went on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use shared::database;
use shared::operations::reconciliation;
use shared::operations::recovery::{self, session_name};
use shared::payment::transition::{Lease, claim};
use sqlx::PgPool;
use tests::claimant;
use tests::{Exit, Shape, System, a_payment, wait_until};

use crate::PROGRAM;
use crate::dead_letters::{get, payonce};
use crate::verify::behind_the_guards;

async fn without_worker() -> System {
    System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await
}

/// Starts a worker that dies there, and waits until the database has noticed.
async fn dies_at(system: &mut System, point: &str) {
    let fault = format!("{point}=kill");
    let worker = system.add_worker([("PAYONCE_FAULTS", fault.as_str()), ("DOUBT_DEADLINE_MS", "500")]).await;
    is_gone(system, worker).await;
}

async fn is_gone(system: &mut System, worker: usize) {
    assert_eq!(system.workers[worker].wait_exit().await, Exit::Signal(9));
    wait_until("the database to notice", async || {
        system.count("select count(*) from pg_stat_activity where datname = current_database() and application_name like 'payonce worker %'")
            .await
            == 0
    })
    .await;
}

/// Starts a worker, and waits until it takes jobs.
async fn starts(system: &mut System) {
    const KNOWN: &str = "select count(*) from apalis.workers where worker_type = 'payments'";
    let before = system.count(KNOWN).await;
    system.add_worker([("RUST_LOG", "warn"), ("DOUBT_DEADLINE_MS", "500")]).await;
    wait_until("the worker to take jobs", async || system.count(KNOWN).await > before).await;
}

/// The payments that are claimed now, and the claim of each.
async fn claimed(pool: &PgPool) -> BTreeMap<String, String> {
    let rows: Vec<(uuid::Uuid, uuid::Uuid)> =
        sqlx::query_as("select id, claim_token from payments where claim_token is not null")
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter().map(|(id, token)| (PaymentId::from(id).to_string(), token.to_string())).collect()
}

async fn reports(system: &System) -> Vec<Value> {
    get(system, "/v1/recovery-reports").await["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_start_after_a_kill_reports_each_payment_that_was_under_way_and_how_it_ended() {
    let mut system = without_worker().await;
    // All of them are to be asked about when the first answer kills the worker.
    system.faults(json!({ "slow_ms": 300 })).await;
    let worker = system.add_worker([("PAYONCE_FAULTS", "charge.answered=kill")]).await;
    system.workers[worker].stop().await;
    for _ in 0..6 {
        let _ = system.accepted(a_payment()).await;
    }
    system.workers[worker].cont();
    is_gone(&mut system, worker).await;
    let lost = claimed(&system.database.pool).await;
    assert!(lost.len() > 1, "{lost:?}");

    starts(&mut system).await;
    system.settled().await;

    let list = reports(&system).await;
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!((&list[0]["payments"], &list[0]["more"]), (&lost.len().into(), &0.into()));
    let path = format!("/v1/recovery-reports/{}", list[0]["id"]);
    let report = get(&system, &path).await;
    let recovered = report["recovered"].as_array().unwrap();
    let listed: BTreeMap<String, String> = recovered
        .iter()
        .map(|it| (it["payment_id"].as_str().unwrap().into(), it["claim_token"].as_str().unwrap().into()))
        .collect();
    assert_eq!(listed, lost);
    for it in recovered {
        let id: PaymentId = it["payment_id"].as_str().unwrap().parse().unwrap();
        let payment = system.client.payment(id).await;
        assert_eq!(
            (&it["was_doing"], &it["became"], &it["came_back"]),
            (&"charge".into(), &"succeeded".into(), &false.into())
        );
        assert_eq!(it["charge_id"], payment["gateway"]["transaction_id"]);
        let types: Vec<&str> =
            it["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!((types.first(), types.last()), (Some(&"taken_over"), Some(&"succeeded")), "{it}");
        assert_ne!(it["lost_worker"], report["worker"]);
        assert_eq!(it["events"][0]["evidence"]["worker"], report["worker"]);
    }
    let number = list[0]["id"].to_string();
    let (code, shown) = payonce(&system, &["recovery", "show", &number, "--json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&shown.stdout()).unwrap()), (0, report));
    let (_, listed_as_text) = payonce(&system, &["recovery", "list"]).await;
    assert!(listed_as_text.stdout().contains(list[0]["worker"].as_str().unwrap()));
    let (none, said) = payonce(&system, &["recovery", "show", "4711"]).await;
    assert!(none == 1 && said.stderr().contains("payonce recovery list"), "{}", said.stderr());
    let found_nothing = system.workers.len() - 1;
    system.workers[found_nothing].kill9();
    is_gone(&mut system, found_nothing).await;
    starts(&mut system).await;
    assert_eq!(reports(&system).await, list, "a start that found nothing left a report");
}

#[tokio::test]
async fn a_report_says_what_the_lost_worker_was_doing() {
    let mut system = without_worker().await;
    for (token, point, doing, became) in [
        ("sim_ok", "charge.answered", "charge", "succeeded"),
        ("sim_timeout_charged", "lookup.answered", "verify", "succeeded"),
        ("sim_doubt", "void.answered", "void", "reversed"),
    ] {
        let id = system.accepted(a_payment().method(token)).await;
        dies_at(&mut system, point).await;
        starts(&mut system).await;
        system.ended(id).await;
        system.workers.clear();

        let newest = reports(&system).await[0]["id"].clone();
        let report = get(&system, &format!("/v1/recovery-reports/{newest}")).await;
        let recovered = report["recovered"].as_array().unwrap();
        assert_eq!(recovered.len(), 1, "{report}");
        assert_eq!(
            (&recovered[0]["payment_id"], &recovered[0]["was_doing"], &recovered[0]["became"]),
            (&id.to_string().into(), &doing.into(), &became.into()),
            "{report}"
        );
    }
    system.client.get("/v1/recovery-reports").await.assert_status(403);
}

const LEASE: Lease = Lease { lease: Duration::from_secs(600), send_window: Duration::from_secs(1) };

/// Payments, each claimed by a worker of that name.
async fn claimed_by(system: &System, worker: &str, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let id = system.accepted(a_payment()).await;
        assert_eq!(claim(&system.database.pool, &[id], &claimant(worker, LEASE)).await.unwrap().len(), 1);
        ids.insert(id.to_string());
    }
    ids
}

/// All payments that any report lists. Each must be listed once.
async fn all_listed(pool: &PgPool) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for report in recovery::list(pool, None, 100).await.unwrap() {
        let (report, recovered) = recovery::find(pool, report.id).await.unwrap().unwrap();
        assert!(report.payments > 0 && usize::try_from(report.payments) == Ok(recovered.len()), "{report:?}");
        for it in recovered {
            assert!(all.insert(PaymentId::from(it.payment_id).to_string()), "listed twice: {it:?}");
        }
    }
    all
}

#[tokio::test]
async fn ten_workers_that_start_at_once_list_each_lost_claim_once_and_none_of_a_worker_that_lives() {
    let system = without_worker().await;
    let pool = &system.database.pool;
    let gone = claimed_by(&system, "payonce-a-1-GONE", 8).await;
    claimed_by(&system, "payonce-b-2-LIVES", 2).await;
    let overdue = claimed_by(&system, "payonce-b-2-LIVES", 1).await;
    let silent = claimed_by(&system, "payonce-c-3-SILENT", 1).await;
    let _sessions = [
        database::connect_as(&system.database.url, 1, &session_name("payonce-b-2-LIVES")).await.unwrap(),
        database::connect_as(&system.database.url, 1, &session_name("payonce-c-3-SILENT")).await.unwrap(),
    ];
    let queue = "insert into apalis.workers (id, worker_type, storage_name, last_seen) values
                 ('payonce-b-2-QUEUE', 'payments', '', now()), ('payonce-c-3-QUEUE', 'payments', '', now() - interval '1 minute')";
    sqlx::query(queue).execute(pool).await.unwrap();
    system.make_due(overdue.first().unwrap().parse().unwrap()).await;

    let names: Vec<String> = (0..10).map(|n| format!("payonce-d-{n}-NEW{n}")).collect();
    futures::future::join_all(names.iter().map(|name| recovery::at_start(pool, name))).await;

    assert_eq!(all_listed(pool).await, gone.into_iter().chain(overdue).chain(silent).collect());
}

#[tokio::test]
async fn beyond_a_thousand_a_report_counts_and_old_reports_are_deleted_with_what_they_list() {
    let system = without_worker().await;
    let pool = &system.database.pool;
    let id = claimed_by(&system, "payonce-a-1-GONE", 1).await.pop_first().unwrap();
    let many = "insert into payments select p.*
                  from (select gen_random_uuid() as copy from generate_series(1, 1004)) c cross join payments q
                 cross join lateral jsonb_populate_record(q, jsonb_build_object('id', copy)) p;
                insert into payment_events select e.* from payments c cross join payment_events q
                 cross join lateral jsonb_populate_record(q, jsonb_build_object('payment_id', c.id)) e
                 where c.id <> q.payment_id";
    behind_the_guards(pool, many).await;

    recovery::at_start(pool, "payonce-d-1-NEW").await;

    let reports = recovery::list(pool, None, 10).await.unwrap();
    assert_eq!(reports.iter().map(|it| (it.payments, it.more)).collect::<Vec<_>>(), [(1_000, 5)], "{id}");
    assert_eq!(reconciliation::forget(pool, 30).await.unwrap(), 0);
    let aged = "update recovery_reports set found_at = now() - interval '31 days'";
    sqlx::query(aged).execute(pool).await.unwrap();
    assert_eq!(reconciliation::forget(pool, 30).await.unwrap(), 1);
    assert_eq!(system.count("select count(*) from recovery_items").await, 0);
}
