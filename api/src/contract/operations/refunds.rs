//! What merchants give back.

use super::*;

pub(super) const ALL: &[&Operation] = &[&REFUND_PAYMENT, &LIST_REFUNDS, &GET_REFUND];

const PAYMENT_ID: Parameter = in_path("id", Kind::Id("pay_"), "The id of the payment.");

pub(crate) static REFUND_PAYMENT: Operation = Operation {
    id: "refund_payment",
    verb: Verb::Post,
    path: "/v1/payments/{id}/refunds",
    caller: Caller::Merchant,
    about: "Gives back a payment that succeeded, or a part of it, once per idempotency key. All refunds of a payment \
            together never exceed what was taken. A refusal is remembered under the key.",
    takes: &[PAYMENT_ID, KEY],
    body: Some(Asked::One(&o::REFUND_REQUEST)),
    answers: &[Answer {
        status: 202,
        about: "The refund is taken up, and will be made. The body shows it as it was when it was taken up. Every \
                repeat has the same answer.",
        content: Content::One(&o::REFUND),
        headers: &["Location", "Idempotent-Replayed"],
        links: &["get_refund"],
    }],
    problems: &[
        Code::IdempotencyKeyMissing,
        Code::IdempotencyKeyReused,
        Code::PaymentNotRefundable,
        Code::AmountExceedsRefundable,
    ],
};

pub(crate) static LIST_REFUNDS: Operation = Operation {
    id: "list_refunds",
    verb: Verb::Get,
    path: "/v1/payments/{id}/refunds",
    caller: Caller::Merchant,
    about: "Lists the refunds of a payment, newest first.",
    takes: &[
        PAYMENT_ID,
        query("starting_after", Kind::Id("re_"), "The last refund of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of refunds.", Content::Page(&o::REFUND))],
    problems: &[],
};

pub(crate) static GET_REFUND: Operation = Operation {
    id: "get_refund",
    verb: Verb::Get,
    path: "/v1/refunds/{id}",
    caller: Caller::Merchant,
    about: "Shows a refund as it stands now.",
    takes: &[in_path("id", Kind::Id("re_"), "The id of the refund.")],
    body: None,
    answers: &[ok("The refund.", Content::One(&o::REFUND))],
    problems: &[],
};
