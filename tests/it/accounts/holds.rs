//! Holds: what is reserved is posted, voided or given back once its time is over, and never two of these.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tests::{Shape, wait_until};

use super::{Bank, key};
use crate::verify::behind_the_guards;

/// Lets the time of a hold be over.
async fn make_due(bank: &Bank, transfer: &str) {
    let id = transfer.trim_start_matches("trf_");
    let sql =
        format!("update transfers set expires_at = clock_timestamp() - interval '1 s' where id = '{id}'");
    behind_the_guards(&bank.system.database.pool, &sql).await;
}

#[tokio::test]
async fn a_hold_reserves_and_is_posted_in_part_and_the_rest_goes_back() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);

    let hold = bank.hold(&ann, &shop, "80").await;

    assert_eq!(bank.balance(&ann).await, ["100.00", "0.00", "80.00", "20.00"]);
    assert_eq!(bank.balance(&shop).await, ["0.00", "80.00", "0.00", "0.00"]);
    let posted = bank.act(&hold, "post", "k", json!({ "amount": "50" })).await;
    posted.assert_status(200);
    assert_eq!(posted.json()["status"], "posted");
    assert_eq!(
        (&posted.json()["amount"], &posted.json()["posted_amount"]),
        (&json!("80.00"), &json!("50.00"))
    );
    assert_eq!(bank.balance(&ann).await, ["50.00", "0.00", "0.00", "50.00"]);
    assert_eq!(bank.balance(&shop).await, ["50.00", "0.00", "0.00", "50.00"]);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn the_act_that_won_is_answered_alike_under_every_key_and_another_is_told_of_it() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let hold = bank.hold(&ann, &shop, "80").await;
    let first = bank.act(&hold, "post", "k1", json!({ "amount": "50" })).await;

    for key in ["k1", "k2", "k2"] {
        let again = bank.act(&hold, "post", key, json!({ "amount": "50.00" })).await;
        again.assert_status(200);
        assert_eq!(again.body, first.body, "{key}");
    }
    for (act, body) in [("post", json!({})), ("void", json!({})), ("post", json!({ "amount": "80" }))] {
        let problem = bank.act(&hold, act, &key(), body).await.assert_problem(409, "transfer_not_pending");
        assert_eq!(problem["transfer"], json!({ "status": "posted", "posted_amount": "50.00" }));
    }
    assert_eq!(bank.balance(&shop).await, ["50.00", "0.00", "0.00", "50.00"]);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn a_transfer_that_never_was_a_hold_cannot_be_posted_or_voided() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let body = json!({ "from": ann, "to": shop, "amount": "60", "currency": "USD" });
    let done = super::id(&bank.transfer(&key(), body).await);

    for (act, body) in [("post", json!({})), ("post", json!({ "amount": "60" })), ("void", json!({}))] {
        bank.act(&done, act, &key(), body).await.assert_problem(409, "transfer_not_pending");
    }
}

#[tokio::test]
async fn an_expired_hold_cannot_be_posted_though_no_sweep_ran_and_gives_back_what_it_held() {
    // There is no worker, so nothing sweeps.
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let [first, second] = [bank.hold(&ann, &shop, "30").await, bank.hold(&ann, &shop, "60").await];
    make_due(&bank, &first).await;

    let refused = bank.act(&first, "post", "k", json!({})).await;

    refused.assert_problem(409, "transfer_expired");
    assert_eq!(bank.act(&first, "post", "k", json!({})).await.problem(), refused.problem());
    assert_eq!(bank.status(&first).await, "expired");
    assert_eq!(bank.balance(&ann).await, ["100.00", "0.00", "60.00", "40.00"]);

    // Before funds are said not to suffice, what is due is given back.
    make_due(&bank, &second).await;
    let body = json!({ "from": ann, "to": shop, "amount": "100", "currency": "USD" });
    bank.transfer(&key(), body).await.assert_status(201);
    assert_eq!(bank.status(&second).await, "expired");
    assert_eq!(bank.balance(&ann).await, ["0.00", "0.00", "0.00", "0.00"]);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn the_sweep_ends_what_nobody_asks_for() {
    let bank = Bank::with(Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let hold = bank.hold(&ann, &shop, "30").await;
    make_due(&bank, &hold).await;

    wait_until("the hold to expire", async || bank.status(&hold).await == "expired").await;

    assert_eq!(bank.balance(&ann).await, ["100.00", "0.00", "0.00", "100.00"]);
    bank.assert_adds_up().await;
}

/// How many holds are raced for.
const RACES: usize = 500;

#[tokio::test]
async fn of_posting_voiding_and_expiry_at_once_one_wins_each_time() {
    let bank = Bank::with(Shape { apis: 2, workers: 1, ..Shape::default() }).await;
    let (ann, shop) = (bank.funded("ann", "1000").await, bank.open("shop").await);
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut posted = 0;
    let mut lanes = Vec::new();
    for _ in 0..RACES {
        lanes.push(bank.hold(&ann, &shop, "2").await);
    }
    for holds in lanes.chunks(20) {
        let race = |hold: &String| {
            let (hold, bank) = (hold.clone(), &bank);
            async move {
                let (post_key, void_key) = (key(), key());
                let (post, void, ()) = tokio::join!(
                    bank.act(&hold, "post", &post_key, json!({ "amount": "1" })),
                    bank.act(&hold, "void", &void_key, json!({})),
                    make_due(bank, &hold),
                );
                (bank.status(&hold).await, post, void)
            }
        };
        for (status, post, void) in join_all(holds.iter().map(race)).await {
            let code = |answer: &tests::Answer| {
                (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
            };
            let won = (200, String::new());
            let (post, void) = (code(&post), code(&void));
            match status.as_str() {
                "posted" => assert!(post == won && void != won, "{post:?} {void:?}"),
                "voided" => assert!(post != won && void == won, "{post:?} {void:?}"),
                "expired" => assert!(post != won && void != won, "{post:?} {void:?}"),
                other => unreachable!("{other}"),
            }
            posted += usize::from(status == "posted");
            *ends.entry(status).or_default() += 1;
        }
    }
    assert_eq!(ends.values().sum::<usize>(), RACES);
    assert_eq!(
        bank.balance(&shop).await,
        [format!("{posted}.00"), "0.00".into(), "0.00".into(), format!("{posted}.00")]
    );
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn a_hold_has_an_end_that_lies_in_the_future_and_not_too_far() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let hold = |expires_at: &str| json!({ "from": ann, "to": shop, "amount": "1", "currency": "USD", "pending": true, "expires_at": expires_at });
    for at in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        // Nothing is remembered: the corrected request may use the same key.
        bank.transfer("k", hold(at)).await.assert_problem(400, "expiry_out_of_range");
    }
    let soon: String = sqlx::query_scalar(AssertSqlSafe(
        "select to_char(now() + interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    ))
    .fetch_one(&bank.system.database.pool)
    .await
    .unwrap();
    let answer = bank.transfer("k", hold(&soon)).await;
    answer.assert_status(201);
    assert_eq!(answer.json()["status"], "pending");
    assert!(answer.json()["expires_at"].as_str().unwrap().starts_with(&soon[..19]), "{:?}", answer.json());
    let mut without = hold(&soon);
    without["pending"] = json!(false);
    bank.transfer(&key(), without).await.assert_problem(400, "invalid_request");
}
