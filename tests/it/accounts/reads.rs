//! Accounts as they are shown: opened once per key, listed, with every change, and as they stood in the past.

use serde_json::{Value, json};
use sqlx::Connection as _;
use tests::wait_until;

use super::{Bank, key, open, post};

#[tokio::test]
async fn an_account_is_opened_once_per_key_and_its_first_answer_stays_as_it_was() {
    let bank = Bank::start().await;
    let client = &bank.system.client;
    let body = json!({ "currency": "USD", "owner": "ann" });

    let first = post(client, "/v1/accounts", "k", &body).await;

    first.assert_status(201);
    let account = first.json();
    assert_eq!(account["object"], "account");
    assert_eq!((&account["available"], &account["version"]), (&json!("0.00"), &json!(0)));
    let id = super::id(&first);
    assert_eq!(first.header("location"), format!("/v1/accounts/{id}"));
    bank.fund(&id, "5").await;
    let again = post(client, "/v1/accounts", "k", &body).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotent-replayed"), "true");
    // The same key for another owner is another account, as the same key for another customer is another
    // payment.
    let other = post(client, "/v1/accounts", "k", &json!({ "currency": "USD", "owner": "bob" })).await;
    assert_ne!(super::id(&other), id);
    let changed = post(client, "/v1/accounts", "k", &json!({ "currency": "EUR", "owner": "ann" })).await;
    changed.assert_problem(422, "idempotency_key_reused");
    // No merchant makes money out of nothing.
    let owing = json!({ "currency": "USD", "owner": "ann", "allow_negative": true });
    post(client, "/v1/accounts", &key(), &owing).await.assert_problem(400, "invalid_request");
    assert_eq!(bank.account(&id).await["available"], "5.00");
}

#[tokio::test]
async fn an_account_shows_each_change_and_how_it_stood_at_any_time() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let opened = bank.account(&ann).await["updated_at"].as_str().unwrap().to_owned();
    let hold = bank.hold(&ann, &shop, "30").await;
    let held = bank.account(&ann).await["updated_at"].as_str().unwrap().to_owned();
    bank.act(&hold, "post", &key(), json!({ "amount": "20" })).await.assert_status(200);

    let at = async |time: &str| {
        let time = time.replace('+', "%2B");
        let answer = bank.system.client.get(&format!("/v1/accounts/{ann}?at={time}")).await;
        answer.assert_status(200);
        let it = answer.json();
        [it["posted"].clone(), it["pending_out"].clone(), it["available"].clone(), it["version"].clone()]
    };
    assert_eq!(at(&opened).await, [json!("100.00"), json!("0.00"), json!("100.00"), json!(1)]);
    assert_eq!(at(&held).await, [json!("100.00"), json!("30.00"), json!("70.00"), json!(2)]);
    let now = bank.account(&ann).await["updated_at"].as_str().unwrap().to_owned();
    assert_eq!(at(&now).await, [json!("80.00"), json!("0.00"), json!("80.00"), json!(3)]);
    let future = bank.system.client.get(&format!("/v1/accounts/{ann}?at=2999-01-01T00:00:00Z")).await;
    future.assert_problem(400, "invalid_request");
    let before = bank.system.client.get(&format!("/v1/accounts/{ann}?at=2020-01-01T00:00:00Z")).await;
    before.assert_problem(404, "account_not_found");

    let entries = async |query: &str| {
        let answer = bank.system.client.get(&format!("/v1/accounts/{ann}/entries{query}")).await;
        answer.assert_status(200);
        answer.json()
    };
    let all = entries("").await;
    let told: Vec<[&Value; 4]> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| [&it["type"], &it["side"], &it["amount"], &it["available"]])
        .collect();
    assert_eq!(
        told,
        [
            [&json!("transfer"), &json!("credit"), &json!("100.00"), &json!("100.00")],
            [&json!("pending"), &json!("debit"), &json!("30.00"), &json!("70.00")],
            [&json!("post"), &json!("debit"), &json!("20.00"), &json!("80.00")],
        ]
    );
    let page = entries("?limit=1&starting_after=1").await;
    assert_eq!((&page["data"][0]["version"], &page["has_more"]), (&json!(2), &json!(true)));
}

#[tokio::test]
async fn what_was_told_of_the_past_stays_true_while_money_moves() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let mut told = Vec::new();
    for _ in 0..50 {
        let body = json!({ "from": ann, "to": shop, "amount": "1", "currency": "USD" });
        let (key, moving) = (key(), ());
        let (answer, time) = tokio::join!(bank.transfer(&key, body), async {
            let () = moving;
            let time: String = sqlx::query_scalar(
                "select to_char(clock_timestamp() - interval '1 us', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
            )
            .fetch_one(&bank.system.database.pool)
            .await
            .unwrap();
            let answer = bank.system.client.get(&format!("/v1/accounts/{ann}?at={time}")).await;
            answer.assert_status(200);
            (time, answer.json()["available"].clone())
        });
        answer.assert_status(201);
        told.push(time);
    }
    for (time, available) in told {
        let answer = bank.system.client.get(&format!("/v1/accounts/{ann}?at={time}")).await;
        assert_eq!(answer.json()["available"], available, "{time}");
    }
}

/// Has each transfer wait with its accounts locked and its time fixed, until this lock is free.
const WAITS: &str = "
    create function wait_for_the_test() returns trigger language plpgsql set lock_timeout = 0 as $$
    begin
        perform pg_advisory_xact_lock_shared(78);
        return null;
    end $$;
    create trigger transfers_wait_for_the_test after insert on transfers for each statement
        execute function wait_for_the_test();";

#[tokio::test]
async fn a_reading_of_the_past_waits_for_who_may_still_write_it() {
    let bank = Bank::start().await;
    let (ann, shop) = (bank.funded("ann", "100").await, bank.open("shop").await);
    let pool = &bank.system.database.pool;
    sqlx::raw_sql(WAITS).execute(pool).await.unwrap();
    let mut lock = sqlx::PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    sqlx::query("select pg_advisory_lock(78)").execute(&mut lock).await.unwrap();
    let count = async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.unwrap();
    let key = key();
    let writing = bank.transfer(&key, json!({ "from": ann, "to": shop, "amount": "1", "currency": "USD" }));
    let reading = async {
        let written =
            "select count(*) from pg_locks where locktype = 'advisory' and objid = 78 and not granted";
        wait_until("the transfer to have its time", async || count(written).await == 1).await;
        let time: String =
            sqlx::query_scalar("select to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
                .fetch_one(pool)
                .await
                .unwrap();
        let path = format!("/v1/accounts/{ann}?at={time}");
        let mut reading = Box::pin(bank.system.client.get(&path));
        let waits =
            "select count(*) from pg_locks where locktype in ('tuple', 'transactionid') and not granted";
        let told = tokio::select! {
            answer = &mut reading => Some(answer),
            () = wait_until("the reading to wait", async || count(waits).await > 0) => None,
        };
        sqlx::query("select pg_advisory_unlock(78)").execute(&mut lock).await.unwrap();
        (
            path.clone(),
            match told {
                Some(told) => told,
                None => reading.await,
            },
        )
    };

    let (written, (path, told)) = tokio::join!(writing, reading);

    written.assert_status(201);
    // Where the machine is slow, the reading may have waited in vain. Then it has told nothing.
    if told.status != 503 {
        let again = bank.system.client.get(&path).await;
        assert_eq!(told.json(), again.json());
        assert_eq!(again.json()["available"], "99.00");
    }
}

#[tokio::test]
async fn accounts_are_listed_newest_first_by_owner_and_currency() {
    let bank = Bank::start().await;
    let client = &bank.system.client;
    let [a, b] = [bank.open("ann").await, open(client, "ann", "JPY").await];
    let c = bank.open("bob").await;
    let list = async |query: &str| {
        let answer = client.get(&format!("/v1/accounts{query}")).await;
        answer.assert_status(200);
        let list = answer.json();
        let ids = list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), list["has_more"].as_bool().unwrap())
    };
    assert_eq!(list("?limit=3").await, (vec![c.clone(), b.clone(), a.clone()], true));
    assert_eq!(list("?owner=ann").await, (vec![b.clone(), a.clone()], false));
    assert_eq!(list("?owner=ann&currency=JPY").await, (vec![b.clone()], false));
    assert_eq!(list(&format!("?owner=ann&starting_after={b}")).await, (vec![a], false));
    assert_eq!(list("?currency=JPY").await, (vec![b], false));
    let other = bank.system.another_merchant("second").await;
    assert_eq!(other.get("/v1/accounts").await.json()["data"], json!([]));
}
