//! Strangers in the gateway's place. A server that does not answer as the contract says is not the gateway,
//! and neither is another gateway. Nothing is charged there, and nothing fails, ends or is held by it. Once
//! the right gateway is back, all goes on.

use domain::ids::PaymentId;
use futures::future::join_all;
use serde_json::json;
use tests::stand_in::{Answers, StandIn};
use tests::{Exit, Launch, Scrape, Shape, System, TestDatabase, a_payment, http, wait_until};

use crate::PROGRAM;

/// What may stand in the gateway's place, and its answers to every request.
const STRANGERS: &[(&str, Answers)] = &[
    (
        "a load balancer's page",
        &[("", http!("404 Not Found", "content-type: text/html", "<html>no such host</html>"))],
    ),
    ("a redirect", &[("", http!("302 Found", "location: http://127.0.0.1:9/\r\ncontent-length: 0", ""))]),
    ("a page that looks well", &[("", http!("200 OK", "content-type: text/html", "<html>welcome</html>"))]),
    (
        "a proxy that wants a password",
        &[("", http!("401 Unauthorized", "www-authenticate: Basic", "who are you?"))],
    ),
    (
        "a proxy's limit",
        &[("", http!("429 Too Many Requests", "content-type: application/json", "{\"message\":\"slow\"}"))],
    ),
    (
        "a proxy that knows no such method",
        &[("", http!("405 Method Not Allowed", "content-type: text/plain", "no"))],
    ),
    ("another service", &[("", http!("200 OK", "content-type: application/json", "{\"status\":\"ok\"}"))]),
    ("a dead upstream", &[("", http!("502 Bad Gateway", "content-length: 0", ""))]),
];

/// An API, and a worker that gives a doubt no time at all.
async fn impatient() -> System {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "1".to_owned())];
    System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await
}

/// Some payments that wait at a gateway that is gone, one of them in doubt.
async fn waiting(system: &mut System) -> Vec<PaymentId> {
    let warm = system.accepted(a_payment()).await;
    system.ended(warm).await;
    system.gateway.kill9();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(system.accepted(a_payment()).await);
    }
    ids
}

fn address(system: &System) -> String {
    system.gateway.address("gateway").trim_start_matches("http://").to_owned()
}

async fn is_open(system: &System) -> bool {
    Scrape::of(&system.workers[0]).await.sum("payonce_gateway_breaker_state", &[]) == 2.0
}

/// Asserts that nothing ended, nothing is held, and no try was used up.
async fn assert_all_wait(system: &System, stranger: &str) {
    for sql in [
        "select count(*) from payments where terminal_at is not null",
        "select count(*) from payments where held_reason is not null or void_started_at is not null",
        "select count(*) from payments where retries_spent > 0",
    ] {
        let expected = i64::from(sql.contains("terminal_at"));
        assert_eq!(system.count(sql).await, expected, "{stranger}: {sql}");
    }
}

/// Asserts how all end. A payment that never got an answer from a stranger succeeds. One that did is in
/// doubt, for which there is no time here.
async fn all_end_well(system: &System, ids: &[PaymentId], stranger: &str) {
    for id in ids {
        let payment = system.ended(*id).await;
        let was_in_doubt = system.story(*id).await.contains(&"outcome_unknown".to_owned());
        let ends: &[&str] = if was_in_doubt { &["succeeded", "reversed"] } else { &["succeeded"] };
        assert!(ends.iter().any(|end| payment["status"] == *end), "{stranger}: {payment}");
    }
    system.assert_books_agree().await;
}

#[tokio::test]
async fn whatever_answers_in_the_gateways_place_ends_nothing() {
    for (stranger, answers) in STRANGERS {
        let mut system = impatient().await;
        let ids = waiting(&mut system).await;
        let at = address(&system);
        let stand_in = StandIn::at(&at, answers).await;
        wait_until(format!("the breaker to open: {stranger}"), async || is_open(&system).await).await;
        let asked = stand_in.asked();
        wait_until(format!("the door to be read again: {stranger}"), async || stand_in.asked() > asked + 2)
            .await;

        assert_all_wait(&system, stranger).await;
        assert!(is_open(&system).await, "{stranger}");
        drop(stand_in);
        system.restart_gateway().await;

        all_end_well(&system, &ids, stranger).await;
    }
}

#[tokio::test]
async fn another_gateway_of_the_right_shape_is_not_the_gateway() {
    let mut system = impatient().await;
    let ids = waiting(&mut system).await;
    let other_books = TestDatabase::fresh_empty().await;
    let mut other = Launch::simgateway(PROGRAM)
        .env("GATEWAY_DATABASE_URL", &other_books.url)
        .env("GATEWAY_ADDR", address(&system))
        .start()
        .await;
    let said = async || system.workers[0].stderr().matches("\"event\":\"not_the_gateway\"").count();
    wait_until("the worker to see that it is another one", async || said().await > 2).await;

    assert_all_wait(&system, "another gateway").await;
    let journal: i64 = sqlx::query_scalar("select count(*) from gateway_journal")
        .fetch_one(&other_books.pool)
        .await
        .unwrap();
    assert_eq!(journal, 0, "the wrong gateway was asked about a payment");
    let (_, reconciled) = Launch::payonce(PROGRAM)
        .args(["reconcile", "--json"])
        .env("DATABASE_URL", system.database.app_url())
        .env("GATEWAY_URL", other.address("gateway"))
        .run()
        .await;
    assert!(reconciled.stdout().contains("not_the_gateway"), "{}", reconciled.stdout());
    other.kill9();
    system.restart_gateway().await;

    all_end_well(&system, &ids, "another gateway").await;
}

#[tokio::test]
async fn an_operator_can_say_that_the_other_gateway_is_meant() {
    let mut system = impatient().await;
    let ids = waiting(&mut system).await;
    let other_books = TestDatabase::fresh_empty().await;
    system.gateway = Launch::simgateway(PROGRAM)
        .env("GATEWAY_DATABASE_URL", &other_books.url)
        .env("GATEWAY_ADDR", address(&system))
        .start()
        .await;
    let said = async || system.workers[0].stderr().contains("\"event\":\"not_the_gateway\"");
    wait_until("the worker to see that it is another one", said).await;

    let (exit, adopted) = Launch::payonce(PROGRAM)
        .args(["gateway", "adopt", "--json"])
        .env("DATABASE_URL", system.database.app_url())
        .env("GATEWAY_URL", system.gateway.address("gateway"))
        .run()
        .await;

    assert_eq!(exit, Exit::Code(0), "{}", adopted.stderr());
    for id in ids {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }
    let account: String =
        sqlx::query_scalar("select name from gateway_account").fetch_one(&other_books.pool).await.unwrap();
    assert!(adopted.stdout().contains(&account), "{}", adopted.stdout());
}

/// An answer 429 with these headers.
macro_rules! limited {
    ($headers:literal) => {
        concat!(
            "HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-type: application/json\r\n",
            $headers,
            "\r\n{\"code\":\"rate_limited\"}"
        )
    };
}
/// A gateway that has had too much, in all the ways in which it can fail to say how long to wait.
const LIMITED: &[Answers] = &[
    &[("GET", NOT_OFFERED), ("POST", limited!(""))],
    &[("GET", NOT_OFFERED), ("POST", limited!("retry-after: 1.5\r\n"))],
    &[("GET", NOT_OFFERED), ("POST", limited!("retry-after: -1\r\n"))],
    &[("GET", NOT_OFFERED), ("POST", limited!("retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n"))],
];

const NOT_OFFERED: &str =
    http!("501 Not Implemented", "content-type: application/json", "{\"code\":\"not_offered\"}");

/// A worker at a gateway that answers so waits ever longer, and spends no retry.
async fn is_backed_off(answers: Answers) {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let stand_in = StandIn::at("127.0.0.1:0", answers).await;
    let id = system.accepted(a_payment()).await;
    let waits = [("GATEWAY_URL", stand_in.url.as_str()), ("BACKOFF_MS", "50"), ("BACKOFF_MAX_MS", "400")];
    system.add_worker(waits).await;
    wait_until("some rounds", async || {
        system.count("select count(*) from payment_events where reason = 'rate_limited'").await >= 6
    })
    .await;

    // The waits as they were meant, by the clock that wrote them: 50, 100, 200, and then 400 ms, give or
    // take a tenth.
    let waits: Vec<f64> = sqlx::query_scalar(
        "select (extract(epoch from due_at - at) * 1000)::float8 from payment_events
          where payment_id = $1 and reason = 'rate_limited' order by version limit 6",
    )
    .bind(id.uuid())
    .fetch_all(&system.database.pool)
    .await
    .unwrap();
    for (wait, meant) in waits.iter().zip([50.0, 100.0, 200.0, 400.0, 400.0, 400.0]) {
        assert!((meant * 0.88..=meant * 1.12).contains(wait), "{waits:?}");
    }
    assert_eq!(system.count("select sum(retries_spent)::bigint from payments").await, 0);
}

#[tokio::test]
async fn a_rate_limit_that_does_not_say_how_long_is_backed_off_ever_longer() {
    // Each of them mostly waits, so all are tried at once.
    join_all(LIMITED.iter().copied().map(is_backed_off)).await;
}

#[tokio::test]
async fn each_way_in_which_an_exchange_fails_has_its_word_in_history_and_metrics() {
    let worker_env = vec![("DOUBT_DEADLINE_MS", "600000".to_owned())];
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await;
    let kinds = [
        ("sim_timeout_charged", "outcome_unknown", "timeout"),
        ("sim_reset_after", "outcome_unknown", "reset"),
        ("sim_500_charged", "outcome_unknown", "server_error"),
        ("sim_503", "retry_scheduled", "not_executed"),
        ("sim_429", "retry_scheduled", "rate_limited"),
    ];
    for (token, event, kind) in kinds {
        let id = system.accepted(a_payment().method(token)).await;
        system.ended(id).await;
        let events = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
        let told = events["data"].as_array().unwrap().iter().find(|it| it["type"] == event);
        let told = told.unwrap_or_else(|| unreachable!("{token}: no {event} in {events}"));
        assert_eq!(
            (&told["reason"], &told["evidence"]["kind"]),
            (&json!(kind), &json!(kind)),
            "{token}: {told}"
        );
        let counted =
            Scrape::of(&system.workers[0]).await.sum("payonce_gateway_failures_total", &[("kind", kind)]);
        assert!(counted > 0.0, "{kind}");
    }
}

#[tokio::test]
async fn a_worker_that_was_lost_and_a_gateway_that_cannot_be_reached_have_their_words_too() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let killed = system.add_worker([("PAYONCE_FAULTS", "charge.answered=kill")]).await;
    assert_eq!(system.workers[killed].wait_exit().await, Exit::Signal(9));
    let second = system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    let reasons = "select count(*) from payment_events where type = 'taken_over' and reason = 'worker_lost'";
    assert_eq!(system.count(reasons).await, 1);
    let counted = async |kind| {
        Scrape::of(&system.workers[second]).await.sum("payonce_gateway_failures_total", &[("kind", kind)])
    };
    assert_eq!(counted("worker_lost").await, 1.0);

    system.gateway.kill9();
    let away = system.accepted(a_payment()).await;
    wait_until("the connection to be refused", async || {
        system.count("select count(*) from payment_events where reason = 'unreachable'").await > 0
    })
    .await;
    assert!(system.story(away).await.contains(&"retry_scheduled".to_owned()));
    wait_until("its metric", async || counted("unreachable").await > 0.0).await;
}
