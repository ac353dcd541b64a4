//! Why a refund is not taken up, and what the database refuses by itself.

use domain::ids::PaymentId;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tests::{Shape, System, a_payment};

use super::{at_rest, key, paid, refund, refund_id};
use crate::PROGRAM;

#[tokio::test]
async fn only_what_succeeded_is_given_back_and_a_refusal_that_rests_on_it_is_remembered() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let declined = system.accepted(a_payment().method("sim_declined")).await;
    let too_early = key();
    let early = refund(&system.client, id, &too_early, json!({})).await;
    assert_eq!(early.assert_problem(409, "payment_not_refundable")["payment"]["status"], "pending");
    system.add_worker::<&str>([]).await;
    system.ended(id).await;
    system.ended(declined).await;

    let repeated = refund(&system.client, id, &too_early, json!({})).await;
    assert_eq!(repeated.problem(), early.problem(), "also when it could be done by now");
    let failed = refund(&system.client, declined, &key(), json!({ "amount": "1" })).await;
    assert_eq!(failed.assert_problem(409, "payment_not_refundable")["payment"]["status"], "failed");

    // What is wrong by itself leaves nothing behind: the corrected request may use the key.
    let kept = key();
    for (body, field) in [
        (json!({ "amount": "0" }), "amount"),
        (json!({ "amount": "-1" }), "amount"),
        (json!({ "amount": "1.001" }), "amount"),
        (json!({ "amount": "a" }), "amount"),
        (json!({ "amount": "1", "currency": "EUR" }), "currency"),
        (json!({ "reason": "x".repeat(1001) }), "reason"),
        (json!({ "metadata": { "a": 1 } }), "metadata"),
    ] {
        let problem =
            refund(&system.client, id, &kept, body.clone()).await.assert_problem(400, "invalid_request");
        assert!(problem["errors"][0]["pointer"].as_str().unwrap().contains(field), "{body}: {problem}");
    }
    let stranger = system.another_merchant("second").await;
    refund(&stranger, id, &kept, json!({})).await.assert_problem(404, "not_found");
    refund(&system.client, PaymentId::generate(), &kept, json!({})).await.assert_problem(404, "not_found");
    let taken = refund_id(&refund(&system.client, id, &kept, json!({ "amount": "1" })).await);
    stranger.get(&format!("/v1/refunds/{taken}")).await.assert_problem(404, "not_found");
    stranger.get(&format!("/v1/payments/{id}/refunds")).await.assert_problem(404, "not_found");
    let path = format!("/v1/payments/{id}/refunds");
    let keyless = system.client.request(reqwest::Method::POST, &path).json(&json!({}));
    tests::client::answer(keyless).await.unwrap().assert_problem(400, "idempotency_key_missing");
}

#[tokio::test]
async fn the_database_itself_refuses_what_no_refund_may_do() {
    let system = System::start(PROGRAM).await;
    let id = paid(&system, "sim_ok").await;
    let done = refund_id(&refund(&system.client, id, &key(), json!({ "amount": "5.00" })).await);
    at_rest(&system, &done).await;
    let op = format!("'{}'", done.parse::<domain::ids::OperationId>().unwrap().uuid());
    let payment = format!("'{}'", id.uuid());
    for (statement, why) in [
        (format!("update refund_totals set reserved = 12, version = version + 1 where payment_id = {payment}"),
         "refund_totals_within_the_captured"),
        (format!("update refund_totals set refunded = 1, version = version + 1 where payment_id = {payment}"),
         "what was given back stays given back"),
        (format!("update refund_totals set captured = 100, version = version + 1 where payment_id = {payment}"),
         "what was given back stays given back"),
        (format!("update operations set status = 'failed', version = version + 1 where id = {op}"),
         "an operation that is over never changes"),
        (format!("delete from operations where id = {op}"), "operations are never deleted"),
        (format!("update operation_events set reason = 'x' where operation_id = {op}"), "append-only"),
        (format!("update operation_transfers set amount = 1 where operation_id = {op}"), "another transfer"),
        (format!("insert into operation_transfers select operation_id, 'refund_released', debit_account_id, credit_account_id, amount,
                         currency, created_at from operation_transfers where operation_id = {op} limit 1"),
         "no operation has come to that"),
        (format!("insert into operations (id, payment_id, merchant_id, kind, origin, amount, currency, gateway, gateway_key, charge_id,
                         metadata, correlation_id, created_at, status, may_send, version, updated_at, gateway_transaction_id, terminal_at)
                  select gen_random_uuid(), payment_id, merchant_id, kind, origin, amount, currency, gateway, gateway_key || 'x', charge_id,
                         metadata, correlation_id, created_at, status, may_send, version, updated_at, gateway_transaction_id, terminal_at
                    from operations where id = {op}"),
         "operations_one_effect"),
    ] {
        let refused = sqlx::query(AssertSqlSafe(statement.clone())).execute(&system.database.pool).await;
        let said = refused.map_or_else(|error| error.to_string(), |_| "nothing".to_owned());
        assert!(said.contains(why), "{statement}: {said}");
    }
}
