//! Every code alone, and each pair that can hold at once: the one that docs/LEDGER.md puts first is told.
//! What rests on balances or states is remembered, and nothing else is.

use std::collections::BTreeSet;

use domain::account::Refusal;
use serde_json::{Value, json};

use super::{Bank, fund_of, key, open, post};
use crate::tidy::{quoted, text};

/// A body that is refused, and by which code.
struct Case {
    body: Value,
    status: u16,
    code: &'static str,
}

fn case(body: Value, status: u16, code: &'static str) -> Case {
    Case { body, status, code }
}

const NOBODY: &str = "acc_00000000000000000000000000000001";

#[tokio::test]
async fn what_cannot_be_is_told_by_the_first_code_that_holds_and_leaves_the_key_free() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let yen = open(&bank.system.client, "ann", "JPY").await;
    let other = bank.system.another_merchant("second").await;
    let theirs = open(&other, "eve", "USD").await;
    let past = "2020-01-01T00:00:00Z";
    let of = |from: &str, to: &str, amount: &str, currency: &str| json!({ "from": from, "to": to, "amount": amount, "currency": currency });
    let hold = |mut body: Value| {
        body["pending"] = json!(true);
        body["expires_at"] = json!(past);
        body
    };
    let cases = [
        case(of(&ann, &bob, "0", "USD"), 400, "invalid_request"),
        case(of(&ann, &bob, "1.001", "USD"), 400, "invalid_request"),
        case(of(&ann, &ann, "1.001", "USD"), 400, "invalid_request"),
        case(of(&ann, &ann, "1", "USD"), 400, "accounts_are_the_same"),
        case(of(NOBODY, NOBODY, "1", "USD"), 400, "accounts_are_the_same"),
        case(of(&ann, &ann, "1", "EUR"), 400, "accounts_are_the_same"),
        case(of(NOBODY, &bob, "1", "USD"), 404, "account_not_found"),
        case(of(&ann, NOBODY, "1", "USD"), 404, "account_not_found"),
        case(of(&ann, &theirs, "1", "USD"), 404, "account_not_found"),
        case(of(&theirs, &ann, "1", "USD"), 404, "account_not_found"),
        case(of(NOBODY, &yen, "1", "USD"), 404, "account_not_found"),
        case(hold(of(NOBODY, &bob, "1", "USD")), 404, "account_not_found"),
        case(of(&ann, NOBODY, "1000", "USD"), 404, "account_not_found"),
        case(of(&ann, &yen, "1", "USD"), 422, "currency_mismatch"),
        case(of(&ann, &bob, "1", "EUR"), 422, "currency_mismatch"),
        case(of(&ann, &yen, "1000", "USD"), 422, "currency_mismatch"),
        case(hold(of(&ann, &yen, "1", "USD")), 422, "currency_mismatch"),
        case(hold(of(&ann, &bob, "1", "USD")), 400, "expiry_out_of_range"),
        case(hold(of(&ann, &bob, "1000", "USD")), 400, "expiry_out_of_range"),
    ];
    for Case { body, status, code } in cases {
        let answer = bank.transfer("one-key", body.clone()).await;
        assert_eq!(answer.json()["code"], code, "{body}");
        answer.assert_problem(status, code);
    }
    assert_eq!(bank.system.count("select count(*) from idempotency_keys where key = 'one-key'").await, 0);
    bank.transfer("one-key", of(&ann, &bob, "1", "USD")).await.assert_status(201);
}

#[tokio::test]
async fn what_rests_on_balances_or_states_is_remembered_also_when_it_could_be_done_later() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let short = json!({ "from": bob, "to": ann, "amount": "1", "currency": "USD" });
    let refused = bank.transfer("short", short.clone()).await;
    refused.assert_problem(422, "insufficient_funds");
    let hold = bank.hold(&ann, &bob, "10").await;
    let too_much = bank.act(&hold, "post", "much", json!({ "amount": "10.01" })).await;
    assert_eq!(too_much.assert_problem(422, "amount_exceeds_pending")["pending"], "10.00");
    bank.act(&hold, "post", &key(), json!({ "amount": "1.001" }))
        .await
        .assert_problem(400, "too_many_digits");
    bank.act(&hold, "void", &key(), json!({})).await.assert_status(200);
    // Voided, and more than was reserved: the state comes first.
    let both = bank.act(&hold, "post", "both", json!({ "amount": "11" })).await;
    both.assert_problem(409, "transfer_not_pending");

    bank.fund(&bob, "50").await;

    for (again, first) in [
        (bank.transfer("short", short.clone()).await, &refused),
        (bank.act(&hold, "post", "much", json!({ "amount": "10.010" })).await, &too_much),
        (bank.act(&hold, "post", "both", json!({ "amount": "11" })).await, &both),
    ] {
        assert_eq!(again.problem(), first.problem());
        assert_eq!(
            (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
            ("false", "true")
        );
    }
    bank.transfer("another", short).await.assert_status(201);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn a_key_that_comes_with_another_request_is_refused_and_another_operation_is_another_key() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let body = |amount: &str| json!({ "from": ann, "to": bob, "amount": amount, "currency": "USD" });
    bank.transfer("k", body("1")).await.assert_status(201);

    for other in [
        body("2"),
        json!({ "transfers": [body("1")] }),
        json!({ "from": ann, "to": ann, "amount": "1", "currency": "USD" }),
    ] {
        bank.transfer("k", other).await.assert_problem(422, "idempotency_key_reused");
    }
    let [first, second] = [bank.hold(&ann, &bob, "5").await, bank.hold(&ann, &bob, "6").await];
    bank.act(&first, "post", "k", json!({})).await.assert_status(200);
    bank.act(&second, "post", "k", json!({})).await.assert_status(200);
    bank.act(&first, "post", "k", json!({ "amount": "5" }))
        .await
        .assert_problem(422, "idempotency_key_reused");
    let other = bank.system.another_merchant("second").await;
    fund_of(&bank.system, "second", "USD").await;
    post(&other, &format!("/v1/transfers/{first}/post"), &key(), &json!({}))
        .await
        .assert_problem(404, "transfer_not_found");
    assert_eq!(other.get(&format!("/v1/accounts/{ann}")).await.status, 404);
    bank.assert_adds_up().await;
}

#[test]
fn the_page_of_the_ledger_has_every_code_in_the_order_in_which_it_is_told() {
    let page = text("docs/LEDGER.md");
    let (_, table) = page.split_once("| code | status | remembered | when |").unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let told: Vec<(&str, bool)> = rows
        .iter()
        .map(|row| (quoted(row).next().unwrap(), row.split('|').nth(3).unwrap().trim() == "yes"))
        .collect();
    let coded: Vec<(&str, bool)> = Refusal::ALL.iter().map(|it| (it.as_str(), it.is_remembered())).collect();
    assert_eq!(told, coded, "left: docs/LEDGER.md, right: the code");
    let function = text("migrations/20261202000011_move_money.sql");
    let in_sql: BTreeSet<&str> = function
        .lines()
        .filter_map(|line| line.trim().strip_prefix("why := '"))
        .map(|rest| rest.trim_end_matches("';"))
        .collect();
    let elsewhere = [Refusal::AccountsAreTheSame, Refusal::LinkedTransferFailed];
    let decided = Refusal::ALL.iter().filter(|it| !elsewhere.contains(it));
    assert_eq!(in_sql, decided.map(|it| it.as_str()).collect(), "left: the function, right: the code");
}
