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
    /// The amount that is owed, and its currency.
    pub money: Money,
    /// The merchant's own id of the customer.
    pub customer_id: String,
    /// The token of the payment method to charge.
    pub payment_method: String,
    /// The merchant's free text, if there is any.
    pub description: Option<String>,
    /// The merchant's own names and values.
    pub metadata: BTreeMap<String, String>,
}

/// A request as it was stored, which never changes. The first answer to a client and every replay of it are
/// rendered from this alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table `payments` that an acceptance writes")]
pub struct Accepted {
    pub id: Uuid,
    pub customer_id: String,
    pub amount: Decimal,
    pub currency: String,
    pub payment_method: String,
    pub description: Option<String>,
    /// A JSON object whose values are strings.
    pub metadata: Value,
    pub created_at: DateTime<Utc>,
    /// Where the payment stood when it had been accepted.
    pub first: First,
}

/// Where a payment stood when it had been accepted, which the first answer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// It waits for its first attempt.
    Pending,
    /// It waits for a person, as the rules of risk want.
    InReview,
    /// The rules of risk refused it.
    Denied,
    /// It was paid from a balance.
    Paid,
    /// The account had too little. With what it had available.
    Short(Value),
}

impl First {
    /// Reads it from what an acceptance wrote; nothing was written of a payment that waits for its attempt.
    #[must_use]
    pub fn of(accepted_as: Option<Value>) -> Self {
        let Some(mut facts) = accepted_as else { return Self::Pending };
        match facts["outcome"].as_str() {
            Some("in_review") => Self::InReview,
            Some("denied") => Self::Denied,
            Some("paid") => Self::Paid,
            Some("short") => Self::Short(facts["available"].take()),
            _ => Self::Pending,
        }
    }
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The SHA-256 of the normalised request that took the key.
    pub fingerprint: Vec<u8>,
    /// The number of the renderer that made the first answer.
    pub renderer: i16,
    /// The payment that the request made.
    pub accepted: Accepted,
}
