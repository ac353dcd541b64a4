//! What operators ask of reviews, with an admin key.

use super::*;

pub(super) const ALL: &[&Operation] =
    &[&LIST_REVIEWS, &GET_REVIEW, &APPROVE_REVIEW, &DENY_REVIEW, &DECIDE_REVIEWS];

const PAYMENT_ID: Parameter = in_path("id", Kind::Id("pay_"), "The id of the payment.");

pub(crate) static LIST_REVIEWS: Operation = Operation {
    id: "list_reviews",
    verb: Verb::Get,
    path: "/v1/reviews",
    caller: Caller::Operator,
    about: "Lists payments that wait for a person, or waited for one, newest first.",
    takes: &[
        query("status", Kind::Word(o::review_statuses), "Only reviews with this status."),
        query("merchant_id", Kind::Id("mer_"), "Only this merchant's."),
        query("customer_id", Kind::Text, "Only this customer's."),
        query("starting_after", Kind::Id("pay_"), "The last payment of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of reviews.", Content::Page(&o::REVIEW))],
    problems: &[],
};

pub(crate) static GET_REVIEW: Operation = Operation {
    id: "get_review",
    verb: Verb::Get,
    path: "/v1/reviews/{id}",
    caller: Caller::Operator,
    about: "Shows the review of a payment.",
    takes: &[PAYMENT_ID],
    body: None,
    answers: &[ok("The review.", Content::One(&o::REVIEW))],
    problems: &[],
};

pub(crate) static APPROVE_REVIEW: Operation = Operation {
    id: "approve_review",
    verb: Verb::Post,
    path: "/v1/reviews/{id}/approve",
    caller: Caller::Operator,
    about: "Lets a payment pass that waits for a person. It is charged as any other, or paid from its balance at once. \
            Asked again, it has the same answer.",
    takes: &[PAYMENT_ID],
    body: Some(Asked::One(&o::REVIEWING)),
    answers: &[ok("The review.", Content::One(&o::REVIEW))],
    problems: &[Code::ReviewDecided],
};

pub(crate) static DENY_REVIEW: Operation = Operation {
    id: "deny_review",
    verb: Verb::Post,
    path: "/v1/reviews/{id}/deny",
    caller: Caller::Operator,
    about: "Refuses a payment that waits for a person. It fails, and no gateway ever hears of it. Asked again, it has \
            the same answer.",
    takes: &[PAYMENT_ID],
    body: Some(Asked::One(&o::REVIEWING)),
    answers: &[ok("The review.", Content::One(&o::REVIEW))],
    problems: &[Code::ReviewDecided, Code::DecisionRefused],
};

pub(crate) static DECIDE_REVIEWS: Operation = Operation {
    id: "decide_reviews",
    verb: Verb::Post,
    path: "/v1/reviews/decide",
    caller: Caller::Operator,
    about: "Decides about several payments, each by itself. With `preview` it shows how each stands, and changes \
            nothing.",
    takes: &[],
    body: Some(Asked::One(&o::REVIEWING_TOGETHER)),
    answers: &[ok("What became of each.", Content::Page(&o::REVIEW_OUTCOME))],
    problems: &[],
};
