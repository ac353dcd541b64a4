//! Another server becomes the primary. No answer is untrue, nothing is sent for a claim that may be gone, and
//! all processes go on by themselves.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::client::answer;
use tests::{PrivateServer, Shape, System, a_payment, wait_for, wait_until};

use crate::PROGRAM;

async fn ready(system: &System, n: usize) -> (u16, String) {
    let url = format!("{}/health/ready", system.apis[n].address("api"));
    let answer = answer(reqwest::Client::new().get(url)).await.unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

async fn worker_ready(system: &System) -> (u16, String) {
    let url = format!("{}/health/ready", system.workers[0].address("metrics"));
    let answer = answer(reqwest::Client::new().get(url)).await.unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

async fn takes_writes(server: &PrivateServer, whether: bool) {
    server.set("default_transaction_read_only", (!whether).then_some("on")).await;
}

#[tokio::test]
async fn after_a_promotion_all_go_on_at_the_new_primary_and_what_was_acknowledged_is_there() {
    let mut old = PrivateServer::start().await;
    let new = old.standby().await;
    let system = System::on(
        old.database_with(&[&new]).await,
        PROGRAM,
        Shape { apis: 1, workers: 1, ..Shape::default() },
    )
    .await;
    let before = system.accepted(a_payment().key("before")).await;
    system.ended(before).await;
    let restarted = "select count(*) from apalis.workers where storage_name = 'payonce, started again'";
    new.has_all_of(&old).await;

    old.end_by(Signal::SIGKILL).await;
    let path = format!("/v1/payments/{before}");
    // Only a standby is there: it has the payment, but is not asked for it.
    let away = system.client.get(&path).await;
    away.assert_problem(503, "database_unavailable");
    assert_eq!(away.header("retry-after"), "1");
    system.client.get("/v1/payments/pay_01900000000070008000000000000000").await.assert_status(503);
    wait_until("each host to have its own cause", async || {
        let (status, why) = ready(&system, 0).await;
        assert_eq!(status, 503, "{why}");
        why.contains("in recovery") && why.contains("refused")
    })
    .await;
    new.promote().await;

    let after = wait_for("a payment to be accepted", async || {
        let answer = system.pay(a_payment().key("after")).await;
        if answer.status != 202 {
            answer.assert_problem(503, "database_unavailable");
        }
        (answer.status == 202).then(|| answer.payment_id())
    })
    .await;
    assert_eq!(system.client.payment(before).await["status"], "succeeded");
    assert_eq!(system.pay(a_payment().key("before")).await.payment_id(), before);
    assert_eq!(system.ended(after).await["status"], "succeeded");
    wait_until("the queue's worker to be at the new primary", async || system.count(restarted).await > 0)
        .await;
    system.assert_books_agree().await;
}

#[tokio::test]
async fn while_the_primary_takes_no_writes_nobody_says_that_it_is_ready_and_all_is_well_again_at_once() {
    let server = PrivateServer::start().await;
    let system =
        System::on(server.database().await, PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;

    takes_writes(&server, false).await;
    wait_until("the cause to be told", async || {
        let (status, why) = ready(&system, 0).await;
        assert_eq!(status, 503, "{why}");
        why.contains("default_transaction_read_only")
    })
    .await;
    assert_eq!(worker_ready(&system).await.0, 503);
    for _ in 0..3 {
        system.pay(a_payment()).await.assert_problem(503, "database_unavailable");
    }
    takes_writes(&server, true).await;

    let id = wait_for("a payment to be accepted", async || {
        let answer = system.pay(a_payment().key("again")).await;
        (answer.status == 202).then(|| answer.payment_id())
    })
    .await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    wait_until("both to be ready", async || {
        ready(&system, 0).await.0 == 200 && worker_ready(&system).await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn sessions_that_were_opened_while_the_database_took_no_writes_are_not_kept() {
    let server = PrivateServer::start().await;
    let system = System::on(server.database().await, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let _ = system.accepted(a_payment()).await;
    let end_all =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'payonce api'";

    server.execute("alter database payonce set default_transaction_read_only = on").await;
    server.execute(end_all).await;
    for _ in 0..3 {
        system.pay(a_payment()).await.assert_problem(503, "database_unavailable");
    }
    server.execute("alter database payonce reset default_transaction_read_only").await;

    wait_until("a payment to be accepted", async || {
        let answer = system.pay(a_payment()).await;
        assert_ne!(answer.status, 500, "{}", String::from_utf8_lossy(&answer.body));
        answer.status == 202
    })
    .await;
    for _ in 0..20 {
        let _ = system.accepted(a_payment()).await;
    }
}

#[tokio::test]
async fn nothing_is_sent_for_a_claim_that_was_made_before_another_server_was_found() {
    let server = PrivateServer::start().await;
    let mut system =
        System::on(server.database().await, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    // The delay is long enough for the process to learn it meanwhile, and shorter than the window in which it
    // may send.
    let env = [
        ("PAYONCE_FAULTS", "claim.committed=delay:8000"),
        ("SEND_WINDOW_MS", "60000"),
        ("LEASE_MS", "120000"),
    ];
    system.add_worker(env).await;
    wait_until("the payment to be claimed", async || {
        system.count("select count(*) from payments where claim_token is not null").await == 1
    })
    .await;

    takes_writes(&server, false).await;
    wait_until("the worker to know", async || worker_ready(&system).await.0 == 503).await;
    takes_writes(&server, true).await;

    wait_until("the claim to be given back", async || system.story(id).await.len() > 2).await;
    let not_sent = "select count(*) from payment_events where evidence ->> 'not_sent' = 'another_database'";
    assert_eq!(system.count(not_sent).await, 1);
    system.make_due(id).await;
    assert_eq!(system.ended(id).await["status"], json!("succeeded"));
    assert_eq!(system.journal_of(id).await, ["request charge", "charge charge", "answer charge 201"]);
}

#[tokio::test]
async fn readiness_is_told_while_the_server_is_frozen() {
    let server = PrivateServer::start().await;
    let system =
        System::on(server.database().await, PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    server.freeze();

    let (api, worker) = tokio::join!(ready(&system, 0), worker_ready(&system));

    assert_eq!((api.0, worker.0), (503, 503), "{api:?} {worker:?}");
    server.thaw();
    wait_until("both to be ready again", async || {
        ready(&system, 0).await.0 == 200 && worker_ready(&system).await.0 == 200
    })
    .await;
}
