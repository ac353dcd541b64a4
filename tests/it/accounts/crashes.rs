//! Processes that die, fail, freeze or pause around the statements of accounts. The client repeats its
//! request under its key, at another process, and there is one effect. Who is frozen holds nobody up.

use serde_json::{Value, json};
use sqlx::Connection as _;
use tests::{Client, Process, Shape, a_payment, wait_until};

use super::{Bank, key, post, sixty, try_post};
use crate::matrix::ACCOUNT_POINTS;

/// An API at which this fault is armed, and a client of it.
async fn faulty(bank: &Bank, faults: &str) -> (Process, Client) {
    let api = bank.system.api().env("PAYONCE_FAULTS", faults).start().await;
    let client = Client::new(vec![api.address("api").to_owned()], bank.system.client.secret().to_owned());
    (api, client)
}

/// What is asked for: a path, a body, and the status in the end.
struct Asked {
    path: String,
    body: Value,
    status: u16,
}

/// Each kind of request once, on accounts of its own.
async fn kinds(bank: &Bank) -> Vec<Asked> {
    let asked = |path: String, body, status| Asked { path, body, status };
    let transfers = || "/v1/transfers".to_owned();
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let mut pending = sixty(&ann, &bob);
    pending["pending"] = json!(true);
    let poor = bank.open("cid").await;
    let (dan, eve) = (bank.funded("dan", "200").await, bank.open("eve").await);
    let (to_post, to_void) = (bank.hold(&dan, &eve, "60").await, bank.hold(&dan, &eve, "70").await);
    let fay = bank.funded("fay", "200").await;
    vec![
        asked(transfers(), pending, 201),
        asked(transfers(), sixty(&poor, &bob), 422),
        asked(transfers(), sixty(&fay, &bob), 201),
        asked(transfers(), json!({ "transfers": [sixty(&fay, &bob), sixty(&bob, &eve)] }), 201),
        asked(format!("/v1/transfers/{to_post}/post"), json!({ "amount": "50" }), 200),
        asked(format!("/v1/transfers/{to_void}/void"), json!({}), 200),
    ]
}

/// The numbers of transfers, entries and keys of accounts.
async fn stored(bank: &Bank) -> [i64; 3] {
    [
        bank.system.count("select count(*) from transfers").await,
        bank.system.count("select count(*) from account_entries").await,
        bank.system.count("select count(*) from idempotency_keys where operation <> 'create_payment'").await,
    ]
}

#[tokio::test]
async fn whatever_happens_around_a_movement_its_repetition_finds_one_effect() {
    let bank = Bank::start().await;
    for point in ["move.before", "move.committed"] {
        for action in ["kill", "error", "delay:300"] {
            for Asked { path, body, status } in kinds(&bank).await {
                let case = format!("{point}={action} {path} {body}");
                let key = key();
                let (_api, client) = faulty(&bank, &format!("{point}={action}")).await;
                let first = try_post(&client, &path, &key, &body).await;
                let was_answered = first.as_ref().is_ok_and(|answer| answer.status == status);
                assert!(was_answered || action != "delay:300", "{case}: {first:?}");

                let again = post(&bank.system.client, &path, &key, &body).await;
                let settled = stored(&bank).await;
                let once_more = post(&bank.system.client, &path, &key, &body).await;

                assert_eq!(again.status, status, "{case}: {:?}", again.json());
                assert_eq!((once_more.status, once_more.problem()), (status, again.problem()), "{case}");
                if let (true, Ok(first)) = (was_answered, first) {
                    assert_eq!(first.problem(), again.problem(), "{case}");
                }
                assert_eq!(stored(&bank).await, settled, "{case}: the repetition left something behind");
            }
        }
    }
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn whatever_happens_while_an_account_is_opened_there_is_one() {
    let bank = Bank::start().await;
    for point in ACCOUNT_POINTS.iter().filter(|point| point.starts_with("open_account")) {
        for action in ["kill", "error", "delay:300"] {
            let (_api, client) = faulty(&bank, &format!("{point}={action}")).await;
            let (key, body) = (key(), json!({ "currency": "USD", "owner": format!("{point} {action}") }));
            let _ = try_post(&client, "/v1/accounts", &key, &body).await;

            let again = post(&bank.system.client, "/v1/accounts", &key, &body).await;

            again.assert_status(201);
            let owner = body["owner"].as_str().unwrap();
            let opened: i64 = sqlx::query_scalar("select count(*) from accounts where owner = $1")
                .bind(owner)
                .fetch_one(&bank.system.database.pool)
                .await
                .unwrap();
            assert_eq!(opened, 1, "{owner}");
        }
    }
}

#[tokio::test]
async fn a_process_that_freezes_around_its_movement_keeps_no_account() {
    let bank = Bank::start().await;
    for point in ["move.before", "move.committed"] {
        let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
        let (mut api, client) = faulty(&bank, &format!("{point}=stop")).await;
        let (key, body) = (key(), sixty(&ann, &bob));
        let frozen = tokio::spawn({
            let (key, body) = (key.clone(), body.clone());
            async move { try_post(&client, "/v1/transfers", &key, &body).await }
        });
        api.wait_until_stopped().await;

        let again = bank.transfer(&key, body).await;

        again.assert_status(201);
        api.cont();
        let first = frozen.await.unwrap().unwrap();
        assert_eq!((first.status, first.body), (201, again.body), "{point}");
        assert_eq!(bank.balance(&bob).await[0], "60.00", "{point}");
    }
    bank.assert_adds_up().await;
}

/// Has each insert of a hundred transfers wait, with all its accounts locked, until this lock is free.
const WAITS_WITH_LOCKS: &str = "
    create function wait_for_the_test() returns trigger language plpgsql set lock_timeout = 0 as $$
    begin
        if (select count(*) from written) >= 100 then
            perform pg_advisory_xact_lock_shared(77);
        end if;
        return null;
    end $$;
    create trigger transfers_wait_for_the_test after insert on transfers referencing new table as written for each statement
        execute function wait_for_the_test();";

#[tokio::test]
async fn a_full_batch_whose_process_is_frozen_ends_without_it_and_payments_never_wait() {
    let bank = Bank::with(Shape { apis: 1, ..Shape::default() }).await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let pool = &bank.system.database.pool;
    sqlx::raw_sql(WAITS_WITH_LOCKS).execute(pool).await.unwrap();
    let mut lock = sqlx::PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    sqlx::query("select pg_advisory_lock(77)").execute(&mut lock).await.unwrap();
    let (mut api, client) = faulty(&bank, "").await;
    let one = json!({ "from": ann, "to": bob, "amount": "0.50", "currency": "USD" });
    let group = json!({ "transfers": vec![one.clone(); 100] });
    let group_key = key();
    let frozen = tokio::spawn({
        let (key, group) = (group_key.clone(), group.clone());
        async move { try_post(&client, "/v1/transfers", &key, &group).await }
    });
    wait_until("the batch to have its accounts", async || {
        let waiting =
            "select count(*) from pg_locks where locktype = 'advisory' and objid = 77 and not granted";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.unwrap() == 1
    })
    .await;
    api.stop().await;

    // No payment waits for an account, whoever has it.
    bank.system.pay(a_payment()).await.assert_status(202);
    sqlx::query("select pg_advisory_unlock(77)").execute(&mut lock).await.unwrap();
    // Its answer waits in the buffers of the connection, and its accounts are free.
    bank.transfer(&key(), one).await.assert_status(201);
    let again = bank.transfer(&group_key, group).await;

    again.assert_status(201);
    assert_eq!(bank.balance(&bob).await[0], "50.50");
    api.cont();
    assert_eq!(frozen.await.unwrap().unwrap().body, again.body);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn whose_account_another_session_has_is_told_so_and_the_neighbours_go_on() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.funded("bob", "100").await);
    let (cid, dan) = (bank.funded("cid", "100").await, bank.open("dan").await);
    // A session of nobody's, which no timeout of ours ends.
    let mut session =
        sqlx::PgConnection::connect_with(&bank.system.database.pool.connect_options()).await.unwrap();
    sqlx::query("begin").execute(&mut session).await.unwrap();
    let held = ann.trim_start_matches("acc_").parse::<uuid::Uuid>().unwrap();
    sqlx::query("select from accounts where id = $1 for update")
        .bind(held)
        .execute(&mut session)
        .await
        .unwrap();
    let waiting_key = key();

    let (waiting, neighbours) = tokio::join!(bank.transfer(&waiting_key, sixty(&ann, &bob)), async {
        let mut statuses = Vec::new();
        for _ in 0..20 {
            let body = json!({ "from": cid, "to": dan, "amount": "1", "currency": "USD" });
            statuses.push(bank.transfer(&key(), body).await.status);
        }
        statuses
    });

    assert_eq!(neighbours, [201; 20]);
    let problem = waiting.assert_problem(503, "account_busy");
    assert_eq!(problem["account"], ann);
    assert_eq!(waiting.header("retry-after"), "1");
    sqlx::query("rollback").execute(&mut session).await.unwrap();
    bank.transfer(&waiting_key, sixty(&ann, &bob)).await.assert_status(201);
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn whatever_happens_around_a_payment_from_a_balance_its_repetition_finds_one() {
    let bank = Bank::start().await;
    for point in crate::risk::POINTS.iter().filter(|point| point.starts_with("pay.")) {
        for action in ["kill", "error", "delay:300"] {
            let ann = bank.funded("ann", "100").await;
            let body =
                json!({ "amount": "60", "currency": "USD", "customer_id": "ann", "payment_method": ann });
            let (_api, client) = faulty(&bank, &format!("{point}={action}")).await;
            let key = key();
            let first = try_post(&client, "/v1/payments", &key, &body).await;

            let again = post(&bank.system.client, "/v1/payments", &key, &body).await;

            again.assert_status(201);
            if let Some(first) = first.ok().filter(|first| first.status == 201) {
                assert_eq!(first.body, again.body, "{point}={action}");
            }
            assert_eq!(bank.balance(&ann).await, ["40.00", "0.00", "0.00", "40.00"], "{point}={action}");
        }
    }
    let (ann, (mut api, client)) = (bank.funded("ann", "100").await, faulty(&bank, "pay.before=stop").await);
    let (key, body) =
        (key(), json!({ "amount": "60", "currency": "USD", "customer_id": "ann", "payment_method": ann }));
    let frozen = tokio::spawn({
        let (key, body) = (key.clone(), body.clone());
        async move { try_post(&client, "/v1/payments", &key, &body).await }
    });
    api.wait_until_stopped().await;
    let meanwhile = post(&bank.system.client, "/v1/payments", &key, &body).await;
    meanwhile.assert_status(201);
    api.cont();
    let first = frozen.await.unwrap().unwrap();
    assert_eq!((first.status, first.body), (201, meanwhile.body));
    bank.assert_adds_up().await;
}
