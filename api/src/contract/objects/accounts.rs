//! What merchants send and get about the accounts of their customers.

use domain::account::{EntryCode, GROUP_MAX, TransferStatus};

use super::payments::{currencies, currencies_of_new_payments};
use super::{Field, Kind, Schema, at, id, maybe_at, object, text};

fn statuses_of_transfers() -> Vec<&'static str> {
    TransferStatus::ALL.iter().map(|it| it.as_str()).collect()
}

fn entry_codes() -> Vec<&'static str> {
    EntryCode::ALL.iter().map(|it| it.as_str()).collect()
}

fn sides() -> Vec<&'static str> {
    vec!["debit", "credit"]
}

const OWNER: Field =
    Field::new("owner", Kind::Length(1, 255), "Your id of the customer whose account it is.");
const EXTERNAL_ID: Field = Field::asked(
    "external_id",
    Kind::Length(1, 255),
    "The number or name that another system of yours knows it by. No two accounts of yours have the same.",
);
const CURRENCY: Field = Field::new(
    "currency",
    Kind::Word(currencies_of_new_payments),
    "The currency of the account, by ISO 4217. It never changes.",
);

pub(crate) static ACCOUNT_REQUEST: Schema = Schema {
    name: "AccountRequest",
    about: "An account to open.",
    fields: &[CURRENCY, OWNER, EXTERNAL_ID],
    example: r#"{"currency":"EUR","owner":"cus_1"}"#,
};

pub(crate) static FUNDING_REQUEST: Schema = Schema {
    name: "FundingAccountRequest",
    about: "An account to open for a merchant, by an operator.",
    fields: &[
        CURRENCY,
        OWNER,
        EXTERNAL_ID,
        Field::asked(
            "allow_negative",
            Kind::Flag,
            "Whether it may owe. By such accounts money comes into a book.",
        ),
    ],
    example: "",
};

const BALANCES: [Field; 5] = [
    Field::new("posted", Kind::Amount, "What came in, less what went out."),
    Field::new("pending_in", Kind::Amount, "What holds of others may bring in."),
    Field::new("pending_out", Kind::Amount, "What holds of its own may take."),
    Field::new("available", Kind::Amount, "What can be taken now: `posted` less `pending_out`."),
    Field::new("version", Kind::Range(0, i64::MAX), "The number of its entries."),
];

pub(crate) static ACCOUNT: Schema = Schema {
    name: "Account",
    about: "An account of a customer, with its balance.",
    fields: &{
        let [posted, pending_in, pending_out, available, version] = BALANCES;
        [
            id("acc_", "The id of the account."),
            object("account"),
            text("owner", "Your id of the customer."),
            Field::or_null(
                "external_id",
                Kind::Text,
                "The number or name that another system of yours knows it by. Null if it has none.",
            ),
            Field::new("currency", Kind::Word(currencies), "The currency."),
            Field::new("allow_negative", Kind::Flag, "Whether it may owe."),
            posted,
            pending_in,
            pending_out,
            available,
            version,
            at("created_at", "When it was opened."),
            at("updated_at", "When it last changed."),
        ]
    },
    example: "",
};

pub(crate) static ENTRY: Schema = Schema {
    name: "Entry",
    about: "One change of an account, with the balance after it.",
    fields: &{
        let [posted, pending_in, pending_out, available, _] = BALANCES;
        [
            object("entry"),
            Field::new("version", Kind::Range(1, i64::MAX), "The number of the entry within its account."),
            Field::new("transfer", Kind::Id("trf_"), "The transfer that made it."),
            Field::new("type", Kind::Word(entry_codes), "What happened."),
            Field::new("side", Kind::Word(sides), "Which side of the account changed."),
            Field::new("amount", Kind::Amount, "By how much."),
            posted,
            pending_in,
            pending_out,
            available,
            at("at", "When."),
        ]
    },
    example: "",
};

const TRANSFER_FIELDS: [Field; 6] = [
    Field::new("from", Kind::Id("acc_"), "The account that pays."),
    Field::new("to", Kind::Id("acc_"), "The account that gets it."),
    Field::new(
        "amount",
        Kind::AmountIn,
        "How much, above zero, with at most as many decimal places as the currency.",
    ),
    Field::new("currency", Kind::Word(currencies), "The currency of both accounts."),
    Field::asked("pending", Kind::Flag, "Whether it is only reserved, and posted or voided later."),
    Field::asked(
        "expires_at",
        Kind::Time,
        "When what is reserved goes back: at most 90 days away; 7 days if left out.",
    ),
];

pub(crate) static TRANSFER_REQUEST: Schema = Schema {
    name: "TransferRequest",
    about: "A transfer between two accounts of yours.",
    fields: &TRANSFER_FIELDS,
    example: "",
};

pub(crate) static GROUP_REQUEST: Schema = Schema {
    name: "TransferGroupRequest",
    about: "1 to 100 transfers that happen together or not at all.",
    fields: &[Field::new(
        "transfers",
        Kind::Between(1, GROUP_MAX, &Kind::One(&TRANSFER_REQUEST)),
        "The transfers, in their order.",
    )],
    example: "",
};

pub(crate) static TRANSFER: Schema = Schema {
    name: "Transfer",
    about: "A transfer, and where it stands.",
    fields: &[
        id("trf_", "The id of the transfer."),
        object("transfer"),
        Field::new("status", Kind::Word(statuses_of_transfers), "Where it stands."),
        Field::new("from", Kind::Id("acc_"), "The account that pays."),
        Field::new("to", Kind::Id("acc_"), "The account that gets it."),
        Field::new("amount", Kind::Amount, "What was asked for."),
        Field::new("currency", Kind::Word(currencies), "The currency."),
        Field::or_null(
            "posted_amount",
            Kind::Amount,
            "What was moved. Null while it is pending, or if nothing was.",
        ),
        maybe_at("expires_at", "When what it reserves goes back. Null if it never was pending."),
        Field::or_null(
            "group",
            Kind::Id("trf_"),
            "The first transfer of its group. Null if it was asked for alone.",
        ),
        at("created_at", "When it was made."),
        maybe_at("ended_at", "When it was posted, voided or expired. Null while it is pending."),
    ],
    example: "",
};

pub(crate) static POSTING_REQUEST: Schema = Schema {
    name: "PostingRequest",
    about: "How much of a hold is moved.",
    fields: &[Field::asked(
        "amount",
        Kind::AmountIn,
        "As much as this; all of it if it is left out. The rest goes back.",
    )],
    example: "",
};
