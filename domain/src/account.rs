//! Accounts of a merchant's own customers: what may be asked of them, and why it may be refused.
//!
//! Invariant: what is refused because of a balance, or of the state of a transfer, is an outcome, and stands
//! under its key for ever. What cannot be understood, or names what does not exist, leaves nothing behind.
//! The function `move_money` of the database decides, since it reads what it has locked.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};

use crate::ids::{AccountId, TransferId};
use crate::money::Money;
use crate::words;

/// The most transfers that happen together or not at all.
pub const GROUP_MAX: usize = 100;

/// How long a hold lasts where its end is not said.
pub const HOLD_DEFAULT: TimeDelta = TimeDelta::days(7);

/// The longest time that a hold may last. None lasts for ever: what is reserved must come back.
pub const HOLD_MAX: TimeDelta = TimeDelta::days(90);

/// The operation under which `POST /v1/accounts` records its keys.
pub const OPEN_ACCOUNT: &str = "open_account";
/// The operation under which `POST /v1/transfers` records its keys.
pub const CREATE_TRANSFER: &str = "create_transfer";
/// The operation under which an administrator opens accounts.
pub const OPEN_ACCOUNT_AS_ADMIN: &str = "open_account_as_admin";
/// The operation under which a hold is posted. The key's scope includes the transfer.
pub const POST_TRANSFER: &str = "post_transfer";
/// The operation under which a hold is voided. The key's scope includes the transfer.
pub const VOID_TRANSFER: &str = "void_transfer";

words! {
    /// Where a transfer stands.
    TransferStatus {
        /// The amount is reserved: the one account cannot spend it, and the other does not have it yet.
        Pending = "pending",
        /// Money moved, for good.
        Posted = "posted",
        /// What was reserved went back, because somebody said so.
        Voided = "voided",
        /// What was reserved went back, because its time was over.
        Expired = "expired",
    }
}

words! {
    /// How a transfer changes its two accounts, on either side. A transfer has at most one of each.
    EntryCode {
        /// It posts the amount at once.
        Transfer = "transfer",
        /// It reserves the amount.
        Pending = "pending",
        /// It posts what was reserved, or a part of it, and gives back the rest.
        Post = "post",
        /// It gives back what was reserved, because somebody said so.
        Void = "void",
        /// It gives back what was reserved, because its time was over.
        Expire = "expire",
    }
}

words! {
    /// Why nothing moved. If several are true at once, the first of them is told.
    Refusal {
        /// Both sides of the transfer are one account.
        AccountsAreTheSame = "accounts_are_the_same",
        /// The merchant has no such account.
        AccountNotFound = "account_not_found",
        /// The merchant has no such transfer.
        TransferNotFound = "transfer_not_found",
        /// An account is in another currency than the transfer.
        CurrencyMismatch = "currency_mismatch",
        /// The hold would end before it began, or last too long.
        ExpiryOutOfRange = "expiry_out_of_range",
        /// The amount to post has more digits than the currency.
        TooManyDigits = "too_many_digits",
        /// The hold's time is over.
        TransferExpired = "transfer_expired",
        /// The transfer has ended by something else, or never was a hold.
        TransferNotPending = "transfer_not_pending",
        /// More is to be posted than is reserved.
        AmountExceedsPending = "amount_exceeds_pending",
        /// The account has less available than is to be taken.
        InsufficientFunds = "insufficient_funds",
        /// Another transfer of the same group was refused.
        LinkedTransferFailed = "linked_transfer_failed",
    }
}

impl Refusal {
    /// Whether the key remembers it. The others are as a request that cannot be understood: the corrected one
    /// may use the same key.
    #[must_use]
    pub const fn is_remembered(self) -> bool {
        match self {
            Self::AccountsAreTheSame
            | Self::AccountNotFound
            | Self::TransferNotFound
            | Self::CurrencyMismatch
            | Self::ExpiryOutOfRange
            | Self::TooManyDigits => false,
            Self::TransferExpired
            | Self::TransferNotPending
            | Self::AmountExceedsPending
            | Self::InsufficientFunds
            | Self::LinkedTransferFailed => true,
        }
    }
}

/// A transfer as it was read, with no rules applied but those of its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedTransfer {
    /// The account that the money is taken from.
    pub from: AccountId,
    /// The account that it goes to.
    pub to: AccountId,
    /// Any number.
    pub amount: Decimal,
    /// The currency code as the client wrote it.
    pub currency: String,
    /// Until when the money is only reserved. None if it moves at once.
    pub hold: Option<HoldEnd>,
}

/// A transfer that is asked for, checked as far as no account has to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransfer {
    /// The id that the transfer will have, if its key is free.
    pub id: TransferId,
    /// The account that the money is taken from.
    pub from: AccountId,
    /// The account that it goes to.
    pub to: AccountId,
    /// How much of what.
    pub money: Money,
    /// Until when the money is only reserved. None if it moves at once.
    pub hold: Option<HoldEnd>,
}

/// When a hold ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEnd {
    /// At this time.
    At(DateTime<Utc>),
    /// After [`HOLD_DEFAULT`], since the request does not say.
    ByDefault,
}

/// The SHA-256 of transfers that are asked for under one key. A group of one is another request than that one
/// alone.
#[must_use]
pub fn fingerprint_of_transfers(transfers: &[UncheckedTransfer], is_group: bool) -> [u8; 32] {
    let each = |it: &UncheckedTransfer| {
        let hold = it.hold.map(|end| match end {
            HoldEnd::At(at) => at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            HoldEnd::ByDefault => "default".to_owned(),
        });
        serde_json::json!([it.from, it.to, it.amount.normalize().to_string(), it.currency, hold])
    };
    let transfers: Vec<_> = transfers.iter().map(each).collect();
    digest(&serde_json::json!([is_group, transfers]))
}

/// The SHA-256 of what is to become of a hold. Without an amount, that is all of it.
#[must_use]
pub fn fingerprint_of_act(amount: Option<Decimal>) -> [u8; 32] {
    digest(&serde_json::json!([amount.map(|amount| amount.normalize().to_string())]))
}

/// The SHA-256 of an account that is to be opened. Without an external id it is as it was before there were
/// any.
#[must_use]
pub fn fingerprint_of_account(
    currency: &str,
    owner: &str,
    allow_negative: bool,
    external_id: Option<&str>,
) -> [u8; 32] {
    match external_id {
        None => digest(&serde_json::json!([currency, owner, allow_negative])),
        Some(id) => digest(&serde_json::json!([currency, owner, allow_negative, id])),
    }
}

fn digest(normalised: &serde_json::Value) -> [u8; 32] {
    Sha256::digest(normalised.to_string()).into()
}
