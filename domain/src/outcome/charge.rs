//! A charge as the gateway shows it, and whose it is.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::ids::{GatewayKey, PaymentId};
use crate::money::Money;

/// What a charge must look like to be ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What it was made under.
    pub key: GatewayKey,
    /// What it is called there.
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
    #[serde(default)]
    pub reference: Option<String>,
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

/// Whose a charge is, by what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This payment's.
    Ours,
    /// That of another payment: one that is forgotten here, or one that is known.
    Another(PaymentId),
    /// It is called by no payment's id, or by nothing.
    Nobodys,
}

impl Whose {
    /// Whose a charge of that reference is, for `payment`.
    #[must_use]
    pub fn of(reference: Option<&str>, payment: PaymentId) -> Self {
        match reference.map(str::parse) {
            Some(Ok(named)) if named == payment => Self::Ours,
            Some(Ok(named)) => Self::Another(named),
            Some(Err(_)) | None => Self::Nobodys,
        }
    }
}

impl Charge {
    /// Whether it was made under our key.
    pub(super) fn is_under(&self, expected: &Expected) -> bool {
        self.key == expected.key.as_str()
    }

    /// Whether it was made under our key for what is owed, whatever it is called.
    pub(super) fn is_as_owed(&self, expected: &Expected) -> bool {
        self.is_under(expected)
            && self.amount == expected.money.amount()
            && self.currency == expected.money.currency().code()
            && super::is_storable(&self.id)
    }

    /// Whose it is.
    pub(super) fn whose(&self, expected: &Expected) -> Whose {
        Whose::of(self.reference.as_deref(), expected.payment_id)
    }
}
