//! A pooler in between: by session everything works and every promise holds, by transaction it is refused.

use serde_json::json;
use shared::database;
use tests::{Exit, Launch, Pooler, PrivateServer, Shape, System, TestDatabase, a_payment};

use crate::PROGRAM;

/// The setting that swallows what a client asks for when it connects.
const SWALLOWS: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits,options");

#[tokio::test]
async fn a_pooler_that_swallows_what_is_asked_for_at_connecting_cannot_undo_a_promise() {
    let server = PrivateServer::start().await;
    let _migrated = server.database().await;
    server.execute("alter role postgres set synchronous_commit = off").await;
    let pooler = Pooler::before(&server, &[("pool_mode", "session"), SWALLOWS]).await;

    let pool =
        database::connect(&format!("{}?options=-c%20synchronous_commit%3Don", pooler.url), 2).await.unwrap();

    let commit: String =
        sqlx::query_scalar("select current_setting('synchronous_commit')").fetch_one(&pool).await.unwrap();
    assert_eq!(commit, "on");
}

#[tokio::test]
async fn payments_go_their_way_through_a_pooler_that_hands_sessions_out_whole() {
    let server = PrivateServer::start().await;
    let direct = server.database().await;
    // As it is installed: nothing is ignored.
    let pooler = Pooler::before(&server, &[("pool_mode", "session")]).await;
    let through = TestDatabase::at(pooler.url.clone()).await;
    let system = System::on(through, PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;

    let id = system.accepted(a_payment()).await;

    assert_eq!(system.ended(id).await["status"], json!("succeeded"));
    system.assert_books_agree().await;
    let ours: i64 =
        sqlx::query_scalar("select count(*) from payments").fetch_one(&direct.pool).await.unwrap();
    assert_eq!(ours, 1);
}

#[tokio::test]
async fn a_pooler_that_hands_sessions_out_by_transaction_is_refused_at_start() {
    let server = PrivateServer::start().await;
    let _migrated = server.database().await;
    for pool_size in ["1", "20"] {
        let settings = [("pool_mode", "transaction"), ("default_pool_size", pool_size), SWALLOWS];
        let pooler = Pooler::before(&server, &settings).await;

        let (exit, api) = Launch::api(PROGRAM)
            .env("DATABASE_URL", &pooler.url)
            .env("API_ADDR", "127.0.0.1:0")
            .env("OPS_ADDR", "127.0.0.1:0")
            .env("METRICS_ADDR", "127.0.0.1:0")
            .env("ADMIN_KEY", "an-admin-key-for-tests")
            .run()
            .await;

        assert_eq!(exit, Exit::Code(1), "with {pool_size} sessions");
        assert!(api.stderr().contains("pool_mode = session"), "{}", api.stderr());
    }
}
