//! What merchants ask for.

use super::*;

pub(super) const ALL: &[&Operation] = &[&CREATE_PAYMENT, &LIST_PAYMENTS, &GET_PAYMENT, &LIST_PAYMENT_EVENTS];

const PAYMENT_ID: Parameter = in_path("id", Kind::Id("pay_"), "The id of the payment.");

pub(crate) static CREATE_PAYMENT: Operation = Operation {
    id: "create_payment",
    verb: Verb::Post,
    path: "/v1/payments",
    caller: Caller::Merchant,
    about: "Records a payment once per idempotency key. Every try with one key has the same answer, byte for \
            byte, and the payment is charged once.",
    takes: &[parameter(
        Place::Header,
        true,
        "Idempotency-Key",
        Kind::Length(1, 255),
        "A value of your own, the same for every try of this one payment. It never expires.",
    )],
    body: Some(&o::PAYMENT_REQUEST),
    answers: &[Answer {
        status: 202,
        about: "The payment is recorded, and will be charged. The body shows it as it was when it was recorded.",
        content: Content::One(&o::PAYMENT),
        headers: &["Location", "Idempotent-Replayed"],
        links: &["get_payment", "list_payment_events"],
    }],
    problems: &[Code::IdempotencyKeyMissing, Code::IdempotencyKeyInProgress, Code::IdempotencyKeyReused],
};

pub(crate) static LIST_PAYMENTS: Operation = Operation {
    id: "list_payments",
    verb: Verb::Get,
    path: "/v1/payments",
    caller: Caller::Merchant,
    about: "Lists your payments, newest first.",
    takes: &[
        query("status", Kind::Word(o::statuses), "Only payments with this status."),
        query("customer_id", Kind::Text, "Only payments of this customer."),
        query("created_after", Kind::Time, "Only payments that were recorded after this time."),
        query("starting_after", Kind::Id("pay_"), "The last payment of the page before."),
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of payments.", Content::Page(&o::PAYMENT))],
    problems: &[],
};

pub(crate) static GET_PAYMENT: Operation = Operation {
    id: "get_payment",
    verb: Verb::Get,
    path: "/v1/payments/{id}",
    caller: Caller::Merchant,
    about: "Shows a payment as it stands now.",
    takes: &[
        PAYMENT_ID,
        query(
            "wait",
            Kind::Range(0, 60),
            "The seconds that the answer may wait for the payment to end or to be held.",
        ),
    ],
    body: None,
    answers: &[ok("The payment.", Content::One(&o::PAYMENT))],
    problems: &[],
};

pub(crate) static LIST_PAYMENT_EVENTS: Operation = Operation {
    id: "list_payment_events",
    verb: Verb::Get,
    path: "/v1/payments/{id}/events",
    caller: Caller::Merchant,
    about: "Lists a payment's history, oldest first.",
    takes: &[
        PAYMENT_ID,
        query(
            "starting_after",
            Kind::Range(0, i32::MAX as i64),
            "The version of the last event of the page before.",
        ),
        query("limit", Kind::Range(1, 100), "The most events of the page; all if it is left out."),
    ],
    body: None,
    answers: &[ok("The events.", Content::Page(&o::EVENT))],
    problems: &[],
};
