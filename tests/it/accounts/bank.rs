//! Many transfers at once: no account owes, nothing is lost, and no client sees a deadlock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tests::{Client, Shape};

use super::{Bank, key, post, sixty};

/// How many rounds of two transfers there are.
const ROUNDS: usize = 1_000;

/// How many rounds are played at a time.
const LANES: usize = 40;

async fn two_apis() -> Bank {
    Bank::with(Shape { apis: 2, ..Shape::default() }).await
}

#[tokio::test]
async fn of_two_transfers_of_60_from_100_exactly_one_is_done_and_the_refusal_stays_one() {
    let bank = two_apis().await;
    let next = AtomicUsize::new(0);
    let to = bank.open("shop").await;
    let lane = async || {
        while next.fetch_add(1, Ordering::Relaxed) < ROUNDS {
            let from = bank.funded("ann", "100").await;
            let keys = [key(), key()];
            let asked = |key| bank.transfer(key, sixty(&from, &to));

            let answers = join_all(keys.iter().map(|key| asked(key))).await;

            let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [201, 422]);
            let refused = answers.iter().position(|answer| answer.status == 422).unwrap();
            let problem = answers[refused].assert_problem(422, "insufficient_funds");
            assert_eq!(problem["available"], "40.00");
            assert_eq!(bank.balance(&from).await, ["40.00", "0.00", "0.00", "40.00"]);

            bank.fund(&from, "100").await;
            let again = asked(&keys[refused]).await;

            assert_eq!(again.problem(), answers[refused].problem());
            assert_eq!(again.header("idempotent-replayed"), "true");
            assert_eq!(bank.balance(&from).await[0], "140.00");
        }
    };
    join_all((0..LANES).map(|_| lane())).await;
    let posted = bank.balance(&to).await[0].clone();
    assert_eq!(posted, format!("{}.00", 60 * ROUNDS));
    bank.assert_adds_up().await;
}

/// How many transfers cross, between how many accounts, by how many clients.
const CROSSED: usize = 10_000;
const ACCOUNTS: usize = 10;
const CLIENTS: usize = 64;

#[tokio::test]
async fn crossed_transfers_meet_no_deadlock_and_leave_the_total_as_it_was() {
    let bank = two_apis().await;
    let accounts = join_all((0..ACCOUNTS).map(|n| async move { format!("owner-{n}") })).await;
    let mut ids = Vec::new();
    for owner in &accounts {
        ids.push(bank.funded(owner, "100").await);
    }
    let next = AtomicUsize::new(0);
    let client = async || {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= CROSSED {
                return seen;
            }
            // Each pair is crossed: from a to b, and from b to a.
            let (a, b) = (n / 2 % ACCOUNTS, (n / 2 / ACCOUNTS + n / 2 + 1) % ACCOUNTS);
            let (a, b) = if a == b { (a, (b + 1) % ACCOUNTS) } else { (a, b) };
            let (from, to) = if n.is_multiple_of(2) { (a, b) } else { (b, a) };
            let amount = (n % 70 + 1).to_string();
            let body = json!({ "from": ids[from], "to": ids[to], "amount": amount, "currency": "USD" });
            let answer = bank.transfer(&key(), body).await;
            let code = answer.json()["code"].as_str().unwrap_or("done").to_owned();
            if code == "insufficient_funds" {
                let available: f64 = answer.json()["available"].as_str().unwrap().parse().unwrap();
                assert!(available < amount.parse().unwrap(), "{:?}", answer.json());
            }
            *seen.entry(code).or_default() += 1;
        }
    };

    let seen = join_all((0..CLIENTS).map(|_| client())).await;

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (code, count) in seen.into_iter().flatten() {
        *counts.entry(code).or_default() += count;
    }
    assert!(counts.keys().all(|code| code == "done" || code == "insufficient_funds"), "{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), CROSSED);
    let total: i64 = bank
        .system
        .count("select sum(credits_posted - debits_posted)::bigint from accounts where not allow_negative")
        .await;
    assert_eq!(total, 1_000);
    let deadlocks =
        "select coalesce(sum(deadlocks), 0)::bigint from pg_stat_database where datname = current_database()";
    assert_eq!(bank.system.count(deadlocks).await, 0);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn a_key_that_many_send_at_once_is_one_transfer_and_one_answer() {
    let bank = two_apis().await;
    let (ann, shop) = (bank.funded("ann", "1000").await, bank.open("shop").await);
    for _ in 0..50 {
        let (key, body) = (key(), json!({ "from": ann, "to": shop, "amount": "1", "currency": "USD" }));

        let answers = join_all((0..16).map(|_| bank.transfer(&key, body.clone()))).await;

        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (201, &answers[0].body), "{:?}", answer.json());
        }
        let firsts = answers.iter().filter(|it| it.header("idempotent-replayed") == "false");
        assert_eq!(firsts.count(), 1);
    }
    assert_eq!(bank.balance(&shop).await[0], "50.00");
    bank.assert_adds_up().await;
}

/// How many transfers there are at each isolation.
const ISOLATED: usize = 600;

#[tokio::test]
async fn whatever_isolation_is_the_default_the_same_holds_and_no_client_sees_an_error() {
    let bank = Bank::start().await;
    let pool = &bank.system.database.pool;
    let mut ids = Vec::new();
    for owner in ["a", "b", "c", "d"] {
        ids.push(bank.funded(owner, "50").await);
    }
    let database: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(pool).await.unwrap();
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let sql = format!("alter database {database} set default_transaction_isolation = '{isolation}'");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
        let api = bank.system.api().start().await;
        let client = Client::new(vec![api.address("api").to_owned()], bank.system.client.secret().to_owned());
        let next = AtomicUsize::new(0);
        let lane = async || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= ISOLATED {
                    return;
                }
                let (from, to) = (&ids[n % 4], &ids[(n + 1 + n / 4 % 3) % 4]);
                let body = json!({ "from": from, "to": to, "amount": n % 30 + 1, "currency": "USD" });
                let answer = post(&client, "/v1/transfers", &key(), &body).await;
                assert!([201, 422].contains(&answer.status), "{isolation}: {:?}", answer.json());
            }
        };
        join_all((0..16).map(|_| lane())).await;
    }
    let total = "select sum(credits_posted - debits_posted)::bigint from accounts where not allow_negative";
    assert_eq!(bank.system.count(total).await, 200);
    bank.assert_adds_up().await;
}
