//! What merchants give back.

use super::*;

pub(super) const ALL: &[&Operation] =
    &[&REFUND_PAYMENT, &LIST_REFUNDS, &GET_REFUND, &LIST_RETURNS, &GET_RETURN, &LIST_DISPUTES, &GET_DISPUTE];

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
        Code::PaymentDisputed,
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

pub(crate) static LIST_RETURNS: Operation = Operation {
    id: "list_returns",
    verb: Verb::Get,
    path: "/v1/payments/{id}/returns",
    caller: Caller::Merchant,
    about: "Lists the late returns of a payment, newest first.",
    takes: &[
        PAYMENT_ID,
        query("starting_after", Kind::Id("ret_"), "The last return of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of returns.", Content::Page(&o::RETURN))],
    problems: &[],
};

pub(crate) static GET_RETURN: Operation = Operation {
    id: "get_return",
    verb: Verb::Get,
    path: "/v1/returns/{id}",
    caller: Caller::Merchant,
    about: "Shows a return as it stands now.",
    takes: &[in_path("id", Kind::Id("ret_"), "The id of the return.")],
    body: None,
    answers: &[ok("The return.", Content::One(&o::RETURN))],
    problems: &[],
};

pub(crate) static LIST_DISPUTES: Operation = Operation {
    id: "list_disputes",
    verb: Verb::Get,
    path: "/v1/payments/{id}/disputes",
    caller: Caller::Merchant,
    about: "Lists the disputes about a payment, newest first.",
    takes: &[
        PAYMENT_ID,
        query("starting_after", Kind::Id("dsp_"), "The last dispute of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of disputes.", Content::Page(&o::DISPUTE))],
    problems: &[],
};

pub(crate) static GET_DISPUTE: Operation = Operation {
    id: "get_dispute",
    verb: Verb::Get,
    path: "/v1/disputes/{id}",
    caller: Caller::Merchant,
    about: "Shows a dispute as it stands now.",
    takes: &[in_path("id", Kind::Id("dsp_"), "The id of the dispute.")],
    body: None,
    answers: &[ok("The dispute.", Content::One(&o::DISPUTE))],
    problems: &[],
};
