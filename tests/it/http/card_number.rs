//! Card numbers are refused wherever a client may put one by mistake, and kept nowhere.

use serde_json::json;
use tests::client::Request;
use tests::{Shape, System, a_payment};

use crate::PROGRAM;

const CARD: &str = "4242424242424242";

/// A request for each place that takes a client's text, with this text in it.
fn everywhere(text: &str) -> [Request; 7] {
    [
        a_payment().with("payment_method", json!(text)),
        a_payment().with("payment_method", json!(format!("tok_{text}"))),
        a_payment().with("description", json!(format!("paid with {text}, thanks"))),
        a_payment().with("metadata", json!({"card": text})),
        a_payment().with("metadata", json!({text: "card"})),
        a_payment().with(text, json!("card")),
        a_payment().with("amount", json!(text)),
    ]
}

/// The tables that hold a text like this one, after its separators were removed.
async fn tables_with(system: &System, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('public', 'apalis')",
    )
    .fetch_all(&system.database.pool)
    .await
    .unwrap_or_default();
    assert!(tables.len() > 8, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let sql = format!(
            "select count(*) from {table} t where translate(t::text, ' .-', '') like '%' || $1 || '%'"
        );
        let count: sqlx::Result<i64> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(text).fetch_one(&system.database.pool).await;
        if !count.is_ok_and(|count| count == 0) {
            found.push(table);
        }
    }
    found
}

/// An API that logs as much as it can.
async fn a_talkative_api() -> System {
    let api_env = vec![("RUST_LOG", "debug".to_owned())];
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

#[tokio::test]
async fn a_card_number_is_refused_wherever_it_stands_and_kept_nowhere() {
    let system = a_talkative_api().await;
    for text in [
        CARD,
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "4242\u{a0}4242\u{a0}4242\u{a0}4242",
        "4242\u{200b}4242\u{200b}4242\u{200b}4242",
        "４２４２４２４２４２４２４２４２",
        "378282246310005",
        "6011000990139424",
    ] {
        for request in everywhere(text) {
            let answer = system.pay(request.clone()).await;

            assert_eq!(answer.status, 400, "{:?} {}", request.key, request.body);
            answer.assert_problem(400, "invalid_request");
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
    assert_eq!(tables_with(&system, CARD).await, Vec::<String>::new());
    let logged = system.apis[0].stderr();
    assert!(logged.contains("request"), "it logs: {logged}");
    let without_separators = logged.replace([' ', '.', '-'], "");
    assert!(!without_separators.contains(CARD), "{logged}");
}

#[tokio::test]
async fn what_only_looks_like_a_card_number_is_taken() {
    let system = a_talkative_api().await;
    for text in [
        "4242424242424241",
        "order 20240615",
        "tok_4242",
        "01900000-4242-4242-8424-000000000000",
        // All of these pass the Luhn check.
        "490154203237518",
        "36252187900034",
        "1717171717171",
        "DE89 4242 4242 4242 4242 00",
        "order-20261128-123455",
    ] {
        let request = a_payment().with("description", json!(text)).with("metadata", json!({"note": text}));

        system.pay(request).await.assert_status(202);
    }
}

#[tokio::test]
async fn keys_and_ids_of_a_merchant_s_own_may_be_any_numbers() {
    let system = a_talkative_api().await;
    for number in [CARD, "order-20261128-123455", "4242-4242-4242-4242", "6205500000000000004"] {
        let request = a_payment().key(number).customer(number).header("x-correlation-id", number);

        let answer = system.pay(request).await;

        let id = answer.payment_id();
        assert_eq!(answer.json()["customer_id"], number);
        let events = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
        assert_eq!(events["data"][0]["correlation_id"], number);
    }
    assert_eq!(system.stored().await, [4, 4, 4, 4]);
}
