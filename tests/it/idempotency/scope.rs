//! The scope of a key: one merchant's one request about one customer.

use serde_json::{Value, json};
use tests::a_payment;
use tests::client::Request;

use super::{apis, the_request};

#[tokio::test]
async fn the_same_key_for_another_customer_is_another_payment() {
    let system = apis(1).await;

    let one = system.accepted(the_request().customer("one")).await;
    let other = system.accepted(the_request().customer("other")).await;

    assert_ne!(one, other);
    assert_eq!(system.stored().await, [2, 2, 2, 2]);
}

#[tokio::test]
async fn the_same_key_of_another_merchant_is_another_payment() {
    let system = apis(1).await;
    let other_merchant = system.another_merchant("other").await;

    let ours = system.accepted(the_request()).await;
    let theirs = other_merchant.pay(the_request().amount("99.00")).await.payment_id();

    assert_ne!(ours, theirs);
    assert_eq!(system.stored().await, [2, 2, 2, 2]);
    system.client.get(&format!("/v1/payments/{theirs}")).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn keys_differ_by_letter_case_and_by_every_character() {
    let system = apis(1).await;
    let keys =
        ["order-77", "Order-77", "order-77.", "order_77", "%6frder-77", "order-\\77", "\"order-\\\"77\""];

    for key in keys {
        system.accepted(the_request().key(key)).await;
    }

    assert_eq!(system.stored().await, [7, 7, 7, 7]);
}

/// Changes of a request, and the fields in which each then differs.
fn changes() -> Vec<(Request, &'static [&'static str])> {
    vec![
        (the_request().amount("12.31"), &["amount"]),
        (the_request().with("currency", json!("USD")), &["currency"]),
        (the_request().method("sim_slow"), &["payment_method"]),
        (the_request().with("description", json!("")), &["description"]),
        (the_request().with("metadata", json!({"order": "77", "cart": "b", "age": "4"})), &["metadata"]),
        (the_request().with("metadata", json!({})), &["metadata"]),
        (the_request().amount("1").with("currency", json!("JPY")), &["amount", "currency"]),
        (
            a_payment()
                .key("order-77")
                .amount("1")
                .method("pm_1")
                .with("currency", json!("USD"))
                .with("description", json!("d")),
            &["amount", "currency", "payment_method", "description", "metadata"],
        ),
    ]
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused_names_the_differences_and_stores_nothing() {
    let system = apis(1).await;
    let first = system.pay(the_request()).await;
    let before = system.client.payment(first.payment_id()).await;
    for (changed, differing) in changes() {
        let answer = system.pay(changed).await;

        let problem = answer.assert_problem(422, "idempotency_key_reused");
        assert_eq!(problem["differing_fields"], json!(differing), "{problem}");
        assert_eq!(problem["payment_id"], first.json()["id"], "{problem}");
        assert_eq!(answer.header("location"), "");
        assert_eq!(answer.header("idempotent-replayed"), "false");
    }
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
    assert_eq!(system.client.payment(first.payment_id()).await, before);
}

#[tokio::test]
async fn a_refused_request_may_be_corrected_under_the_same_key() {
    let system = apis(1).await;
    for wrong in [json!("0"), json!("12.345"), Value::Null] {
        system.pay(the_request().with("amount", wrong)).await.assert_problem(400, "invalid_request");
    }

    let corrected = system.pay(the_request()).await;

    corrected.assert_status(202);
    assert_eq!(corrected.header("idempotent-replayed"), "false");
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn the_database_itself_takes_a_key_only_once() {
    let system = apis(1).await;
    system.accepted(the_request()).await;

    let again = sqlx::query("insert into idempotency_keys select * from idempotency_keys");
    let refused = again.execute(&system.database.pool).await.unwrap_err();

    let refused = refused.into_database_error().unwrap();
    assert_eq!(refused.code().as_deref(), Some("23505"));
    assert_eq!(refused.constraint(), Some("idempotency_keys_pkey"));
}

#[tokio::test]
async fn a_key_is_for_ever() {
    let system = apis(1).await;
    system.accepted(the_request()).await;
    for change in [
        "delete from idempotency_keys",
        "truncate idempotency_keys",
        "update idempotency_keys set created_at = created_at - interval '2 years'",
        "update idempotency_keys set key = 'free'",
    ] {
        let refused = sqlx::query(change).execute(&system.database.pool).await.unwrap_err();

        assert!(refused.to_string().contains("an idempotency key is for ever"), "{change}: {refused}");
    }
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}
