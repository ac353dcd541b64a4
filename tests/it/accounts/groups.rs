//! Linked groups: all of their transfers, or none.

use serde_json::{Value, json};

use super::Bank;

fn of(from: &str, to: &str, amount: &str) -> Value {
    json!({ "from": from, "to": to, "amount": amount, "currency": "USD" })
}

#[tokio::test]
async fn a_group_is_done_in_its_order_and_told_in_it_again() {
    let bank = Bank::start().await;
    let [ann, bob, cid] = [bank.funded("ann", "100").await, bank.open("bob").await, bank.open("cid").await];
    // Bob can pay only what Ann has paid him before.
    let group = json!({ "transfers": [of(&ann, &bob, "60"), of(&bob, &cid, "50"), of(&cid, &ann, "1")] });

    let first = bank.transfer("k", group.clone()).await;

    first.assert_status(201);
    let told = first.json();
    let amounts: Vec<&Value> = told["data"].as_array().unwrap().iter().map(|it| &it["amount"]).collect();
    assert_eq!(amounts, ["60.00", "50.00", "1.00"]);
    let again = bank.transfer("k", group).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(bank.balance(&ann).await[0], "41.00");
    assert_eq!(bank.balance(&bob).await[0], "10.00");
    assert_eq!(bank.balance(&cid).await[0], "49.00");
    let times = "select count(distinct at) from account_entries e join transfers t on t.id = e.transfer_id
                  where t.group_id is not null";
    assert_eq!(bank.system.count(times).await, 1, "a reading of the past could see a part of it");
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn a_group_of_which_one_is_refused_moves_nothing_and_tells_which() {
    let bank = Bank::start().await;
    let [ann, bob, cid] = [bank.funded("ann", "100").await, bank.open("bob").await, bank.open("cid").await];
    let group = json!({ "transfers": [of(&ann, &bob, "60"), of(&bob, &cid, "61"), of(&ann, &cid, "1000")] });

    let first = bank.transfer("k", group.clone()).await;

    let problem = first.assert_problem(422, "insufficient_funds");
    assert_eq!((&problem["index"], &problem["available"]), (&json!(1), &json!("60.00")));
    let codes: Vec<&Value> = problem["transfers"].as_array().unwrap().iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["linked_transfer_failed", "insufficient_funds", "linked_transfer_failed"]);
    bank.fund(&bob, "500").await;
    bank.fund(&ann, "5000").await;
    assert_eq!(bank.transfer("k", group).await.problem(), first.problem());
    assert_eq!(bank.balance(&cid).await, ["0.00", "0.00", "0.00", "0.00"]);
    assert_eq!(bank.system.count("select count(*) from transfers where group_id is not null").await, 0);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn a_group_with_one_that_cannot_be_leaves_its_key_free_and_a_group_has_1_to_100() {
    let bank = Bank::start().await;
    let [ann, bob] = [bank.funded("ann", "100").await, bank.open("bob").await];
    let nobody = "acc_00000000000000000000000000000001";
    let group = |of: Vec<Value>| json!({ "transfers": of });
    let with_nobody = group(vec![of(&ann, &bob, "1000"), of(&ann, nobody, "1")]);
    // The first is short, and yet the other comes first: nothing of it is remembered.
    let problem = bank.transfer("k", with_nobody).await.assert_problem(404, "account_not_found");
    assert_eq!(problem["index"], 1);
    for size in [0, 101] {
        let too_many = group(vec![of(&ann, &bob, "0.01"); size]);
        bank.transfer("k", too_many).await.assert_problem(400, "invalid_request");
    }
    let wrong = group(vec![of(&ann, &bob, "1"), json!({ "from": ann, "amount": true, "more": 1 })]);
    let problem = bank.transfer("k", wrong).await.assert_problem(400, "invalid_request");
    assert!(problem["errors"].as_array().unwrap().len() >= 4, "{problem}");

    let most = bank.transfer("k", group(vec![of(&ann, &bob, "0.01"); 100])).await;

    most.assert_status(201);
    assert_eq!(most.json()["data"].as_array().unwrap().len(), 100);
    assert_eq!(bank.balance(&bob).await[0], "1.00");
    bank.assert_adds_up().await;
}
