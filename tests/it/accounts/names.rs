//! The other id of an account: no two accounts of a merchant have the same, and the list finds it.

use serde_json::json;

use super::{Bank, id, key, post};
use crate::operator::ADMIN_KEY;

#[tokio::test]
async fn another_systems_id_is_of_one_account_and_finds_it() {
    let bank = Bank::start().await;
    let client = &bank.system.client;
    let body = |owner: &str| json!({ "currency": "USD", "owner": owner, "external_id": "user 7 & co" });
    let opened = post(client, "/v1/accounts", "k1", &body("ann")).await;
    opened.assert_status(201);
    assert_eq!(opened.json()["external_id"], "user 7 & co");
    bank.open("ann").await;

    // Nothing is remembered, so the corrected request may use the same key.
    post(client, "/v1/accounts", "k2", &body("bob")).await.assert_problem(409, "external_id_taken");
    let free = json!({ "currency": "USD", "owner": "bob", "external_id": "8" });
    post(client, "/v1/accounts", "k2", &free).await.assert_status(201);
    // A repeat has its first answer, and the same key for another id is another request.
    let again = post(client, "/v1/accounts", "k1", &body("ann")).await;
    assert_eq!((again.status, again.body), (201, opened.body.clone()));
    let without = json!({ "currency": "USD", "owner": "ann" });
    post(client, "/v1/accounts", "k1", &without).await.assert_problem(422, "idempotency_key_reused");

    let found = client.get("/v1/accounts?external_id=user%207%20%26%20co").await.json();
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["data"][0]["id"], id(&opened));
    for none in ["external_id=9", "external_id=8&owner=ann", "external_id=8&currency=EUR"] {
        let found = client.get(&format!("/v1/accounts?{none}")).await.json();
        assert_eq!(found["data"], json!([]), "{none}");
    }
    // Another merchant's is another one's.
    let other = bank.system.another_merchant("other").await;
    post(&other, "/v1/accounts", &key(), &body("ann")).await.assert_status(201);
    let merchant: uuid::Uuid = sqlx::query_scalar("select id from merchants where name = 'first'")
        .fetch_one(&bank.system.database.pool)
        .await
        .unwrap();
    let path = format!("/v1/merchants/{}/accounts", domain::ids::MerchantId::from(merchant));
    let admin = client.with_secret(ADMIN_KEY.to_owned());
    post(&admin, &path, &key(), &body("eve")).await.assert_problem(409, "external_id_taken");
    let too_long = json!({ "currency": "USD", "owner": "x", "external_id": "x".repeat(256) });
    post(client, "/v1/accounts", &key(), &too_long).await.assert_problem(400, "invalid_request");
}
