//! A migration that has to wait for a reader: payments go on meanwhile, and the session that it waits for
//! is named.

use domain::ids::PaymentId;
use sqlx::{Postgres, Transaction};
use tests::{Exit, Launch, System, a_payment, wait_until};

use crate::PROGRAM;

/// A migration that changes a table which every payment writes to, and that may be applied again.
const VERSION: i64 = 20_261_128_000_020;

/// The database as it was before that migration was recorded.
async fn behind() -> System {
    let system = System::start(PROGRAM).await;
    let forgotten = "delete from _sqlx_migrations where version = $1";
    sqlx::query(forgotten).bind(VERSION).execute(&system.database.pool).await.unwrap();
    system
}

/// A transaction that has read that table, and has not ended; and the number of its process.
async fn reading(system: &System) -> (Transaction<'static, Postgres>, i32) {
    let mut reading = system.database.pool.begin().await.unwrap();
    // A test's session is none of Payonce's, and may stand still.
    let settings = "set local idle_in_transaction_session_timeout = 0; set local application_name = 'a dump'";
    sqlx::raw_sql(settings).execute(&mut *reading).await.unwrap();
    let read = "select pg_backend_pid(), count(*) from payment_events";
    let (pid, _): (i32, i64) = sqlx::query_as(read).fetch_one(&mut *reading).await.unwrap();
    (reading, pid)
}

fn migrate(system: &System, more: &[&str]) -> Launch {
    let command = Launch::payonce(PROGRAM).args(["migrate"]).args(more.iter().copied());
    command.env("DATABASE_URL", &system.database.url)
}

async fn paid(system: &System) -> PaymentId {
    let id = system.accepted(a_payment()).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    id
}

#[tokio::test]
async fn payments_go_on_while_a_migration_waits_for_a_reader_whom_it_names() {
    let system = behind().await;
    let (reading, pid) = reading(&system).await;
    let mut migrating = migrate(&system, &["--wait", "3600", "--json"]).spawn();

    wait_until("the reader to be named", async || {
        let named = format!("a migration waits for pid {pid} (a dump, idle in transaction, query started ");
        migrating.stderr().contains(&named)
    })
    .await;
    for _ in 0..5 {
        paid(&system).await;
    }
    assert!(!migrating.has_ended(), "{}", migrating.stderr());
    reading.rollback().await.unwrap();

    assert_eq!(migrating.wait_exit().await, Exit::Code(0), "{}", migrating.stderr());
    assert_eq!(
        migrating.stdout().trim(),
        format!(r#"{{"applied":["{VERSION} rescheduled"],"pending":[],"unknown":[]}}"#)
    );
    assert_eq!(migrating.stderr().matches("a migration waits for").count(), 1, "{}", migrating.stderr());
    paid(&system).await;
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_migration_that_waited_in_vain_names_who_is_in_the_way_and_succeeds_later() {
    let system = behind().await;
    let (reading, pid) = reading(&system).await;

    let (exit, process) = migrate(&system, &["--wait", "1", "--json"]).run().await;

    assert_eq!((exit, process.stdout().as_str()), (Exit::Code(1), ""));
    let said = process.stderr();
    let error = said.lines().last().unwrap();
    assert!(error.starts_with("error: migrating the database waited "), "{said}");
    assert!(error.contains(&format!(" s in vain for pid {pid} (a dump, idle in transaction")), "{said}");
    assert!(error.contains("run `payonce migrate` again"), "{said}");
    let recorded = format!("select count(*) from _sqlx_migrations where version = {VERSION}");
    let recorded = async || -> i64 {
        let recorded = sqlx::query_scalar(sqlx::AssertSqlSafe(recorded.clone()));
        recorded.fetch_one(&system.database.pool).await.unwrap()
    };
    assert_eq!(recorded().await, 0);
    reading.rollback().await.unwrap();
    assert_eq!(migrate(&system, &[]).run().await.0, Exit::Code(0));
    assert_eq!(recorded().await, 1);
}
