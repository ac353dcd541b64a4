//! The same request again gets the first answer, whatever happened since, however it is spelled.

use reqwest::Method;
use tests::client::send;
use tests::{Client, PrivateServer, Shape, System, wait_until};

use super::{apis, assert_replay, the_request};
use crate::PROGRAM;

#[tokio::test]
async fn a_replay_is_the_first_answer_byte_for_byte() {
    let system = apis(1).await;

    let first = system.pay(the_request()).await;
    let second = system.pay(the_request()).await;
    let third = system.pay(the_request()).await;

    assert_eq!(first.header("idempotent-replayed"), "false");
    assert_replay(&second, &first);
    assert_replay(&third, &first);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_replay_is_still_the_first_answer_after_the_payment_ended() {
    let system = System::start(PROGRAM).await;
    for request in [the_request(), the_request().key("order-78").method("sim_declined")] {
        let first = system.pay(request.clone()).await;
        let ended = system.ended(first.payment_id()).await;

        let replay = system.pay(request).await;

        assert_ne!(ended["status"], "pending");
        assert_eq!(replay.json()["status"], "pending");
        assert_replay(&replay, &first);
    }
}

#[tokio::test]
async fn a_replay_is_one_statement_and_writes_nothing() {
    const REPLAYS: i64 = 20;
    let server = PrivateServer::quiet().await;
    let shape = Shape { apis: 1, ..Shape::default() };
    let system = System::on(server.database().await, PROGRAM, shape).await;
    sqlx::raw_sql("create extension pg_stat_statements").execute(&system.database.pool).await.unwrap();
    let first = system.pay(the_request()).await;
    // This is the last thing that the API does for a new payment.
    let rung = "select count(*) from pg_stat_statements where query like 'select pg_notify%'";
    wait_until("workers are woken", async || system.count(rung).await == 1).await;
    sqlx::raw_sql("select pg_stat_statements_reset()").execute(&system.database.pool).await.unwrap();

    for _ in 0..REPLAYS {
        assert_replay(&system.pay(the_request()).await, &first);
    }

    let (calls, wal_bytes): (i64, i64) = sqlx::query_as(
        "select sum(calls)::bigint, sum(wal_bytes)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid
          where d.datname = current_database() and s.query not like '%pg_stat_statements%'",
    )
    .fetch_one(&system.database.pool)
    .await
    .unwrap();
    assert_eq!((calls, wal_bytes), (REPLAYS, 0));
}

#[tokio::test]
async fn a_replay_is_the_same_from_another_api_and_after_a_restart() {
    let mut system = apis(1).await;
    let first = system.pay(the_request()).await;
    system.apis[0].terminate();
    system.apis[0].wait_exit().await;
    let secret = system.client.secret().to_owned();
    for _ in 0..2 {
        let api = system.api().start().await;
        let client = Client::new(vec![api.address("api").to_owned()], secret.clone());

        let replay = client.pay(the_request()).await;

        assert_replay(&replay, &first);
        system.apis.push(api);
    }
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_quoted_key_is_the_same_key() {
    let system = apis(1).await;

    let bare = system.pay(the_request()).await;
    let quoted = system.pay(the_request().key("\"order-77\"")).await;

    assert_replay(&quoted, &bare);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn another_spelling_of_the_same_request_is_the_same_request() {
    let system = apis(1).await;
    let first = system.pay(the_request()).await;
    let spellings = [
        r#"{"amount":12.3,"currency":"EUR","customer_id":"customer-1","payment_method":"sim_ok","metadata":{"order":"77","cart":"b","age":"3"}}"#,
        r#"{"amount":1.23e1,"currency":"EUR","customer_id":"customer-1","payment_method":"sim_ok","metadata":{"order":"77","cart":"b","age":"3"}}"#,
        r#"{"metadata":{"age":"3","cart":"b","order":"77"},"payment_method":"sim_ok","customer_id":"customer-1","currency":"EUR","amount":"12.30"}"#,
        "{ \"amount\": \"012.3\",\n\t\"currency\": \"EU\\u0052\", \"customer_id\": \"customer-1\", \"payment_method\": \"sim_ok\",
           \"metadata\": {\"order\": \"77\", \"cart\": \"b\", \"age\": \"\\u0033\"}, \"description\": null }",
    ];
    for spelling in spellings {
        let replay = system.client.pay_text("order-77", spelling).await;

        assert_replay(&replay, &first);
    }
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_replay_may_come_by_another_key_of_the_merchant() {
    let system = apis(1).await;
    let same_merchant = system.another_merchant("first").await;

    let first = system.pay(the_request()).await;
    let replay = same_merchant.pay(the_request()).await;

    assert_ne!(same_merchant.secret(), system.client.secret());
    assert_replay(&replay, &first);
}

#[tokio::test]
async fn the_location_of_a_replay_is_where_the_payment_is() {
    let system = apis(1).await;
    system.pay(the_request()).await.assert_status(202);

    let replay = system.pay(the_request()).await;
    let found = send(system.client.request(Method::GET, replay.header("location"))).await;

    found.assert_status(200);
    assert_eq!(found.json()["id"], replay.json()["id"]);
}
