//! The commands about accounts: users to try out, and the audit of all books.

use serde_json::{Value, json};
use tests::{Exit, Launch};

use super::Bank;
use crate::PROGRAM;
use crate::verify::behind_the_guards;

async fn run(bank: &Bank, arguments: &[&str]) -> (Exit, Value) {
    let launch = Launch::payonce(PROGRAM).args(arguments).env("DATABASE_URL", bank.system.database.app_url());
    let (exit, process) = launch.run().await;
    (exit, serde_json::from_str(&process.stdout()).unwrap_or_default())
}

#[tokio::test]
async fn seeding_makes_users_with_numbers_and_funds_them_once() {
    let bank = Bank::start().await;
    let seed = ["seed", "--merchant", "first", "--accounts", "3", "--amount", "250", "--json"];

    let (exit, first) = run(&bank, &seed).await;

    assert_eq!(exit, Exit::Code(0));
    assert_eq!(first.as_array().unwrap().len(), 3);
    assert_eq!(first[0]["external_id"], "1");
    let account = bank.account(first[2]["id"].as_str().unwrap()).await;
    assert_eq!((&account["available"], &account["external_id"]), (&json!("250.00"), &json!("3")));
    let (exit, again) = run(&bank, &seed).await;
    assert_eq!((exit, &again), (Exit::Code(0), &first));
    let account = bank.account(first[2]["id"].as_str().unwrap()).await;
    assert_eq!(account["available"], "250.00");
    let (exit, _) = run(&bank, &["seed", "--merchant", "first", "--accounts", "3", "--amount", "9"]).await;
    assert_eq!(exit, Exit::Code(1), "they were funded with another amount");
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn the_audit_adds_up_every_account_and_book_and_names_what_does_not() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    bank.hold(&ann, &bob, "30").await;

    let (exit, clean) = run(&bank, &["ledger", "audit", "--json"]).await;

    assert_eq!(exit, Exit::Code(0), "{clean}");
    assert_eq!((&clean["accounts"], &clean["entries"], &clean["wrong"]), (&json!(3), &json!(4), &json!(0)));
    let book = &clean["books"][0];
    assert_eq!(
        (&book["has"], &book["owes"], &book["rest"]),
        (&json!("100.00"), &json!("-100.00"), &json!("0.00"))
    );

    let more = "update accounts set credits_posted = credits_posted + 1 where owner = 'bob'";
    behind_the_guards(&bank.system.database.pool, more).await;
    let (exit, wrong) = run(&bank, &["ledger", "audit", "--json"]).await;
    assert_eq!((exit, &wrong["first"]), (Exit::Code(1), &json!([bob])));
    assert_eq!(wrong["books"][0]["balanced"], false);
}
