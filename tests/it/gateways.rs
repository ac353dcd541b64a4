//! Two gateways, each a simulator with a process and a database of its own. What happens to one of them costs
//! the payments of the other nothing, and each payment is asked about where it is charged.

mod fence;
mod forgotten;
mod judged;
mod named;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use tests::{Client, SECOND, Scrape, Second, Shape, System, a_payment, books, wait_until};

use crate::PROGRAM;

/// A system without workers, a second gateway, and a merchant that is charged there.
async fn two() -> (System, Second, Client) {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let second = Second::beside(&system, PROGRAM).await;
    let merchant = second.merchant(&system, "charged elsewhere").await;
    (system, second, merchant)
}

/// Starts a worker that knows both gateways.
async fn works(system: &mut System, second: &Second, more: &[(&'static str, &str)]) -> usize {
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    system.add_worker(second.env().into_iter().chain(more)).await
}

async fn accepted(client: &Client, count: usize) -> Vec<PaymentId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(client.pay(a_payment()).await.payment_id());
    }
    ids
}

/// Waits until each of these has succeeded.
async fn all_succeed(client: &Client, ids: &[PaymentId]) {
    for &id in ids {
        wait_until(format!("{id} to end"), async || !client.payment(id).await["terminal_at"].is_null()).await;
        assert_eq!(client.payment(id).await["status"], "succeeded", "{id}");
    }
}

/// The references of the charges at a gateway.
async fn charged_at(address: &str) -> Vec<String> {
    let journal = books::journal(address).await;
    let charges = journal.iter().filter(|row| row["kind"] == "charge");
    let mut references: Vec<String> =
        charges.filter_map(|row| row["reference"].as_str().map(str::to_owned)).collect();
    references.sort();
    references
}

fn in_words(ids: &[PaymentId]) -> Vec<String> {
    let mut words: Vec<String> = ids.iter().map(ToString::to_string).collect();
    words.sort();
    words
}

#[tokio::test]
async fn while_one_gateway_is_dead_the_payments_of_the_other_feel_nothing() {
    let (mut system, mut second, merchant) = two().await;
    let worker = works(&mut system, &second, &[]).await;
    second.process.kill9();
    let theirs = accepted(&merchant, 20).await;
    let breaker = async |system: &System, gateway: &str| {
        Scrape::of(&system.workers[worker])
            .await
            .sum("payonce_gateway_breaker_state", &[("gateway", gateway)])
    };
    wait_until("the second gateway to be found away", async || breaker(&system, SECOND).await > 0.0).await;

    let ours = accepted(&system.client, 20).await;
    all_succeed(&system.client, &ours).await;

    assert_eq!(breaker(&system, "default").await, 0.0);
    assert_eq!(
        system.count("select max(attempt_count)::bigint from payments where gateway = 'default'").await,
        1
    );
    let spent = "select coalesce(sum(retries_spent), 0)::bigint from payments";
    assert_eq!(system.count(spent).await, 0, "a try was spent on a gateway that is away");
    let waiting = "select count(*) from payments where gateway = 'second' and due_at is not null";
    assert_eq!(system.count(waiting).await, 20);

    second.restart().await;
    all_succeed(&merchant, &theirs).await;
    assert_eq!(charged_at(system.gateway.address("gateway")).await, in_words(&ours));
    assert_eq!(charged_at(second.process.address("gateway")).await, in_words(&theirs));
    judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn a_gateway_that_never_answers_takes_no_calls_from_the_other() {
    let (mut system, mut second, merchant) = two().await;
    // Not found away, so that its calls are taken again and again.
    let more = [("WORKER_CONCURRENCY", "2"), ("BREAKER_FAILURES", "10000")];
    works(&mut system, &second, &more).await;
    let first = accepted(&merchant, 1).await;
    all_succeed(&merchant, &first).await;
    second.process.stop().await;
    accepted(&merchant, 20).await;

    let ours = accepted(&system.client, 20).await;
    all_succeed(&system.client, &ours).await;

    assert_eq!(
        system.count("select max(attempt_count)::bigint from payments where gateway = 'default'").await,
        1
    );
    second.process.cont();
    system.settled().await;
    judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn what_a_lost_worker_charged_is_looked_up_where_it_was_charged() {
    let (mut system, second, merchant) = two().await;
    let worker = works(&mut system, &second, &[("PAYONCE_FAULTS", "charge.answered=kill")]).await;
    let ids = accepted(&merchant, 1).await;
    system.workers[worker].wait_exit().await;

    works(&mut system, &second, &[]).await;
    all_succeed(&merchant, &ids).await;

    assert_eq!(charged_at(second.process.address("gateway")).await, in_words(&ids));
    assert_eq!(charged_at(system.gateway.address("gateway")).await, Vec::<String>::new());
    judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn a_worker_without_a_gateway_leaves_its_payments_to_one_that_has_it() {
    let (mut system, second, merchant) = two().await;
    let narrow = system.add_worker([("RUST_LOG", "info")]).await;
    let (theirs, ours) = (accepted(&merchant, 5).await, accepted(&system.client, 5).await);
    all_succeed(&system.client, &ours).await;
    wait_until("every job to be done", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0
    })
    .await;
    for &id in &theirs {
        assert_eq!(merchant.payment(id).await["status"], "pending");
    }

    system.workers[narrow].kill9();
    works(&mut system, &second, &[]).await;
    all_succeed(&merchant, &theirs).await;
    judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn each_gateway_has_terms_and_an_account_of_its_own() {
    let (mut system, mut second, merchant) = two().await;
    second.terms(&system, "retries = 0\nbackoff_ms = 1");
    works(&mut system, &second, &[("RETRIES", "5")]).await;
    let failing = json!({ "error_5xx_rate": 1.0 });
    for address in [system.gateway.address("gateway"), second.process.address("gateway")] {
        let faults = reqwest::Client::new().put(format!("{address}/faults")).json(&failing);
        assert!(faults.send().await.unwrap().status().is_success());
    }
    let theirs = merchant.pay(a_payment().method("sim_insufficient_funds")).await.payment_id();
    wait_until("a look", async || merchant.payment(theirs).await["attempt_count"] == 1).await;
    for address in [system.gateway.address("gateway"), second.process.address("gateway")] {
        let faults = reqwest::Client::new().put(format!("{address}/faults")).json(&json!({}));
        assert!(faults.send().await.unwrap().status().is_success());
    }
    let (more, ours) = (accepted(&merchant, 2).await, accepted(&system.client, 3).await);
    all_succeed(&merchant, &more).await;
    all_succeed(&system.client, &ours).await;

    let cleared: Vec<(String, i64)> = sqlx::query_as(
        "select a.gateway, count(*) from ledger_transfers t join ledger_accounts a on a.id = t.debit_account_id
          where a.kind = 'gateway_clearing' group by a.gateway order by a.gateway",
    )
    .fetch_all(&system.database.pool)
    .await
    .unwrap();
    assert_eq!(cleared, [("default".to_owned(), 3), (SECOND.to_owned(), 2)]);
}

/// What a row of the payment says.
async fn column(system: &System, id: PaymentId, sql: &'static str) -> Value {
    sqlx::query_scalar(sql).bind(id.uuid()).fetch_one(&system.database.pool).await.unwrap()
}
