//! The state of one idempotency key, and of the charges under it.
//!
//! Invariant: a decision depends on this alone, and all of it is in the database. A key belongs to the first
//! charge call that was counted under it, and a closed key stays closed.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::act::Act;
use crate::refund::Refund;
use crate::request::ChargeRequest;

/// Everything the gateway remembers about a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyState {
    pub(crate) key: String,
    /// What the first charge call asked for. None where there was no charge call yet.
    pub(crate) asked: Option<Asked>,
    /// How many charge calls the payment method's script has seen, counted to the script's length.
    pub(crate) charge_calls: i32,
    /// How many lookups were spoilt by a payment method with failing lookups.
    pub(crate) lookup_calls: i32,
    /// Whether the key was voided: no charge happens under it any more.
    pub(crate) closed: bool,
    /// The charges, oldest first. There is more than one only where the key check was switched off.
    pub(crate) charges: Vec<Charge>,
    /// The refunds of these charges, oldest first.
    pub(crate) refunds: Vec<Refund>,
    /// Their returns and disputes, oldest first.
    pub(crate) acts: Vec<Act>,
}

/// The facts that a repeated charge call must repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) payment_method: String,
}

/// One charge under a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) status: ChargeStatus,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) reference: String,
    /// Why it failed, or will fail at `decide_at`. None for a charge that succeeds.
    pub(crate) decline: Option<Decline>,
    /// When an arriving or pending charge is decided. None for a charge that is decided.
    pub(crate) decide_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
}

/// Where a charge stands. Only `arriving` and `pending` move on by themselves, at their `decide_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChargeStatus {
    /// On its way and hidden. It becomes succeeded in time, or `refused` by a void that comes first.
    Arriving,
    /// Answered 202. It becomes succeeded or failed in time, or `voided` by a void that comes first.
    Pending,
    /// In effect. Only a void moves it, to `voided`.
    Succeeded,
    /// Declined by the issuer. Final.
    Failed,
    /// Undone by a void. Final.
    Voided,
    /// Refused, as it came too late, to a key already closed. It never had an effect and stays hidden. Final.
    Refused,
}

/// Why a card was not charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decline {
    /// The issuer refused the charge.
    CardDeclined,
    /// The card is short of money.
    InsufficientFunds,
}

impl KeyState {
    /// A key that was never used.
    pub(crate) fn unused(key: String) -> KeyState {
        KeyState {
            key,
            asked: None,
            charge_calls: 0,
            lookup_calls: 0,
            closed: false,
            charges: Vec::new(),
            refunds: Vec::new(),
            acts: Vec::new(),
        }
    }
}

impl Asked {
    /// Whether `request` asks for the same thing again, under any reference.
    pub(crate) fn is_repeated_by(&self, request: &ChargeRequest) -> bool {
        (self.amount, &self.currency, &self.payment_method)
            == (request.amount, &request.currency, &request.payment_method)
    }
}

impl Charge {
    /// The HTTP status that answers a charge call with this charge.
    pub(crate) fn answer_status(&self) -> u16 {
        match self.status {
            ChargeStatus::Succeeded => 201,
            ChargeStatus::Arriving | ChargeStatus::Pending => 202,
            ChargeStatus::Failed => 402,
            ChargeStatus::Voided | ChargeStatus::Refused => 409,
        }
    }

    /// The decline that answers a charge call with this charge, if it failed.
    pub(crate) fn answered_decline(&self) -> Option<Decline> {
        self.decline.filter(|_| self.status == ChargeStatus::Failed)
    }

    /// Whether lookups show it.
    pub(crate) fn is_listed(&self) -> bool {
        match self.status {
            ChargeStatus::Pending | ChargeStatus::Succeeded | ChargeStatus::Failed | ChargeStatus::Voided => {
                true
            }
            ChargeStatus::Arriving | ChargeStatus::Refused => false,
        }
    }
}

impl ChargeStatus {
    const ALL: [ChargeStatus; 6] = [
        ChargeStatus::Arriving,
        ChargeStatus::Pending,
        ChargeStatus::Succeeded,
        ChargeStatus::Failed,
        ChargeStatus::Voided,
        ChargeStatus::Refused,
    ];

    /// The word for it, in the database and in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ChargeStatus::Arriving => "arriving",
            ChargeStatus::Pending => "pending",
            ChargeStatus::Succeeded => "succeeded",
            ChargeStatus::Failed => "failed",
            ChargeStatus::Voided => "voided",
            ChargeStatus::Refused => "refused",
        }
    }

    /// The status that `word` names. None for an unknown word.
    pub(crate) fn parse(word: &str) -> Option<ChargeStatus> {
        ChargeStatus::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl Decline {
    const ALL: [Decline; 2] = [Decline::CardDeclined, Decline::InsufficientFunds];

    /// The code for it, in the database and in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Decline::CardDeclined => "card_declined",
            Decline::InsufficientFunds => "insufficient_funds",
        }
    }

    /// The sentence for it in answers.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Decline::CardDeclined => "the card was declined",
            Decline::InsufficientFunds => "the card has insufficient funds",
        }
    }

    /// The reason that `word` names. None for an unknown word.
    pub(crate) fn parse(word: &str) -> Option<Decline> {
        Decline::ALL.into_iter().find(|decline| decline.as_str() == word)
    }
}
