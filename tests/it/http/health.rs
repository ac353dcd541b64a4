//! Start and health, as operators of the API see them.

use serde_json::json;
use tests::client::send;
use tests::{Answer, Exit, Launch, System, TestDatabase, a_payment};

use super::an_api;
use crate::PROGRAM;

async fn asked(system: &System, path: &str) -> Answer {
    send(reqwest::Client::new().get(system.client.url(path))).await
}

#[tokio::test]
async fn health_is_shown_without_a_key_and_says_nothing_else() {
    let system = an_api().await;
    for (path, body) in [
        ("/health", json!({ "status": "healthy" })),
        ("/health/live", json!({ "status": "healthy" })),
        ("/health/ready", json!({ "status": "ready", "queue_lag_s": 0.0 })),
    ] {
        let answer = asked(&system, path).await;

        answer.assert_status(200);
        assert_eq!(answer.json(), body, "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
        assert!(!answer.header("request-id").is_empty(), "{path} has no Request-Id");
    }
}

#[tokio::test]
async fn readiness_tells_how_long_payments_have_waited_but_goes_on_taking_them() {
    let system = an_api().await;
    assert_eq!(asked(&system, "/health/ready").await.json()["queue_lag_s"], 0.0);
    let id = system.accepted(a_payment()).await;
    system.make_due(id).await;

    let answer = asked(&system, "/health/ready").await;

    answer.assert_status(200);
    assert_eq!(answer.json()["status"], "ready");
    assert!(answer.json()["queue_lag_s"].as_f64().is_some_and(|lag| lag >= 10.0), "{}", answer.json());
    system.accepted(a_payment()).await;
}

#[tokio::test]
async fn an_api_whose_database_lacks_a_migration_is_alive_but_not_ready() {
    let system = an_api().await;

    sqlx::query("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .execute(&system.database.pool)
        .await
        .unwrap();

    let problem = asked(&system, "/health/ready").await.assert_problem(503, "not_ready");
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("migrations")), "{problem}");
    for path in ["/health", "/health/live"] {
        let answer = asked(&system, path).await;
        answer.assert_status(200);
        assert_eq!(answer.json(), json!({ "status": "healthy" }), "{path}");
    }
}

#[tokio::test]
async fn an_api_on_an_empty_database_refuses_to_start_and_says_what_to_do() {
    let database = TestDatabase::fresh_empty().await;

    let (exit, api) = Launch::api(PROGRAM)
        .env("DATABASE_URL", &database.url)
        .env("API_ADDR", "127.0.0.1:0")
        .env("OPS_ADDR", "127.0.0.1:0")
        .env("METRICS_ADDR", "127.0.0.1:0")
        .env("ADMIN_KEY", "an-admin-key-for-tests")
        .run()
        .await;

    assert_eq!(exit, Exit::Code(1));
    assert!(api.stderr().contains("run `payonce migrate`"), "{}", api.stderr());
    assert_eq!(api.stdout(), "");
}
