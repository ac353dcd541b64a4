//! What is asked of us: a payment as a client asks for it, and as it was stored.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use crate::money::Money;

/// What a client asks for, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRequest {
    /// How much, of what.
    pub money: Money,
    /// The merchant's own id of who pays.
    pub customer_id: String,
    /// The token to charge.
    pub payment_method: String,
    /// Free text.
    pub description: Option<String>,
    /// Names and values of the merchant's own.
    pub metadata: BTreeMap<String, String>,
}

/// What was asked for, as it was stored: never changes. The first answer to a client, and every replay of it, is
/// drawn from this alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The payment's id.
    pub id: Uuid,
    /// The merchant's own id of who pays.
    pub customer_id: String,
    /// How much.
    pub amount: Decimal,
    /// Of what; ISO 4217.
    pub currency: String,
    /// The token to charge.
    pub payment_method: String,
    /// Free text of the merchant.
    pub description: Option<String>,
    /// A JSON object of strings.
    pub metadata: Value,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// SHA-256 of the request that took the key.
    pub fingerprint: Vec<u8>,
    /// Which renderer made the first answer.
    pub renderer: i16,
    /// What that request made.
    pub accepted: Accepted,
}
