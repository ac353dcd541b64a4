//! The job board: its own listener, for the admin only, and read-only.

use reqwest::Method;
use tests::client::send;
use tests::{Answer, System, a_payment};

use super::an_api;

const ADMIN_KEY: &str = "an-admin-key-for-tests";
const TASKS: &str = "/api/v1/queues/payments/tasks";

async fn ask(system: &System, method: Method, path: &str, key: Option<&str>) -> Answer {
    let url = format!("{}{path}", system.apis[0].address("board"));
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(key) = key {
        request = request.basic_auth("anybody", Some(key));
    }
    send(request.json(&serde_json::json!({"payment_id": "pay_01900000000000000000000000000000"}))).await
}

#[tokio::test]
async fn the_board_is_shown_to_nobody_without_the_admin_key() {
    let system = an_api().await;
    for key in [None, Some(""), Some("wrong"), Some("an-admin-key-for-test")] {
        for path in ["/", "/api/v1/queues", TASKS] {
            for method in [Method::GET, Method::PUT] {
                let answer = ask(&system, method.clone(), path, key).await;

                assert_eq!(answer.status, 401, "{method} {path} with {key:?}");
                assert!(
                    answer.header("www-authenticate").starts_with("Basic "),
                    "{method} {path} with {key:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_board_is_shown_to_no_merchant() {
    let system = an_api().await;
    for path in ["/", "/api/v1/queues", TASKS] {
        let answer = ask(&system, Method::GET, path, Some(system.client.secret())).await;

        answer.assert_status(403);
        assert!(
            answer.header("www-authenticate").is_empty(),
            "a browser would ask for another key again and again"
        );
    }
}

#[tokio::test]
async fn the_board_shows_the_admin_its_pages_and_the_payment_queue() {
    let system = an_api().await;
    system.accepted(a_payment()).await;

    let page = ask(&system, Method::GET, "/", Some(ADMIN_KEY)).await;
    let queues = ask(&system, Method::GET, "/api/v1/queues", Some(ADMIN_KEY)).await;
    let tasks = ask(&system, Method::GET, &format!("{TASKS}?status=Pending"), Some(ADMIN_KEY)).await;

    page.assert_status(200);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    for answer in [&page, &queues] {
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'self'"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    queues.assert_status(200);
    assert!(queues.json().to_string().contains("payments"), "{}", queues.json());
    tasks.assert_status(200);
}

#[tokio::test]
async fn the_board_enqueues_nothing_for_anybody() {
    let system = an_api().await;
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        let answer = ask(&system, method.clone(), TASKS, Some(ADMIN_KEY)).await;

        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn the_api_does_not_serve_the_board() {
    let system = an_api().await;

    let answer = system.client.get("/api/v1/queues").await;

    answer.assert_problem(404, "not_found");
}
