//! A snapshot that is held is seen by every role with the right to: in the gauges, with the process, and on
//! the operator's overview.

use shared::database::APP;
use sqlx::{Connection as _, PgConnection};
use tests::{PrivateServer, Scrape, System, a_payment, wait_until};

use crate::PROGRAM;

const KIND: &str = "idle_in_transaction";

/// A session that holds a snapshot and does nothing, as a dump does; and the number of its process.
async fn holding(url: &str) -> (PgConnection, i32) {
    let mut session = PgConnection::connect(url).await.unwrap();
    let hold = "set application_name = 'a dump'; begin isolation level repeatable read; select 1 from payments limit 1";
    sqlx::raw_sql(hold).execute(&mut session).await.unwrap();
    let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await.unwrap();
    (session, pid)
}

#[tokio::test]
async fn who_holds_a_snapshot_is_in_the_gauges_and_the_dead_rows_too() {
    let system = System::start(PROGRAM).await;
    let (session, pid) = holding(&system.database.url).await;
    for _ in 0..3 {
        let id = system.accepted(a_payment()).await;
        system.ended(id).await;
    }

    let shows =
        async |name: &str, labels: &[(&str, &str)]| Scrape::of(&system.apis[0]).await.sum(name, labels);
    wait_until("the holder to be named", async || {
        shows("payonce_database_snapshot_pid", &[]).await == f64::from(pid)
            && shows("payonce_database_snapshot_age_seconds", &[("held_by", KIND)]).await > 0.0
            && shows("payonce_database_snapshot_age_transactions", &[("held_by", KIND)]).await > 0.0
            && shows("payonce_database_dead_rows", &[("table", "payments")]).await > 0.0
    })
    .await;
    assert_eq!(shows("payonce_database_sessions_hidden", &[]).await.to_bits(), 0.0_f64.to_bits());
    session.close().await.unwrap();

    wait_until("nobody to be named", async || {
        let pid_is_another = shows("payonce_database_snapshot_pid", &[]).await != f64::from(pid);
        pid_is_another && shows("payonce_database_snapshot_age_seconds", &[("held_by", KIND)]).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_see_what_is_hidden_is_counted_and_prepared_transactions_show_all_the_same() {
    let server = PrivateServer::with_setting("max_prepared_transactions", "5").await;
    let database = server.database().await;
    let (_session, pid) = holding(&database.url).await;
    let prepare = "begin; update payments set version = version where false; select pg_current_xact_id();
                   prepare transaction 'of another'";
    sqlx::raw_sql(prepare).execute(&database.pool).await.unwrap();
    let app = shared::database::connect(&database.app_url(), 1).await.unwrap();

    let seen = shared::operations::horizon::read(&app).await.unwrap();
    let revoke = format!("revoke pg_read_all_stats from {APP}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(revoke)).execute(&database.pool).await.unwrap();
    let revoked = shared::operations::horizon::read(&app).await.unwrap();

    let kinds = |horizon: &shared::operations::horizon::Horizon| {
        let mut kinds: Vec<String> = horizon.holders.iter().map(|it| it.held_by.clone()).collect();
        kinds.sort();
        kinds
    };
    assert_eq!((kinds(&seen), seen.hidden), (vec![KIND.to_owned(), "prepared".to_owned()], 0));
    assert_eq!(seen.holders.iter().find(|it| it.held_by == KIND).unwrap().pid, Some(pid));
    assert_eq!(kinds(&revoked), ["prepared"]);
    assert!(revoked.hidden > 0);
    server.remove().await;
}
