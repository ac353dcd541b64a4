//! A job that the queue cannot do is parked with its evidence, listed, and replayed once, by a person with
//! the admin key.

use domain::ids::PaymentId;
use reqwest::Method;
use serde_json::{Value, json};
use tests::client::send;
use tests::{Answer, Exit, Launch, Process, Scrape, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

const ADMIN_KEY: &str = "an-admin-key-for-tests";

async fn request(system: &System, method: Method, path: &str, body: Option<Value>, key: &str) -> Answer {
    let url = format!("{}{path}", system.apis[0].address("api"));
    let request = reqwest::Client::new().request(method, url).bearer_auth(key);
    send(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

pub(crate) async fn asks(system: &System, path: &str, body: Value) -> Answer {
    request(system, Method::POST, path, Some(body), ADMIN_KEY).await
}

pub(crate) async fn get(system: &System, path: &str) -> Value {
    let answer = request(system, Method::GET, path, None, ADMIN_KEY).await;
    answer.assert_status(200);
    answer.json()
}

pub(crate) async fn payonce(system: &System, arguments: &[&str]) -> (i32, Process) {
    let launch = Launch::payonce(PROGRAM)
        .args(arguments.iter().copied())
        .env("DATABASE_URL", system.database.app_url())
        .env("USER", "tester");
    match launch.run().await {
        (Exit::Code(code), process) => (code, process),
        (Exit::Signal(signal), _) => unreachable!("nobody sent it signal {signal}"),
    }
}

/// Enqueues a job with that body and key.
async fn push(system: &System, id: &str, body: &[u8], key: &str) {
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
         values (coalesce(nullif($1, ''), apalis.generate_ulid()), 'payments', $2, 'Pending', 0, 1,
                 now() - interval '2 minutes', 0, '', $3)",
    )
    .bind(id)
    .bind(body)
    .bind(key)
    .execute(&system.database.pool)
    .await
    .unwrap();
}

async fn parked(system: &System, count: usize) -> Vec<Value> {
    wait_until("the letters to be parked", async || {
        get(system, "/v1/dead-letters?open=true").await["data"].as_array().unwrap().len() == count
    })
    .await;
    wait_until("the queue to have let go of the jobs", async || {
        system.count("select count(*) from apalis.jobs where status in ('Queued', 'Running')").await == 0
    })
    .await;
    get(system, "/v1/dead-letters?open=true").await["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn jobs_that_can_never_be_done_are_parked_as_they_came_and_the_worker_goes_on() {
    let system = System::start(PROGRAM).await;
    let nobody = PaymentId::generate();
    push(&system, "", b"\xff not json", "malformed-1").await;
    push(&system, "", b"{\"payment\":1}", "malformed-2").await;
    push(&system, "", json!({ "payment_id": nobody }).to_string().as_bytes(), "nobody").await;

    let letters = parked(&system, 3).await;

    let of = |key: &str| letters.iter().find(|letter| letter["job_key"] == key).unwrap().clone();
    assert!(letters.iter().all(|letter| letter["class"] == "non_retryable"), "{letters:?}");
    assert_eq!(of("malformed-1")["job"], "\\xff206e6f74206a736f6e");
    assert_eq!(of("malformed-2")["job"], "{\"payment\":1}");
    assert!(of("malformed-2")["error"].as_str().unwrap().contains("the body cannot be read"), "{letters:?}");
    assert_eq!(of("nobody")["error"], "there is no such payment");
    let id = system.accepted(a_payment()).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert!(!system.workers[0].stderr().contains("queue worker ended"), "{}", system.workers[0].stderr());
    let scraped = Scrape::of(&system.workers[0]).await;
    assert_eq!(scraped.sum("payonce_dead_letters_total", &[("class", "non_retryable")]), 3.0);
}

#[tokio::test]
async fn a_job_that_was_lost_twice_is_parked_unless_its_payment_has_ended() {
    let system = System::start(PROGRAM).await;
    let over = system.accepted(a_payment()).await;
    system.ended(over).await;
    let lost = format!("{}:1", PaymentId::generate().uuid());
    push(&system, "", b"{}", &lost).await;
    parked(&system, 1).await;
    sqlx::query(
        "update apalis.jobs set status = 'Queued', attempts = 1, lock_at = now() - interval '1 hour'",
    )
    .execute(&system.database.pool)
    .await
    .unwrap();

    let repaired = shared::queue::repair::lost_jobs(&system.database.pool, 10).await.unwrap();

    assert!(repaired.repaired >= 2, "{repaired:?}");
    let key = format!("{}:%", over.uuid());
    let of_over: i64 = sqlx::query_scalar("select count(*) from dead_letters where job_key like $1")
        .bind(key)
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    assert_eq!(of_over, 0, "its payment has ended: nothing is lost with the job");
}

#[tokio::test]
async fn what_repair_gives_up_has_its_class_and_its_reason() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    push(&system, "no-ulid", b"{}", "unreadable").await;
    sqlx::query("update apalis.jobs set attempts = 2, run_at = now() - interval '1 hour' where idempotency_key like $1")
        .bind(format!("{}:%", id.uuid()))
        .execute(&system.database.pool)
        .await
        .unwrap();

    shared::queue::repair::stray_jobs(&system.database.pool, 10).await.unwrap();

    let letters = parked(&system, 2).await;
    let classes: Vec<(&Value, &Value)> =
        letters.iter().map(|letter| (&letter["class"], &letter["error"])).collect();
    assert!(classes.contains(&(&"non_retryable".into(), &"its id cannot be read".into())), "{classes:?}");
    assert!(
        classes.contains(&(&"retry_exhausted".into(), &"each worker that had it was lost".into())),
        "{classes:?}"
    );
}

#[tokio::test]
async fn a_letter_replayed_twice_has_one_effect_and_keeps_the_key_of_its_job() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    sqlx::query("update apalis.jobs set attempts = 2, run_at = now() - interval '1 hour'")
        .execute(&system.database.pool)
        .await
        .unwrap();
    shared::queue::repair::stray_jobs(&system.database.pool, 10).await.unwrap();
    let letter = parked(&system, 1).await.remove(0);
    let path = format!("/v1/dead-letters/{}/replay", letter["id"]);
    let said = json!({ "by": "ada", "reason": "the host was broken" });

    let first = asks(&system, &path, said.clone()).await;
    let again = asks(&system, &path, said).await;
    let otherwise = asks(&system, &path, json!({ "reason": "why not" })).await;

    first.assert_status(200);
    assert_eq!(again.body, first.body);
    let problem = otherwise.assert_problem(409, "dead_letter_closed");
    assert!(problem["detail"].as_str().unwrap().contains("ada replayed"), "{problem}");
    let jobs: Vec<(String, String, Option<String>)> =
        sqlx::query_as("select id, status, idempotency_key from apalis.jobs")
            .fetch_all(&system.database.pool)
            .await
            .unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!((&letter["job_id"], &letter["job_key"]), (&json!(jobs[0].0), &json!(jobs[0].2)));
    assert_eq!(jobs[0].1, "Pending");
    let scraped = Scrape::of(&system.apis[0]).await;
    assert_eq!(scraped.sum("payonce_dead_letter_replays_total", &[("result", "replayed")]), 1.0);
    assert_eq!(scraped.sum("payonce_dead_letter_replays_total", &[("result", "duplicate")]), 2.0);
    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    let charges = system.journal_of(id).await;
    assert_eq!(charges.iter().filter(|row| row.starts_with("charge ")).count(), 1, "{charges:?}");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_letter_is_shown_and_discarded_once() {
    let system = System::start(PROGRAM).await;
    push(&system, "", b"nonsense", "by-hand").await;
    let letter = parked(&system, 1).await.remove(0);
    let path = format!("/v1/dead-letters/{}", letter["id"]);
    assert_eq!(get(&system, &path).await, letter);
    let discard = format!("{path}/discard");
    let said = json!({ "by": "ada", "reason": "pushed by mistake" });

    let first = asks(&system, &discard, said.clone()).await;
    let again = asks(&system, &discard, said).await;
    let otherwise = asks(&system, &discard, json!({ "reason": "why not" })).await;

    first.assert_status(200);
    assert_eq!(first.json()["closed_as"], "discarded");
    assert_eq!(again.body, first.body);
    otherwise.assert_problem(409, "dead_letter_closed");
}

#[tokio::test]
async fn the_command_line_lists_shows_replays_and_discards() {
    let system = System::start(PROGRAM).await;
    push(&system, "", b"nonsense", "by-hand").await;
    let letter = parked(&system, 1).await.remove(0);
    let number = letter["id"].to_string();

    let (code, listed) = payonce(&system, &["dlq", "list"]).await;
    assert_eq!(code, 0);
    assert!(listed.stdout().contains("non_retryable"), "{}", listed.stdout());
    let (_, shown) = payonce(&system, &["dead-letters", "show", &number, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout()).unwrap();
    assert_eq!((&shown["job"], &shown), (&"nonsense".into(), &letter), "as the API shows it");
    let replaying = ["dlq", "replay", &number, "--reason", "once more"];
    let (code, replayed) = payonce(&system, &replaying).await;
    assert_eq!((code, replayed.stdout().trim()), (0, format!("replayed {number}").as_str()));
    let (code, again) = payonce(&system, &replaying).await;
    assert_eq!((code, again.stdout().trim()), (0, format!("{number} was replayed so before").as_str()));
    // The job is as unreadable as before, and parked anew.
    let second = parked(&system, 1).await.remove(0);
    assert_eq!((&second["job_id"], &second["job_key"]), (&letter["job_id"], &letter["job_key"]));
    let discarding = ["dlq", "discard", &second["id"].to_string(), "--reason", "pushed by mistake"];
    assert_eq!(payonce(&system, &discarding).await.0, 0);
    let (_, none) = payonce(&system, &["dlq", "list"]).await;
    assert_eq!(none.stdout().trim(), "no dead letter is open");
    assert_eq!(payonce(&system, &["dlq", "show", "4711"]).await.0, 1);
}

#[tokio::test]
async fn only_the_admin_key_opens_dead_letters() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    for (method, path) in [
        (Method::GET, "/v1/dead-letters"),
        (Method::GET, "/v1/dead-letters/1"),
        (Method::POST, "/v1/dead-letters/1/replay"),
        (Method::POST, "/v1/dead-letters/1/discard"),
    ] {
        let refused = request(&system, method.clone(), path, None, "payonce_sk_nobody").await;
        refused.assert_problem(401, "unauthorized");
        send(system.client.request(method, path)).await.assert_problem(403, "insufficient_scope");
    }
    for (path, status) in [("/v1/dead-letters/1", 404), ("/v1/dead-letters?class=x", 400)] {
        let answer = request(&system, Method::GET, path, None, ADMIN_KEY).await;
        assert_eq!(answer.status, status, "{path}");
    }
}
