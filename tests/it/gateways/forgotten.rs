//! What a past that came back forgets of a gateway: a charge, a merchant, or that there ever was one of that
//! name. Whatever it is, nobody is charged twice.

use serde_json::Value;
use tests::{Client, Exit, SECOND, Second, Shape, System, TestDatabase, a_payment, books, wait_until};

use super::{all_succeed, column, two, works};
use crate::PROGRAM;

async fn charges(address: &str) -> usize {
    books::journal(address).await.iter().filter(|row| row["kind"] == "charge").count()
}

/// Brings the database back from a dump, with `payonce restored`, and starts an API on it.
async fn comes_back(system: &mut System, second: &Second, dump: &tests::Dump) {
    system.workers.iter_mut().chain(&mut system.apis).for_each(tests::Process::kill9);
    system.database = TestDatabase::from_dump(dump).await;
    system.database.pool.close().await;
    let (exit, process) = second.payonce(system, ["restored", "--by", "ada", "--json"]).await;
    assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
    system.database.pool = shared::database::connect(&system.database.url, 4).await.unwrap();
    let api = system.api().start().await;
    system.client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    system.apis = vec![api];
}

#[tokio::test]
async fn a_charge_at_the_second_gateway_that_is_forgotten_is_adopted_by_whoever_repeats_the_request() {
    let (mut system, second, merchant) = two().await;
    let dump = system.database.dump().await;
    works(&mut system, &second, &[]).await;
    let id = merchant.pay(a_payment().key("again")).await.payment_id();
    all_succeed(&merchant, &[id]).await;

    comes_back(&mut system, &second, &dump).await;
    works(&mut system, &second, &[]).await;
    let merchant = system.client.with_secret(merchant.secret().to_owned());
    let repeated = merchant.pay(a_payment().key("again")).await.payment_id();
    all_succeed(&merchant, &[repeated]).await;

    assert_ne!(repeated, id);
    assert_eq!(charges(second.process.address("gateway")).await, 1);
    let evidence = "select evidence from payment_events where payment_id = $1 and type = 'succeeded'";
    assert_eq!(column(&system, repeated, evidence).await["adopted"], id.to_string());
    super::judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn a_gateway_that_is_forgotten_altogether_is_read_before_a_merchant_can_have_it_again() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let second = Second::beside(&system, PROGRAM).await;
    let dump = system.database.dump().await;
    let merchant = second.merchant(&system, "charged elsewhere").await;
    works(&mut system, &second, &[]).await;
    let id = merchant.pay(a_payment().key("again")).await.payment_id();
    all_succeed(&merchant, &[id]).await;
    let merchant_id: String = sqlx::query_scalar(
        "select 'mer_' || replace(id::text, '-', '') from merchants where gateway = 'second'",
    )
    .fetch_one(&system.database.pool)
    .await
    .unwrap();

    comes_back(&mut system, &second, &dump).await;
    let create = ["keys", "create", "--json", "--merchant", "charged elsewhere", "--gateway", SECOND];
    let (exit, process) = second.payonce(&system, create).await;
    assert_eq!(exit, Exit::Code(1), "{}", process.stdout());
    assert!(process.stderr().contains("say its id (--merchant-id)"), "{}", process.stderr());

    let create = create.into_iter().chain(["--merchant-id", merchant_id.as_str()]);
    let (exit, process) = second.payonce(&system, create).await;
    assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
    let made: Value = serde_json::from_str(&process.stdout()).unwrap();
    let merchant = system.client.with_secret(made["secret"].as_str().unwrap().to_owned());
    works(&mut system, &second, &[]).await;
    let repeated = merchant.pay(a_payment().key("again")).await.payment_id();
    all_succeed(&merchant, &[repeated]).await;
    assert_eq!(charges(second.process.address("gateway")).await, 1);
    super::judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn a_merchant_that_comes_back_at_another_gateway_is_not_charged_again() {
    let (mut system, second, merchant) = two().await;
    let dump = system.database.dump().await;
    works(&mut system, &second, &[]).await;
    let id = merchant.pay(a_payment().key("again")).await.payment_id();
    all_succeed(&merchant, &[id]).await;
    comes_back(&mut system, &second, &dump).await;
    // As if an operator had made the merchant anew, under its id, at the wrong gateway.
    crate::verify::behind_the_guards(
        &system.database.pool,
        "update merchants set gateway = 'default' where gateway = 'second'",
    )
    .await;
    works(&mut system, &second, &[]).await;

    let merchant = system.client.with_secret(merchant.secret().to_owned());
    let repeated = merchant.pay(a_payment().key("again")).await.payment_id();
    wait_until("the payment to be held", async || !merchant.payment(repeated).await["held_reason"].is_null())
        .await;

    assert_eq!(merchant.payment(repeated).await["held_reason"], "restored");
    assert_eq!(charges(system.gateway.address("gateway")).await, 0);
}
