//! A process asks which database it has before it does anything. Another database ends it, and the message
//! says what to do. A server that took over is compared with the gateway's books before anything is claimed.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Exit, Shape, System, TestDatabase, a_payment, wait_until};

use crate::PROGRAM;

/// A system without a worker, and with a payment that waits.
async fn one_that_waits() -> System {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.accepted(a_payment()).await;
    system
}

async fn installation(system: &System) -> Value {
    let row = "select to_jsonb(i) from installation i";
    sqlx::query_scalar(row).fetch_one(&system.database.pool).await.unwrap()
}

async fn does(system: &System, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&system.database.pool).await.unwrap();
}

/// Makes it as after a promotion: the server's timeline is later than the known one.
async fn took_over(system: &System) {
    does(system, "update installation set timeline = timeline - 1").await;
}

/// Charges at the gateway under a key, as for a payment that is forgotten here.
async fn charged_at_the_gateway(system: &System, key: &str) {
    let body = json!({"amount": "7.00", "currency": "EUR", "payment_method": "sim_ok", "reference": key});
    let charge = reqwest::Client::new()
        .post(format!("{}/charges", system.gateway.address("gateway")))
        .header("idempotency-key", key)
        .json(&body);
    assert_eq!(charge.send().await.unwrap().status(), 201);
}

/// The messages of an API and a worker that are refused.
async fn refusals(system: &System) -> [String; 2] {
    let (api, worker) = (system.api().run().await, system.worker().run().await);
    [api, worker].map(|(exit, process)| {
        assert_eq!(exit, Exit::Code(1), "{}", process.stderr());
        process.stderr()
    })
}

#[tokio::test]
async fn the_first_process_writes_down_which_database_it_is() {
    let system = one_that_waits().await;

    let known = installation(&system).await;

    assert!(known["system_identifier"].as_str().is_some_and(|number| number.len() > 9), "{known}");
    assert!(known["database_oid"].as_i64().is_some_and(|oid| oid > 0), "{known}");
    assert_eq!(
        (&known["timeline"], &known["epoch"], &known["key_scheme"]),
        (&json!(1), &json!(1), &json!(2))
    );
}

#[tokio::test]
async fn a_dump_that_was_loaded_is_refused_with_what_to_do_and_an_empty_one_is_not() {
    let mut system = one_that_waits().await;
    let empty = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let (dump, empty) = (system.database.dump().await, empty.database.dump().await);
    system.database = TestDatabase::from_dump(&dump).await;

    for said in refusals(&system).await {
        for command in ["`payonce restored`", "`payonce moved`", "--as-copy"] {
            assert!(said.contains(command), "{said}");
        }
    }
    assert!(!claims_are_allowed(&system).await);
    // Nothing can be forgotten in an empty database.
    System::on(
        TestDatabase::from_dump(&empty).await,
        PROGRAM,
        Shape { apis: 1, workers: 1, ..Shape::default() },
    )
    .await;
}

async fn claims_are_allowed(system: &System) -> bool {
    sqlx::query_scalar("select may_claim()").fetch_one(&system.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_dump_that_is_loaded_under_a_worker_at_work_ends_it() {
    let mut system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;

    // As loading writes the row: by another transaction than the row names.
    does(&system, "set session_replication_role = replica; update installation set epoch = epoch; reset session_replication_role").await;

    assert!(!claims_are_allowed(&system).await, "before the worker has noticed");
    assert_eq!(system.workers[0].wait_exit().await, Exit::Code(1));
    assert!(system.workers[0].stderr().contains("`payonce restored`"), "{}", system.workers[0].stderr());
}

#[tokio::test]
async fn a_server_that_was_overtaken_is_refused() {
    let system = one_that_waits().await;
    does(&system, "update installation set timeline = timeline + 1").await;

    for said in refusals(&system).await {
        assert!(said.contains("split brain"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_took_over_is_accepted_once_the_gateways_books_show_nothing_that_is_forgotten() {
    let mut system = System::start(PROGRAM).await;
    let paid = system.accepted(a_payment()).await;
    system.ended(paid).await;
    system.workers[0].kill9();
    system.gateway.kill9();
    took_over(&system).await;
    let waiting = system.accepted(a_payment()).await;
    assert!(!claims_are_allowed(&system).await);
    let worker = system.worker().env("RUST_LOG", "info").start().await;
    wait_until("the worker to say that it waits for the gateway's books", async || {
        worker.stdout().contains("books were not read") || worker.stderr().contains("books were not read")
    })
    .await;
    assert_eq!(system.story(waiting).await, ["created"]);

    system.restart_gateway().await;

    system.ended(waiting).await;
    let now = installation(&system).await;
    assert_eq!((&now["timeline"], &now["must_restore"]), (&json!(1), &Value::Null));
    assert!(now["returned_at"].is_string(), "{now}");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_server_that_took_over_without_a_charge_that_the_gateway_shows_waits_for_a_person() {
    let mut system = one_that_waits().await;
    charged_at_the_gateway(&system, "pk1_of_a_payment_that_is_forgotten").await;
    took_over(&system).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    wait_until("the charge to be seen", async || !installation(&system).await["must_restore"].is_null())
        .await;

    let ready = system.client.get("/health/ready").await.assert_problem(503, "not_ready").to_string();
    assert!(ready.contains("pk1_of_a_payment_that_is_forgotten"), "{ready}");
    assert_eq!(system.pay(a_payment()).await.status, 503);
    assert_eq!(system.count("select count(*) from payments where status <> 'pending'").await, 0);
    assert!(!claims_are_allowed(&system).await);
}

#[tokio::test]
async fn a_charge_of_which_a_break_tells_makes_no_server_that_took_over_suspicious() {
    let mut system = one_that_waits().await;
    charged_at_the_gateway(&system, "of_somebody_else").await;
    does(
        &system,
        "insert into breaks (subject, kind, detail, opened_at) values ('key of_somebody_else', 'charge_unknown', '{}', now())",
    )
    .await;
    took_over(&system).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    system.settled().await;

    assert_eq!(installation(&system).await["timeline"], 1);
}

#[tokio::test]
async fn a_process_killed_while_it_writes_down_who_it_is_is_followed_by_one_that_does() {
    let system = System::with(PROGRAM, Shape::default()).await;
    for point in ["identify.before", "identify.committed"] {
        let (exit, _) = system.api().env("PAYONCE_FAULTS", format!("{point}=kill")).run().await;
        assert_eq!(exit, Exit::Signal(9), "{point}");
        system.api().start().await;
        assert!(installation(&system).await["database_oid"].is_i64());
        does(&system, "update installation set database_oid = null, timeline = null").await;
    }
}

#[tokio::test]
async fn a_worker_killed_while_it_looks_into_it_is_followed_by_one_that_does() {
    let mut system = one_that_waits().await;
    for point in ["accept_timeline.before", "accept_timeline.committed"] {
        took_over(&system).await;
        let worker = system.add_worker([("PAYONCE_FAULTS", format!("{point}=kill"))]).await;
        assert_eq!(system.workers[worker].wait_exit().await, Exit::Signal(9), "{point}");
    }
    charged_at_the_gateway(&system, "forgotten").await;
    for point in ["must_restore.before", "must_restore.committed"] {
        does(&system, "update installation set must_restore = null, timeline = 0").await;
        let worker = system.add_worker([("PAYONCE_FAULTS", format!("{point}=kill"))]).await;
        assert_eq!(system.workers[worker].wait_exit().await, Exit::Signal(9), "{point}");
    }
    assert!(installation(&system).await["must_restore"].is_string());
}
