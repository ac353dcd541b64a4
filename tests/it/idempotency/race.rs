//! Many requests with the same key at the same time, even while the first of them stands still, is killed or
//! hangs up.

use futures::future::join_all;
use tests::{Answer, Client, Process, Shape, System, a_payment};

use super::{CROWD, apis, assert_repeats, the_request};
use crate::PROGRAM;

/// Counts all jobs of payments that there ever were: finished ones stay for days.
const JOBS: &str = "select count(*) from apalis.jobs where job_type = 'payments'";

/// Posts the same request `times` times at once.
async fn posted_at_once(client: &Client, times: usize) -> Vec<Answer> {
    join_all((0..times).map(|_| client.pay(the_request()))).await
}

/// Asserts that all answers are the same 202, and that at most one of them is no replay.
#[track_caller]
fn assert_one_answer(answers: &[Answer]) {
    for answer in answers {
        assert_repeats(answer, &answers[0]);
    }
    let first: Vec<_> =
        answers.iter().filter(|answer| answer.header("idempotent-replayed") == "false").collect();
    assert!(first.len() <= 1, "{} answers say that they are the first", first.len());
}

#[tokio::test]
async fn five_hundred_posts_at_once_are_one_payment_one_charge_and_one_answer() {
    let _alone = CROWD.lock().await;
    let mut system = apis(2).await;

    let answers = posted_at_once(&system.client, 500).await;
    let id = answers[0].payment_id();
    let stored = system.stored().await;
    system.add_worker([("RUST_LOG", "info")]).await;
    system.ended(id).await;

    assert_one_answer(&answers);
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotent-replayed") == "true").count(), 499);
    assert_eq!(stored, [1, 1, 1, 1]);
    assert_eq!(system.count(JOBS).await, 1);
    assert_eq!(system.journal_of(id).await, ["request charge", "charge charge", "answer charge 201"]);
    system.assert_books_agree().await;
}

/// An API with this fault armed, and a client that knows only it.
async fn a_faulty_api(system: &System, fault: &str) -> (Process, Client) {
    let api = system.api().env("PAYONCE_FAULTS", fault).start().await;
    let client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    (api, client)
}

/// Posts first at an API that stops itself in the midst of it, then a hundred times at others.
async fn check_that_a_stopped_api_holds_nobody_up(fault: &str) {
    let system = System::with(PROGRAM, Shape { apis: 2, workers: 1, ..Shape::default() }).await;
    let (mut stopped, its_client) = a_faulty_api(&system, fault).await;
    let first = tokio::spawn(async move { its_client.pay(the_request()).await });
    stopped.wait_until_stopped().await;

    let mut answers = posted_at_once(&system.client, 100).await;
    let id = answers[0].payment_id();
    system.ended(id).await;
    assert!(!first.is_finished(), "the first request still waits");
    stopped.cont();
    answers.push(first.await.unwrap());

    assert_one_answer(&answers);
    assert_eq!(system.count("select count(*) from payments").await, 1);
    assert_eq!(system.count(JOBS).await, 1);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn an_api_stopped_before_it_recorded_the_payment_holds_nobody_up() {
    check_that_a_stopped_api_holds_nobody_up("accept.before=stop").await;
}

#[tokio::test]
async fn an_api_stopped_after_it_recorded_the_payment_holds_nobody_up() {
    check_that_a_stopped_api_holds_nobody_up("accept.committed=stop").await;
}

/// Posts at an API that is killed in the midst of it, then once more at another one.
async fn check_that_a_killed_api_leaves(fault: &str, stored: i64) {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let (mut killed, its_client) = a_faulty_api(&system, fault).await;
    let first = tokio::spawn(async move { its_client.try_pay(the_request()).await });
    killed.wait_until_stopped().await;

    killed.kill9();
    let answered = first.await.unwrap();
    let left = system.stored().await;
    let retried = system.pay(the_request()).await;

    assert!(answered.is_err(), "a killed API answered {answered:?}");
    assert_eq!(left, [stored; 4]);
    retried.assert_status(202);
    assert_eq!(retried.header("idempotent-replayed") == "true", stored == 1);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn an_api_killed_before_it_recorded_the_payment_leaves_nothing_and_the_retry_makes_it() {
    check_that_a_killed_api_leaves("accept.before=stop", 0).await;
}

#[tokio::test]
async fn an_api_killed_before_it_could_answer_leaves_the_whole_payment_and_the_retry_finds_it() {
    check_that_a_killed_api_leaves("accept.committed=stop", 1).await;
}

#[tokio::test]
async fn no_key_makes_two_payments() {
    const KEYS: i64 = 20;
    let system = apis(2).await;

    let posts = (0..KEYS * 5).map(|i| system.pay(a_payment().key(&format!("order-{}", i % KEYS))));
    for answer in join_all(posts).await {
        answer.assert_status(202);
    }

    assert_eq!(system.count("select count(*) from payments").await, KEYS);
}
