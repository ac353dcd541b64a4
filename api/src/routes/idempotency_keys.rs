//! Idempotency keys: what became of a request whose answer was lost.

use axum::extract::State;
use axum::{Json, Router};
use domain::idempotency::{CREATE_PAYMENT, Key};
use domain::ids::PaymentId;
use domain::request::{First, Remembered};
use serde_json::{Value, json};
use shared::database::standby;
use shared::payment::store;
use shared::platform::time::rfc3339;

use super::merchant::Merchant;
use crate::contract::{Serve as _, operations};
use crate::problem::Problem;
use crate::query::Params;
use crate::{App, render};

pub(super) fn router() -> Router<App> {
    Router::new().serve(&operations::GET_IDEMPOTENCY_KEY, read)
}

/// The operations that take a key. The scope of each has a customer.
const OPERATIONS: [&str; 1] = [CREATE_PAYMENT];

/// `GET /v1/idempotency-keys`: what is recorded under a key, about that customer.
async fn read(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    mut params: Params,
) -> Result<Json<Value>, Problem> {
    let wants = "1 to 255 visible ASCII characters, bare or as a quoted string";
    let key = params.needed("key", wants, |key| Key::parse(key.as_bytes()).ok());
    let operation = params.word("operation", &OPERATIONS).unwrap_or_else(|| CREATE_PAYMENT.to_owned());
    let wants = "the customer of the request, a text without U+0000";
    let customer_id = params.needed("customer_id", wants, |id| (!id.contains('\0')).then(|| id.to_owned()));
    params.end()?;
    // What is missing is a fault.
    let (Some(key), Some(customer_id)) = (key, customer_id) else { return Err(Problem::Internal) };
    let found = store::remembered(&app.pool, merchant, &customer_id, &key).await?;
    let remembered = found.ok_or(Problem::KeyNotFound)?;
    standby::before_telling(&app.pool, remembered.accepted.created_at).await?;
    shown(&key, &operation, &remembered).map(Json)
}

/// A key, the payment that it made, and the answer that every repeat of the request gets.
fn shown(key: &Key, operation: &str, remembered: &Remembered) -> Result<Value, Problem> {
    let accepted = &remembered.accepted;
    Ok(json!({
        "object": "idempotency_key",
        "key": key.as_str(),
        "operation": operation,
        "customer_id": accepted.customer_id,
        "payment_id": PaymentId::from(accepted.id),
        "created_at": rfc3339(accepted.created_at),
        "outcome": {
            "status": match accepted.first {
                First::Pending | First::InReview | First::Denied => 202,
                First::Paid => 201,
                First::Short(_) => 422,
            },
            "body": render::first_answer(accepted, remembered.renderer)?,
        },
    }))
}
