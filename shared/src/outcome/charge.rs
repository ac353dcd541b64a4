//! A charge as the gateway shows it, and what it must look like to be ours.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::ids::PaymentId;
use crate::money::Money;

/// What a charge must look like to be ours.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Key and reference of the charge.
    pub payment_id: PaymentId,
    /// What is owed.
    pub money: Money,
}

/// A charge as the gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Charge {
    /// The gateway's own id.
    pub id: String,
    /// The idempotency key it was made under.
    pub key: String,
    /// Where it stands at the gateway.
    pub status: ChargeStatus,
    /// How much.
    #[serde(deserialize_with = "crate::money::exact")]
    pub amount: Decimal,
    /// Of what.
    pub currency: String,
    /// What we called it.
    pub reference: String,
}

/// Where a charge stands at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// Not decided.
    Pending,
    /// Money moved.
    Succeeded,
    /// Declined.
    Failed,
    /// Undone.
    Voided,
}

impl Charge {
    /// Whether it is for exactly this payment: key, reference, amount and currency.
    pub(super) fn is_for(&self, expected: &Expected) -> bool {
        let key = expected.payment_id.to_string();
        self.key == key
            && self.reference == key
            && self.amount == expected.money.amount()
            && self.currency == expected.money.currency().code()
            && super::is_storable(&self.id)
    }
}
