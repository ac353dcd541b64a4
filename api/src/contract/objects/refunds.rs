//! What is given back of a payment.

use domain::operation::OperationStatus;
use domain::status::HeldReason;

use super::{Field, Kind, Schema, at, id, maybe, maybe_at, object, text};

fn statuses() -> Vec<&'static str> {
    [OperationStatus::Pending, OperationStatus::Succeeded, OperationStatus::Failed]
        .map(|it| it.as_str())
        .to_vec()
}

fn of_disputes() -> Vec<&'static str> {
    [OperationStatus::Open, OperationStatus::Won, OperationStatus::Lost].map(|it| it.as_str()).to_vec()
}

fn origins() -> Vec<&'static str> {
    vec!["api", "gateway"]
}

fn held_reasons() -> Vec<&'static str> {
    HeldReason::ALL.iter().map(|it| it.as_str()).collect()
}

pub(crate) static REFUND_REQUEST: Schema = Schema {
    name: "RefundRequest",
    about: "What to give back.",
    fields: &[
        Field::asked(
            "amount",
            Kind::AmountIn,
            "How much, above zero, with at most as many decimal places as the currency of the payment has. All \
             that is left, if it is left out.",
        ),
        Field::asked("reason", Kind::Length(0, 1000), "Why."),
        Field::asked(
            "metadata",
            Kind::Texts,
            "Facts of your own: at most 50, with names of 1 to 40 characters and values of up to 500.",
        ),
    ],
    example: r#"{"amount":"2.50","reason":"damaged"}"#,
};

pub(crate) static REFUND: Schema = Schema {
    name: "Refund",
    about: "A refund of a payment, and where it stands.",
    fields: &[
        id("re_", "The id of the refund."),
        object("refund"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment that is given back."),
        Field::new("status", Kind::Word(statuses), "Where it stands. Both ends are final."),
        Field::new("amount", Kind::Amount, "How much, with the currency's decimal places."),
        text("currency", "The currency, by ISO 4217."),
        maybe("reason", "Why."),
        Field::new("metadata", Kind::Texts, "Facts of your own."),
        Field::new(
            "origin",
            Kind::Word(origins),
            "Who asked for it: `api`, or somebody at the gateway without Payonce.",
        ),
        Field::or_null(
            "held_reason",
            Kind::Word(held_reasons),
            "Why the refund waits for a person of ours. Null where it does not.",
        ),
        Field {
            name: "failure",
            kind: Kind::One(&REFUND_FAILURE),
            is_null: true,
            is_optional: false,
            about: "Why it failed. Null where it has not.",
        },
        Field {
            name: "gateway",
            kind: Kind::One(&REFUND_GATEWAY),
            is_null: true,
            is_optional: false,
            about: "What stands at the gateway. Null until something does.",
        },
        at("created_at", "When it was taken up."),
        at("updated_at", "When it last changed."),
        maybe_at("terminal_at", "When it ended. Null while it has not."),
        Field::new("version", Kind::Range(1, i32::MAX as i64), "The number of its changes."),
    ],
    example: "",
};

static REFUND_FAILURE: Schema = Schema {
    name: "RefundFailure",
    about: "Why a refund failed.",
    fields: &[
        text("code", "A word of the gateway's or of ours."),
        maybe("message", "A sentence for people."),
    ],
    example: "",
};

static REFUND_GATEWAY: Schema = Schema {
    name: "RefundAtGateway",
    about: "A refund as the gateway knows it.",
    fields: &[text("transaction_id", "The gateway's id of it.")],
    example: "",
};

pub(crate) static RETURN: Schema = Schema {
    name: "Return",
    about: "A payment, or a part of it, that a bank took back after it had succeeded.",
    fields: &[
        id("ret_", "The id of the return."),
        object("return"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment that it is about."),
        Field::new("status", Kind::Constant("returned"), "It stays so."),
        Field::new("amount", Kind::Amount, "How much, with the currency's decimal places."),
        text("currency", "The currency, by ISO 4217."),
        Field {
            name: "gateway",
            kind: Kind::One(&REFUND_GATEWAY),
            is_null: true,
            is_optional: false,
            about: "What the gateway calls it.",
        },
        at("created_at", "When it was booked here."),
        at("updated_at", "When it last changed."),
        maybe_at("terminal_at", "When its end was booked. Null while it has none."),
        Field::new("version", Kind::Range(1, i32::MAX as i64), "The number of its changes."),
    ],
    example: "",
};

pub(crate) static DISPUTE: Schema = Schema {
    name: "Dispute",
    about: "A charge that its customer disputes.",
    fields: &[
        id("dsp_", "The id of the dispute."),
        object("dispute"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment that it is about."),
        Field::new("status", Kind::Word(of_disputes), "`open` until it is `won` or `lost`."),
        Field::new("amount", Kind::Amount, "How much, with the currency's decimal places."),
        text("currency", "The currency, by ISO 4217."),
        Field {
            name: "gateway",
            kind: Kind::One(&REFUND_GATEWAY),
            is_null: true,
            is_optional: false,
            about: "What the gateway calls it.",
        },
        at("created_at", "When it was booked here."),
        at("updated_at", "When it last changed."),
        maybe_at("terminal_at", "When its end was booked. Null while it has none."),
        Field::new("version", Kind::Range(1, i32::MAX as i64), "The number of its changes."),
    ],
    example: "",
};
