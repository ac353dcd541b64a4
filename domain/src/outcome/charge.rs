//! A charge as the gateway shows it, and whose it is.

use rust_decimal::Decimal;

use super::Refusal;
use crate::ids::{GatewayKey, PaymentId};
use crate::money::Money;

/// What a charge must look like to be this payment's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The gateway key that all its charges are made under.
    pub key: GatewayKey,
    /// The payment's id, which is the reference of its charges.
    pub payment_id: PaymentId,
    /// The amount and currency that are owed.
    pub money: Money,
}

/// A charge as the gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The gateway's own id of the charge.
    pub id: String,
    /// The idempotency key that it was made under.
    pub key: String,
    /// Where it stands at the gateway.
    pub status: ChargeStatus,
    /// How much.
    pub amount: Decimal,
    /// The currency code as the gateway writes it.
    pub currency: String,
    /// What we called it.
    pub reference: Option<String>,
    /// Why it was declined, where the gateway says so.
    pub decline: Option<Refusal>,
}

/// Where a charge stands at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeStatus {
    /// The charge is not decided.
    Pending,
    /// The money was taken.
    Succeeded,
    /// The charge was declined.
    Failed,
    /// Undone by a void, which closed its key.
    Voided,
    /// Given back after it had succeeded.
    Refunded,
    /// A status that this version does not know. It is read as none of the others.
    Other,
}

/// Whose a charge is, by its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// It is this payment's.
    Ours,
    /// It is another payment's, which may be known or forgotten here.
    Another(PaymentId),
    /// It has no reference, or one that is no payment's id.
    Nobodys,
}

impl Whose {
    /// Reads a charge's reference for `payment`.
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
    #[must_use]
    pub(crate) fn is_under(&self, expected: &Expected) -> bool {
        self.key == expected.key.as_str()
    }

    /// Whether it was made under our key for what is owed, whatever it is called.
    #[must_use]
    pub(crate) fn is_as_owed(&self, expected: &Expected) -> bool {
        self.is_under(expected)
            && self.amount == expected.money.amount()
            && self.currency == expected.money.currency().code()
            && super::is_storable(&self.id)
    }

    /// Whose it is.
    #[must_use]
    pub fn whose(&self, expected: &Expected) -> Whose {
        Whose::of(self.reference.as_deref(), expected.payment_id)
    }
}
