//! `payonce restored` and `payonce moved`. A database that came back from a backup names what it forgot. It
//! asks about payments that were not over before anything else, and opens its doors last.

mod crashes;
mod elsewhere;
mod goes_on;
mod release;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Dump, Exit, Launch, Process, Shape, System, TestDatabase, a_payment};

use crate::PROGRAM;

/// An operator's command, with the gateway's address, and leases that end soon.
fn payonce(system: &System, arguments: &[&str]) -> Launch {
    Launch::payonce(PROGRAM)
        .args(arguments.iter().copied())
        .env("DATABASE_URL", &system.database.url)
        .env("GATEWAY_URL", system.gateway.address("gateway"))
        .env("LEASE_MS", "100")
        .env("GATEWAY_TIMEOUT_MS", "100")
}

async fn code(launch: Launch) -> (i32, Process) {
    match launch.run().await {
        (Exit::Code(code), process) => (code, process),
        (Exit::Signal(signal), _) => unreachable!("nobody sent it signal {signal}"),
    }
}

/// Its answer as JSON. It must do its work.
async fn said(launch: Launch) -> Value {
    let (code, process) = code(launch).await;
    assert_eq!(code, 0, "{}", process.stderr());
    serde_json::from_str(&process.stdout()).unwrap()
}

async fn one(system: &System, sql: &str) -> Value {
    let sql = format!("select to_jsonb(it) from ({sql}) it");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&system.database.pool).await.unwrap()
}

async fn does(system: &System, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&system.database.pool).await.unwrap();
}

/// One payment that succeeded, one that waits, one that is held, then a backup. After it one more
/// that succeeded.
struct Past {
    system: System,
    dump: Dump,
    succeeded: PaymentId,
    waiting: PaymentId,
    held: PaymentId,
    forgotten: PaymentId,
}

impl Past {
    async fn new() -> Self {
        let mut system = System::start(PROGRAM).await;
        let succeeded = system.accepted(a_payment()).await;
        let held = system.accepted(a_payment().method("sim_wrong_amount")).await;
        system.ended(succeeded).await;
        system.held(held).await;
        system.workers[0].kill9();
        let waiting = system.accepted(a_payment().amount("3.00")).await;
        let dump = system.database.dump().await;
        let forgotten = system.accepted(a_payment().key("again").amount("5.00")).await;
        system.add_worker([("RUST_LOG", "info")]).await;
        system.ended(forgotten).await;
        system.ended(waiting).await;
        system.workers.iter_mut().chain(&mut system.apis).for_each(Process::kill9);
        Self { system, dump, succeeded, waiting, held, forgotten }
    }

    /// Brings the database back as it was when it was dumped, with nothing running.
    async fn comes_back(&mut self) {
        self.system.database = TestDatabase::from_dump(&self.dump).await;
    }

    /// Ends the tests' own connections, which the command would take for another session's.
    async fn leaves(&self) {
        self.system.database.pool.close().await;
    }
}

#[tokio::test]
async fn what_was_paid_after_the_backup_is_named_and_what_was_not_over_is_put_in_doubt() {
    let mut past = Past::new().await;
    past.comes_back().await;
    past.leaves().await;

    let report = said(payonce(&past.system, &["restored", "--by", "ada", "--json"])).await;

    past.system.database.pool = shared::database::connect(&past.system.database.url, 4).await.unwrap();
    assert_eq!(report["epoch"], 2);
    assert_eq!(report["books_whole"], true);
    assert_eq!(report["orphans"], json!([{ "currency": "EUR", "count": 1, "amount": "5.00" }]), "{report}");
    let doubted: Vec<(&str, i64)> = report["doubted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["was"].as_str().unwrap(), it["count"].as_i64().unwrap()))
        .collect();
    assert_eq!(doubted, [("held", 1), ("pending", 1)]);
    assert_eq!(report["over"][0]["was"], "succeeded");
    let system = &past.system;
    let waiting = one(system, &format!("select * from payments where id = '{}'", past.waiting.uuid())).await;
    assert_eq!(
        (&waiting["status"], &waiting["look_first"], &waiting["in_doubt"]),
        (&json!("processing"), &json!(true), &json!(true))
    );
    assert_eq!(waiting["first_sent_at"], waiting["created_at"]);
    let held = one(system, &format!("select * from payments where id = '{}'", past.held.uuid())).await;
    assert_eq!(
        (&held["held_reason"], &held["look_first"], &held["due_at"]),
        (&json!("wrong_answer"), &json!(true), &Value::Null)
    );
    let over = one(system, &format!("select * from payments where id = '{}'", past.succeeded.uuid())).await;
    assert_eq!((&over["status"], &over["look_first"]), (&json!("succeeded"), &json!(false)));
    let orphan = one(system, "select * from orphans").await;
    assert_eq!(orphan["reference"], past.forgotten.to_string());
    let named = one(system, "select subject from breaks where kind = 'orphan' and closed_at is null").await;
    assert_eq!(named["subject"], format!("key {}", orphan["key"].as_str().unwrap()));
    let listed = said(payonce(system, &["orphans", "list", "--json"])).await;
    assert_eq!(listed["data"][0]["key"], orphan["key"]);
    let installation = one(system, "select * from installation").await;
    assert_eq!((&installation["must_restore"], &installation["key_scheme"]), (&Value::Null, &json!(2)));
    let (rebuilt, process) = code(payonce(system, &["rebuild", "--check"])).await;
    assert_eq!(rebuilt, 0, "its events make another table: {}", process.stdout());
    // A merchant that it does not know may be one that it forgot.
    let create = ["keys", "create", "--merchant", "unheard of", "--json"];
    let (refused, process) = code(payonce(system, &create)).await;
    assert!(refused == 1 && process.stderr().contains("say its id (--merchant-id)"), "{}", process.stderr());
    let made = said(payonce(system, &[&create[..], &["--new"]].concat())).await;
    assert!(made["merchant_id"].as_str().is_some_and(|id| id.starts_with("mer_")), "{made}");
    // Its doors are open.
    System::api(system).start().await;
}

#[tokio::test]
async fn while_anybody_is_connected_nothing_is_done() {
    let mut past = Past::new().await;
    past.comes_back().await;

    let (code, process) = code(payonce(&past.system, &["restored", "--by", "ada"])).await;

    assert_eq!(code, 1);
    assert!(
        process.stderr().contains("others are connected to this database: process "),
        "{}",
        process.stderr()
    );
    assert_eq!(
        one(&past.system, "select epoch, must_restore from installation").await,
        json!({ "epoch": 1, "must_restore": null })
    );
}

#[tokio::test]
async fn where_nobody_knows_what_is_forgotten_a_person_has_to_say_that_it_is_meant_and_the_doors_stay_closed_till_then()
 {
    let mut past = Past::new().await;
    past.comes_back().await;
    past.leaves().await;
    let blind = |more: &[&str]| {
        let arguments = [&["restored", "--by", "ada", "--json"], more].concat();
        payonce(&past.system, &arguments).env("GATEWAY_URL", "http://127.0.0.1:1")
    };

    for command in ["restored", "moved"] {
        let unset = payonce(&past.system, &[command, "--by", "ada"]).env("GATEWAY_URL", "");
        let (refused, process) = code(unset).await;
        assert!(refused == 2 && process.stderr().contains("set GATEWAY_URL"), "{}", process.stderr());
    }
    let (asked, process) = code(blind(&[])).await;

    assert_eq!((asked, process.stdout().as_str()), (3, ""), "{}", process.stderr());
    assert!(
        process.stderr().contains("is charged once more when its client repeats it"),
        "{}",
        process.stderr()
    );
    let pool = shared::database::connect(&past.system.database.url, 1).await.unwrap();
    let why: Option<String> =
        sqlx::query_scalar("select must_restore from installation").fetch_one(&pool).await.unwrap();
    assert!(why.is_some_and(|why| why.contains("begun by ada")));
    pool.close().await;
    let report = said(blind(&["--yes"])).await;
    assert_eq!((&report["books_whole"], &report["orphans"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn what_people_had_asked_for_in_a_past_that_came_back_is_taken_back() {
    let mut past = Past::new().await;
    past.comes_back().await;
    does(&past.system, "insert into decisions (payment_id, version, wish, is_unproven, asked_by, asked_with, reason, asked_at)
          select id, version, 'void', false, 'eve', 'eve', 'seen', now() from payments where held_reason is not null").await;
    past.leaves().await;

    let report = said(payonce(&past.system, &["restored", "--by", "ada", "--yes", "--json"])).await;

    assert_eq!(report["withdrawn"], json!({ "decisions": 1, "corrections": 0 }));
}

/// A system with no API and no worker.
async fn idle() -> System {
    System::with(PROGRAM, Shape::default()).await
}
