//! The harness itself: the promises that the other tests rely on.

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tests::{Exit, Launch, TestDatabase, wait_until};

use crate::PROGRAM;

#[tokio::test]
async fn each_test_has_databases_of_its_own() {
    let (first, second) = tokio::join!(TestDatabase::fresh_empty(), TestDatabase::fresh_empty());

    sqlx::query("create table t ()").execute(&first.pool).await.unwrap();

    let unseen = sqlx::query("select from t").execute(&second.pool).await.unwrap_err();
    let code = unseen.as_database_error().and_then(|why| why.code());
    assert_eq!(code.as_deref(), Some("42P01"), "the second database has the table of the first: {unseen}");
}

#[tokio::test]
async fn a_fresh_database_is_migrated() {
    let database = TestDatabase::fresh().await;

    let pending = shared::database::pending_migrations(&database.pool).await.unwrap();

    assert_eq!(pending, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_is_dropped_with_its_value() {
    let observer = TestDatabase::fresh_empty().await;
    let database = TestDatabase::fresh_empty().await;
    let name = database.url.rsplit('/').next().unwrap().to_owned();

    drop(database);

    wait_until("the database to be gone", async || {
        let count: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
            .bind(&name)
            .fetch_one(&observer.pool)
            .await
            .unwrap();
        count == 0
    })
    .await;
}

#[tokio::test]
async fn a_process_is_killed_when_dropped() {
    let database = TestDatabase::fresh_empty().await;
    let gateway = a_gateway(&database).start().await;
    let pid = Pid::from_raw(gateway.pid().cast_signed());

    drop(gateway);

    assert_eq!(kill(pid, None), Err(Errno::ESRCH));
}

#[tokio::test]
async fn a_stopped_process_goes_on_and_ends_in_order() {
    let database = TestDatabase::fresh_empty().await;
    let mut gateway = a_gateway(&database).start().await;

    gateway.stop().await;
    gateway.cont();
    gateway.terminate();

    assert_eq!(gateway.wait_exit().await, Exit::Code(0));
}

#[tokio::test]
#[should_panic(expected = "payonce (pid")]
async fn a_process_that_ends_too_early_fails_the_test() {
    Launch::payonce(PROGRAM).args(["--no-such-flag"]).start().await;
}

fn a_gateway(database: &TestDatabase) -> Launch {
    Launch::simgateway(PROGRAM).env("GATEWAY_DATABASE_URL", &database.url).env("GATEWAY_ADDR", "127.0.0.1:0")
}
