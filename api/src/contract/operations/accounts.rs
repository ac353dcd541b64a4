//! Accounts of merchants' customers, and transfers between them.

use super::*;

pub(super) const ALL: &[&Operation] = &[
    &OPEN_ACCOUNT,
    &LIST_ACCOUNTS,
    &GET_ACCOUNT,
    &LIST_ACCOUNT_ENTRIES,
    &CREATE_TRANSFER,
    &GET_TRANSFER,
    &POST_TRANSFER,
    &VOID_TRANSFER,
    &OPEN_FUNDING_ACCOUNT,
];

const ACCOUNT_ID: Parameter = in_path("id", Kind::Id("acc_"), "The id of the account.");
const TRANSFER_ID: Parameter = in_path("id", Kind::Id("trf_"), "The id of the transfer.");

const KEYED: &[&str] = &["Idempotent-Replayed"];
const MADE: &[&str] = &["Location", "Idempotent-Replayed"];

const OPENED: &[Answer] = &[Answer {
    status: 201,
    about: "The account as it was opened. Every repeat has the same answer.",
    content: Content::One(&o::ACCOUNT),
    headers: MADE,
    links: &["get_account"],
}];

/// The problems of opening an account.
const OF_OPENING: &[Code] = &[
    Code::IdempotencyKeyMissing,
    Code::IdempotencyKeyInProgress,
    Code::IdempotencyKeyReused,
    Code::ExternalIdTaken,
];

pub(crate) static OPEN_ACCOUNT: Operation = Operation {
    id: "open_account",
    verb: Verb::Post,
    path: "/v1/accounts",
    caller: Caller::Merchant,
    about: "Opens an account for a customer, once per idempotency key.",
    takes: &[KEY],
    body: Some(Asked::One(&o::ACCOUNT_REQUEST)),
    answers: OPENED,
    problems: OF_OPENING,
};

pub(crate) static OPEN_FUNDING_ACCOUNT: Operation = Operation {
    id: "open_funding_account",
    verb: Verb::Post,
    path: "/v1/merchants/{id}/accounts",
    caller: Caller::Operator,
    about: "Opens an account for a merchant, also one that may owe. Money comes into a merchant's book by such \
            accounts, so no merchant opens one.",
    takes: &[in_path("id", Kind::Id("mer_"), "The id of the merchant."), KEY],
    body: Some(Asked::One(&o::FUNDING_REQUEST)),
    answers: OPENED,
    problems: OF_OPENING,
};

pub(crate) static LIST_ACCOUNTS: Operation = Operation {
    id: "list_accounts",
    verb: Verb::Get,
    path: "/v1/accounts",
    caller: Caller::Merchant,
    about: "Lists your customers' accounts, newest first.",
    takes: &[
        query("owner", Kind::Text, "Only accounts of this customer."),
        query("currency", Kind::Text, "Only accounts in this currency."),
        query("external_id", Kind::Text, "Only the account with this other id."),
        query("starting_after", Kind::Id("acc_"), "The last account of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of accounts.", Content::Page(&o::ACCOUNT))],
    problems: &[],
};

pub(crate) static GET_ACCOUNT: Operation = Operation {
    id: "get_account",
    verb: Verb::Get,
    path: "/v1/accounts/{id}",
    caller: Caller::Merchant,
    about: "Shows an account as it stands, or as it stood at a time.",
    takes: &[ACCOUNT_ID, query("at", Kind::Time, "A time that is not in the future.")],
    body: None,
    answers: &[ok("The account.", Content::One(&o::ACCOUNT))],
    problems: &[Code::AccountNotFound, Code::AccountBusy],
};

pub(crate) static LIST_ACCOUNT_ENTRIES: Operation = Operation {
    id: "list_account_entries",
    verb: Verb::Get,
    path: "/v1/accounts/{id}/entries",
    caller: Caller::Merchant,
    about: "Lists the changes of an account, oldest first.",
    takes: &[
        ACCOUNT_ID,
        query("starting_after", Kind::Number, "The version of the last entry of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of entries.", Content::Page(&o::ENTRY))],
    problems: &[Code::AccountNotFound],
};

pub(crate) static CREATE_TRANSFER: Operation = Operation {
    id: "create_transfer",
    verb: Verb::Post,
    path: "/v1/transfers",
    caller: Caller::Merchant,
    about: "Moves money between two accounts, or reserves it, once per idempotency key. Up to 100 transfers in one \
            request happen together or not at all. The transfer is done when it is answered. A refusal for want of \
            funds is remembered under the key.",
    takes: &[KEY],
    body: Some(Asked::Either(&o::TRANSFER_REQUEST, &o::GROUP_REQUEST)),
    answers: &[Answer {
        status: 201,
        about: "The transfer as it was made, or the list of those that were made together.",
        content: Content::OneOrPage(&o::TRANSFER),
        headers: KEYED,
        links: &["get_transfer"],
    }],
    problems: &[
        Code::IdempotencyKeyMissing,
        Code::IdempotencyKeyInProgress,
        Code::IdempotencyKeyReused,
        Code::AccountsAreTheSame,
        Code::AccountNotFound,
        Code::CurrencyMismatch,
        Code::ExpiryOutOfRange,
        Code::InsufficientFunds,
        Code::AccountBusy,
    ],
};

pub(crate) static GET_TRANSFER: Operation = Operation {
    id: "get_transfer",
    verb: Verb::Get,
    path: "/v1/transfers/{id}",
    caller: Caller::Merchant,
    about: "Shows a transfer as it stands now.",
    takes: &[TRANSFER_ID],
    body: None,
    answers: &[ok("The transfer.", Content::One(&o::TRANSFER))],
    problems: &[Code::TransferNotFound],
};

const ENDED: &[Answer] = &[Answer {
    status: 200,
    about: "The transfer, which has ended. A repeat of the act that won has the same answer, under whatever key.",
    content: Content::One(&o::TRANSFER),
    headers: KEYED,
    links: &[],
}];

pub(crate) static POST_TRANSFER: Operation = Operation {
    id: "post_transfer",
    verb: Verb::Post,
    path: "/v1/transfers/{id}/post",
    caller: Caller::Merchant,
    about: "Moves what a transfer reserves, or a part of it. The rest goes back.",
    takes: &[TRANSFER_ID, KEY],
    body: Some(Asked::One(&o::POSTING_REQUEST)),
    answers: ENDED,
    problems: &[
        Code::IdempotencyKeyMissing,
        Code::IdempotencyKeyInProgress,
        Code::IdempotencyKeyReused,
        Code::TransferNotFound,
        Code::TooManyDigits,
        Code::TransferExpired,
        Code::TransferNotPending,
        Code::TransferOfPayment,
        Code::AmountExceedsPending,
        Code::AccountBusy,
    ],
};

pub(crate) static VOID_TRANSFER: Operation = Operation {
    id: "void_transfer",
    verb: Verb::Post,
    path: "/v1/transfers/{id}/void",
    caller: Caller::Merchant,
    about: "Gives back what a transfer reserves.",
    takes: &[TRANSFER_ID, KEY],
    body: None,
    answers: ENDED,
    problems: &[
        Code::IdempotencyKeyMissing,
        Code::IdempotencyKeyInProgress,
        Code::TransferNotFound,
        Code::TransferExpired,
        Code::TransferNotPending,
        Code::TransferOfPayment,
        Code::AccountBusy,
    ],
};
