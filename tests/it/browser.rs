//! The job board and the operator's page in a real browser: what a person sees and does.

use domain::ids::PaymentId;
use serde_json::json;
use shared::payment::transition::{Justification, release};
use tests::{Browser, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

const ADMIN_KEY: &str = "an-admin-key-for-tests";

/// A browser in which Ada has signed in, at this page.
async fn ada_at(system: &System, path: &str) -> Browser {
    let browser = Browser::start().await;
    browser.width(1280).await;
    browser.sign_in(ops(system), path, "ada", ADMIN_KEY).await;
    browser
}

fn ops(system: &System) -> &str {
    system.apis[0].address("ops")
}

async fn pictures(browser: &Browser, name: &str) {
    for width in [1280, 390] {
        browser.width(width).await;
        browser.picture(&format!("{name}-{width}")).await;
    }
    browser.width(1280).await;
}

#[tokio::test]
async fn the_job_board_shows_a_job_and_refuses_a_push_and_the_operators_pages_stand_elsewhere() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let job = sqlx::query_scalar::<_, String>("select id from apalis.jobs").fetch_one(&system.database.pool);
    let job = job.await.unwrap();

    let board = system.apis[0].address("board");
    let browser = Browser::start().await;
    browser.width(1280).await;
    browser.sign_in(board, "/queues/payments/Pending", "ada", ADMIN_KEY).await;
    browser.shows(&job).await;
    pictures(&browser, "board").await;
    browser.open(&format!("{board}/queues/payments/tasks/{job}")).await;
    browser.shows(&id.to_string()).await;
    pictures(&browser, "job").await;
    let pushed = browser
        .run(
            "const push = method => fetch('/api/v1/queues/payments/tasks', {
                 method, headers: {'content-type': 'application/json'}, body: '{}' }).then(answer => answer.status);
             return Promise.all(['PUT', 'POST', 'DELETE'].map(push))",
        )
        .await;
    let of_ops = browser.run("return fetch('/ops').then(answer => answer.text())").await;

    assert_eq!(pushed, json!([405, 405, 405]));
    assert_eq!(system.count("select count(*) from apalis.jobs").await, 1);
    assert!(!of_ops.as_str().unwrap().contains("Overview"), "{of_ops}");
    browser.sign_in(ops(&system), "/", "ada", ADMIN_KEY).await;
    browser.shows("Overview").await;
    assert_eq!(browser.address().await, format!("{}/ops", ops(&system)));
    browser.click("a[href='/ops/payments']").await;
    browser.click(&format!("a[title='{id}']")).await;
    browser.shows("The request was accepted.").await;
}

#[tokio::test]
async fn a_person_finds_a_held_payment_reads_its_story_and_ends_it() {
    let system = System::start(PROGRAM).await;
    let paid = system.accepted(a_payment()).await;
    system.ended(paid).await;
    let held = system.accepted(a_payment().method("sim_wrong_amount").amount("42.00")).await;
    system.held(held).await;

    let browser = ada_at(&system, "/ops").await;
    browser.shows("Needs a look: 1 held, 1 open break.").await;
    pictures(&browser, "overview").await;
    browser.click("main a[href='/ops/payments?state=held']").await;
    browser.shows("wrong_answer").await;
    browser.click(&format!("a[title='{held}']")).await;
    for told in
        ["Held: a person must act", "attempt_started", "gateway: lookup answered 200", "No money moved."]
    {
        browser.shows(told).await;
    }
    pictures(&browser, "held").await;
    browser.click("button.look").await;
    browser.shows("One charge stands at the gateway.").await;
    pictures(&browser, "looked").await;
    decide(&browser, "void", "The bank took another amount, see ticket 4711").await;
    browser.shows("see ticket 4711").await;
    pictures(&browser, "decided").await;
    assert_eq!(system.ended(held).await["status"], "reversed");

    let page = browser.text().await;
    assert!(
        page.contains("by_hand") && page.contains("ada") && !page.contains("a person must act"),
        "{page}"
    );
    assert_eq!(system.count("select count(*) from breaks where closed_by = 'ada'").await, 1);
    park_a_job(&system).await;
    look_around(&browser, &system, paid).await;
}

/// Fills the form in as a person does, and sends it.
async fn decide(browser: &Browser, decision: &str, reason: &str) {
    browser.click(&format!("input[value='{decision}']")).await;
    browser.type_into("textarea[name='reason']", reason).await;
    browser.click("form:has(fieldset) button").await;
}

/// Enqueues a job that a worker parks, each part of it as long as it can be.
async fn park_a_job(system: &System) {
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata,
                                  idempotency_key)
         values (apalis.generate_ulid(), 'payments', convert_to(repeat('nonsense', 100), 'UTF8'), 'Pending', 0, 1, now(), 0,
                 '', repeat('k', 200))",
    )
    .execute(&system.database.pool)
    .await
    .unwrap();
    wait_until("the job to be parked", async || {
        system.count("select count(*) from dead_letters where closed_at is null").await == 1
    })
    .await;
}

/// Opens the other pages, of which only the looks matter here.
async fn look_around(browser: &Browser, system: &System, paid: PaymentId) {
    for (name, path) in [
        ("payments", "/ops/payments".to_owned()),
        ("payment", format!("/ops/payments/{paid}")),
        ("breaks", "/ops/breaks?closed=1".to_owned()),
        ("dead-letters", "/ops/dead-letters".to_owned()),
    ] {
        browser.open(&format!("{}{path}", ops(system))).await;
        pictures(browser, name).await;
        browser.width(390).await;
        let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
        assert_eq!(overflow, json!(0), "{path} is wider than a phone");
    }
}

#[tokio::test]
async fn whoever_decides_too_late_is_told() {
    let mut system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(id).await;
    let browser = ada_at(&system, &format!("/ops/payments/{id}")).await;
    browser.click("button.look").await;
    browser.shows("One charge stands at the gateway.").await;

    system.workers[0].kill9();
    let theirs = Justification::new("bob", "Mended by them").unwrap();
    let version = i32::try_from(system.client.payment(id).await["version"].as_i64().unwrap()).unwrap();
    release(&system.database.pool, id, version, &theirs).await.unwrap().unwrap();
    decide(&browser, "void", "The bank took another amount").await;

    browser.shows("Nothing was done: somebody was faster.").await;
    browser.shows("Mended by them").await;
    pictures(&browser, "too-late").await;
    assert_eq!(system.count("select count(*) from decisions where wish = 'void'").await, 0);
}
