//! What merchants send and get.

use domain::money::Currency;
use domain::status::{EventType, HeldReason, PaymentStatus};

use super::{Field, Kind, Schema, at, id, maybe, maybe_at, object, text};

pub(crate) fn statuses() -> Vec<&'static str> {
    PaymentStatus::ALL.iter().map(|it| it.as_str()).collect()
}

/// The currencies of payments that were ever recorded.
pub(crate) fn currencies() -> Vec<&'static str> {
    Currency::all().map(Currency::code).collect()
}

pub(super) fn currencies_of_new_payments() -> Vec<&'static str> {
    Currency::all().filter_map(|it| it.for_new_payment().ok()).map(Currency::code).collect()
}

fn held_reasons() -> Vec<&'static str> {
    HeldReason::ALL.iter().map(|it| it.as_str()).collect()
}

fn event_types() -> Vec<&'static str> {
    EventType::ALL.iter().map(|it| it.as_str()).collect()
}

pub(crate) static PAYMENT_REQUEST: Schema = Schema {
    name: "PaymentRequest",
    about: "A payment to record.",
    fields: &[
        Field::new(
            "amount",
            Kind::AmountIn,
            "What is owed, above zero, with at most as many decimal places as the currency has. A string is \
             safer than a number.",
        ),
        Field::new(
            "currency",
            Kind::Word(currencies_of_new_payments),
            "A currency of ISO 4217 that circulates.",
        ),
        Field::new("customer_id", Kind::Length(1, 255), "Your id of the customer who pays."),
        Field::new(
            "payment_method",
            Kind::Length(1, 255),
            "The gateway's token of the way to pay; never a card number.",
        ),
        Field::asked("description", Kind::Length(0, 1000), "What the payment is for."),
        Field::asked(
            "metadata",
            Kind::Texts,
            "Facts of your own: at most 50, with names of 1 to 40 characters and values of up to 500.",
        ),
    ],
    example: r#"{"amount":"12.50","currency":"EUR","customer_id":"cus_1","payment_method":"sim_ok"}"#,
};

pub(crate) static PAYMENT: Schema = Schema {
    name: "Payment",
    about: "A payment, and where it stands.",
    fields: &[
        id("pay_", "The id of the payment."),
        object("payment"),
        Field::new(
            "status",
            Kind::Word(statuses),
            "Where it stands. `pending` and `processing` are under way.",
        ),
        Field::new("amount", Kind::Amount, "What is owed, with the currency's decimal places."),
        Field::new("currency", Kind::Text, "The currency, by ISO 4217."),
        text("customer_id", "Your id of the customer."),
        text("payment_method", "The gateway's token."),
        maybe("description", "What the payment is for."),
        Field::new("metadata", Kind::Texts, "Facts of your own."),
        Field::new("attempt_count", Kind::Range(0, i32::MAX as i64), "How many charges were begun."),
        maybe_at("due_at", "When the next step is due. Null once the payment is over or held."),
        Field::or_null(
            "held_reason",
            Kind::Word(held_reasons),
            "Why the payment waits for a person of ours. Null where it does not.",
        ),
        Field {
            name: "failure",
            kind: Kind::One(&FAILURE),
            is_null: true,
            is_optional: false,
            about: "Why it failed or was reversed. Null where it has not.",
        },
        Field {
            name: "gateway",
            kind: Kind::One(&GATEWAY),
            is_null: true,
            is_optional: false,
            about: "What stands at the gateway. Null until something does.",
        },
        at("created_at", "When it was recorded."),
        at("updated_at", "When it last changed."),
        maybe_at("terminal_at", "When it ended. Null while it has not."),
        Field::new(
            "version",
            Kind::Range(1, i32::MAX as i64),
            "The number of its events. Each change adds one.",
        ),
        Field::optional(
            "amount_refunded",
            Kind::Amount,
            "What was given back, with the currency's decimal places. The first answer does not have it.",
        ),
    ],
    example: "",
};

static FAILURE: Schema = Schema {
    name: "Failure",
    about: "Why a payment was not charged.",
    fields: &[
        text("code", "The reason, as a word that is stable."),
        maybe("message", "The gateway's or our words, for people."),
        Field::or_null(
            "retryable",
            Kind::Flag,
            "Whether a new payment may well succeed. Null where nobody knows.",
        ),
    ],
    example: "",
};

static GATEWAY: Schema = Schema {
    name: "GatewayCharge",
    about: "A charge at the gateway.",
    fields: &[text("transaction_id", "The gateway's id of the charge.")],
    example: "",
};

pub(crate) static EVENT: Schema = Schema {
    name: "Event",
    about: "One fact of a payment's history.",
    fields: &[
        Field::new("version", Kind::Range(1, i32::MAX as i64), "The number of the event within its payment."),
        Field::new("type", Kind::Word(event_types), "What happened."),
        Field::or_null("from", Kind::Word(statuses), "The status before."),
        Field::new("to", Kind::Word(statuses), "The status after."),
        maybe("reason", "Why, as a word."),
        Field::new("evidence", Kind::Facts, "What the event rests on."),
        text("correlation_id", "The correlation id of the request that recorded the payment."),
        at("at", "When it happened."),
    ],
    example: "",
};

pub(crate) static IDEMPOTENCY_KEY: Schema = Schema {
    name: "IdempotencyKey",
    about: "What is recorded under an idempotency key.",
    fields: &[
        object("idempotency_key"),
        text("key", "The key."),
        text("operation", "The operation of the request."),
        text("customer_id", "The customer of the request."),
        Field::new("payment_id", Kind::Id("pay_"), "The payment that the request made."),
        at("created_at", "When it was recorded."),
        Field::new("outcome", Kind::One(&OUTCOME), "The first answer, which every repeat gets."),
    ],
    example: "",
};

static OUTCOME: Schema = Schema {
    name: "Outcome",
    about: "An answer that was given.",
    fields: &[
        Field::new("status", Kind::Range(200, 599), "Its status."),
        Field::new("body", Kind::One(&PAYMENT), "Its body."),
    ],
    example: "",
};
