//! What somebody else has for longer than a request waits: each request is told what it waited for in vain,
//! and nothing is recorded.

use domain::account::{CREATE_TRANSFER, OPEN_ACCOUNT, OPEN_ACCOUNT_AS_ADMIN, POST_TRANSFER, VOID_TRANSFER};
use domain::ids::{AccountId, MerchantId};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use tests::Client;
use uuid::Uuid;

use super::{Bank, post};
use crate::operator::ADMIN_KEY;

/// A transaction that no timeout of ours ends.
async fn session(bank: &Bank) -> Transaction<'static, Postgres> {
    let mut session = bank.system.database.pool.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0").execute(&mut *session).await.unwrap();
    session
}

async fn merchant(bank: &Bank) -> Uuid {
    sqlx::query_scalar("select id from merchants where name = 'first'")
        .fetch_one(&bank.system.database.pool)
        .await
        .unwrap()
}

fn administrator(bank: &Bank) -> Client {
    bank.system.client.with_secret(ADMIN_KEY.to_owned())
}

#[tokio::test]
async fn while_another_request_has_the_key_a_repeat_waits_and_then_hears_that_it_is_in_progress() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let hold = bank.hold(&ann, &bob, "10").await;
    let merchant = merchant(&bank).await;
    let mut session = session(&bank).await;
    for (operation, scope) in
        [(CREATE_TRANSFER, ""), (POST_TRANSFER, hold.as_str()), (VOID_TRANSFER, hold.as_str())]
    {
        sqlx::query(
            "select pg_advisory_xact_lock(1886545260, hashtext(concat_ws(' ', $1, $2, $3, 'taken')))",
        )
        .bind(merchant)
        .bind(operation)
        .bind(scope)
        .execute(&mut *session)
        .await
        .unwrap();
    }
    for operation in [OPEN_ACCOUNT, OPEN_ACCOUNT_AS_ADMIN] {
        sqlx::query(
            "insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, renderer, created_at, object_id)
             values ($1, $2, 'cid', 'taken', sha256('other'), 1, clock_timestamp(), gen_random_uuid())",
        )
        .bind(merchant)
        .bind(operation)
        .execute(&mut *session)
        .await
        .unwrap();
    }
    let (client, administrator) = (&bank.system.client, administrator(&bank));
    let owned = json!({ "currency": "USD", "owner": "cid" });
    let funding = format!("/v1/merchants/{}/accounts", MerchantId::from(merchant));

    let answers = tokio::join!(
        bank.transfer("taken", json!({ "from": ann, "to": bob, "amount": "1", "currency": "USD" })),
        bank.act(&hold, "post", "taken", json!({})),
        bank.act(&hold, "void", "taken", json!({})),
        post(client, "/v1/accounts", "taken", &owned),
        post(&administrator, &funding, "taken", &owned),
    );

    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
        answer.assert_problem(409, "idempotency_key_in_progress");
    }
    session.rollback().await.unwrap();
    assert_eq!(bank.status(&hold).await, "pending");
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn while_somebody_has_an_account_whoever_needs_it_is_told_which_one() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.open("bob").await);
    let (posted, voided) = (bank.hold(&ann, &bob, "10").await, bank.hold(&ann, &bob, "10").await);
    let mut session = session(&bank).await;
    let id: AccountId = ann.parse().unwrap();
    let now: String = sqlx::query_scalar(
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
           from accounts where id = $1 for update",
    )
    .bind(id.uuid())
    .fetch_one(&mut *session)
    .await
    .unwrap();
    let past = format!("/v1/accounts/{ann}?at={now}");

    let answers = tokio::join!(
        bank.act(&posted, "post", "p", json!({})),
        bank.act(&voided, "void", "v", json!({})),
        bank.system.client.get(&past),
    );

    for answer in [answers.0, answers.1, answers.2] {
        let problem = answer.assert_problem(503, "account_busy");
        assert_eq!(problem["account"], ann);
    }
    session.rollback().await.unwrap();
    bank.act(&posted, "post", "p", json!({})).await.assert_status(200);
}

#[tokio::test]
async fn while_somebody_keeps_the_table_of_keys_locked_a_new_key_is_not_said_to_be_in_progress() {
    let bank = Bank::start().await;
    let mut session = session(&bank).await;
    sqlx::query("lock table idempotency_keys in share mode").execute(&mut *session).await.unwrap();

    let owned = json!({ "currency": "USD", "owner": "cid" });
    let answer = post(&bank.system.client, "/v1/accounts", "new", &owned).await;

    answer.assert_problem(503, "database_busy");
}

#[tokio::test]
async fn an_administrators_key_opens_one_account() {
    let bank = Bank::start().await;
    let path = format!("/v1/merchants/{}/accounts", MerchantId::from(merchant(&bank).await));
    let administrator = administrator(&bank);
    let body = json!({ "currency": "USD", "owner": "cid" });
    let first = post(&administrator, &path, "one", &body).await;
    first.assert_status(201);

    assert_eq!(post(&administrator, &path, "one", &body).await.body, first.body);
    let other = json!({ "currency": "USD", "owner": "cid", "allow_negative": true });
    post(&administrator, &path, "one", &other).await.assert_problem(422, "idempotency_key_reused");
}
