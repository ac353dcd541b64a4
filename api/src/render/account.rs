//! How accounts, transfers and entries look to clients.

use chrono::{DateTime, Utc};
use domain::account::TransferStatus;
use domain::ids::{AccountId, TransferId};
use serde::Serialize;
use shared::account::Transfer;
use shared::account::store::{Account, Balance, Entry};
use shared::platform::time::rfc3339;

/// An account; its fields stand in the order in which they are read.
#[derive(Serialize)]
pub(crate) struct AccountView<'a> {
    id: AccountId,
    object: &'static str,
    owner: &'a str,
    external_id: Option<&'a str>,
    currency: &'a str,
    allow_negative: bool,
    posted: &'a str,
    pending_in: &'a str,
    pending_out: &'a str,
    available: &'a str,
    version: i64,
    created_at: String,
    updated_at: String,
}

/// A transfer.
#[derive(Serialize)]
pub(crate) struct TransferView<'a> {
    id: TransferId,
    object: &'static str,
    status: &'a str,
    from: AccountId,
    to: AccountId,
    amount: String,
    currency: &'a str,
    posted_amount: Option<String>,
    expires_at: Option<String>,
    group: Option<TransferId>,
    created_at: String,
    ended_at: Option<String>,
}

/// One change of an account.
#[derive(Serialize)]
pub(crate) struct EntryView<'a> {
    object: &'static str,
    version: i64,
    transfer: TransferId,
    #[serde(rename = "type")]
    code: &'a str,
    side: &'a str,
    amount: &'a str,
    posted: &'a str,
    pending_in: &'a str,
    pending_out: &'a str,
    available: &'a str,
    at: String,
}

/// An account as it stands.
pub(crate) fn account(account: &Account) -> AccountView<'_> {
    balance(account, &account.balance)
}

/// An account with another balance than that of now.
pub(crate) fn balance<'a>(account: &'a Account, balance: &'a Balance) -> AccountView<'a> {
    AccountView {
        id: account.id.into(),
        object: "account",
        owner: &account.owner,
        external_id: account.external_id.as_deref(),
        currency: &account.currency,
        allow_negative: account.allow_negative,
        posted: &balance.posted,
        pending_in: &balance.pending_in,
        pending_out: &balance.pending_out,
        available: &balance.available,
        version: balance.version,
        created_at: rfc3339(account.created_at),
        updated_at: rfc3339(balance.at.unwrap_or(account.created_at)),
    }
}

/// The first answer to who opened an account, and every repetition of it: how it stood then. Like all first
/// answers it is of renderer 1, and stays as it is for ever. `zero` has the digits of the currency.
pub(crate) fn opened<'a>(account: &'a Account, zero: &'a str) -> AccountView<'a> {
    AccountView {
        posted: zero,
        pending_in: zero,
        pending_out: zero,
        available: zero,
        version: 0,
        updated_at: rfc3339(account.created_at),
        ..self::account(account)
    }
}

/// A transfer as it stands.
pub(crate) fn transfer(transfer: &Transfer) -> TransferView<'_> {
    TransferView {
        id: transfer.id.into(),
        object: "transfer",
        status: &transfer.status,
        from: transfer.debited.into(),
        to: transfer.credited.into(),
        amount: transfer.amount.to_string(),
        currency: &transfer.currency,
        posted_amount: transfer.posted_amount.map(|amount| amount.to_string()),
        expires_at: transfer.expires_at.map(rfc3339),
        group: transfer.group_id.map(TransferId::from),
        created_at: rfc3339(transfer.created_at),
        ended_at: transfer.ended_at.map(rfc3339),
    }
}

/// The first answer to who asked for a transfer, and every repetition of it: how it stood then. This is
/// renderer 1, and stays as it is for ever.
pub(crate) fn created(transfer: &Transfer) -> TransferView<'_> {
    let now = self::transfer(transfer);
    match transfer.expires_at {
        None => now,
        Some(_) => TransferView {
            status: TransferStatus::Pending.as_str(),
            posted_amount: None,
            ended_at: None,
            ..now
        },
    }
}

/// One change of an account.
pub(crate) fn entry(entry: &Entry) -> EntryView<'_> {
    EntryView {
        object: "entry",
        version: entry.version,
        transfer: entry.transfer_id.into(),
        code: &entry.code,
        side: &entry.side,
        amount: &entry.amount,
        posted: &entry.posted,
        pending_in: &entry.pending_in,
        pending_out: &entry.pending_out,
        available: &entry.available,
        at: rfc3339(entry.at),
    }
}

/// The newest time that a transfer tells of.
pub(crate) fn newest(transfer: &Transfer) -> DateTime<Utc> {
    transfer.ended_at.unwrap_or(transfer.created_at)
}
