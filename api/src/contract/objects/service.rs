//! What everybody gets: health, and problems.

use super::{Field, Kind, Schema, text};
use crate::contract::codes::Code;

pub(crate) fn codes() -> Vec<&'static str> {
    Code::ALL.iter().map(|it| it.as_str()).collect()
}

pub(crate) static HEALTH: Schema = Schema {
    name: "Health",
    about: "That the process runs.",
    fields: &[Field::new("status", Kind::Constant("healthy"), "Always `healthy`.")],
    example: "",
};

pub(crate) static READINESS: Schema = Schema {
    name: "Readiness",
    about: "That the process can do its work.",
    fields: &[
        Field::new("status", Kind::Constant("ready"), "Always `ready`."),
        Field::new(
            "queue_lag_s",
            Kind::Anything,
            "The seconds for which the payment that waits longest has been due.",
        ),
    ],
    example: "",
};

pub(crate) static PROBLEM: Schema = Schema {
    name: "Problem",
    about: "Why a request failed (RFC 9457).",
    fields: &[
        text("type", "The address of the page about the code, on this API."),
        text("title", "The words of the status."),
        Field::new("status", Kind::Range(400, 599), "The status of the answer."),
        Field::new("code", Kind::Word(codes), "What went wrong. Branch on this word."),
        text("detail", "What went wrong and what to do, for people."),
        Field::new("retryable", Kind::Flag, "Whether the same request may well succeed later."),
        text("request_id", "The id of the request, for questions to us."),
        Field::optional("errors", Kind::Many(&Kind::One(&FAULT)), "Each place of the request that is wrong."),
        Field::optional("param", Kind::Text, "The first of these places, by its name."),
        Field::optional(
            "differing_fields",
            Kind::Many(&Kind::Text),
            "The fields in which the request differs.",
        ),
        Field::optional("account", Kind::Id("acc_"), "The account that there is not, or that is busy."),
        Field::optional("available", Kind::Amount, "What the account has available."),
        Field::optional("pending", Kind::Amount, "What the transfer reserves."),
        Field::optional("currency", Kind::Text, "The currency of the account."),
        Field::optional("transfer", Kind::One(&ENDED), "How the transfer ended."),
        Field::optional("review", Kind::One(&super::REVIEW_ENDED), "How the review of the payment ended."),
        Field::optional("index", Kind::Range(0, 99), "Which transfer of the group was refused."),
        Field::optional(
            "transfers",
            Kind::Many(&Kind::One(&LINKED)),
            "What became of each transfer of the group.",
        ),
        Field {
            is_null: true,
            ..Field::optional("resume_after", Kind::Text, "The event after which reading goes on.")
        },
        Field::optional("payment_id", Kind::Id("pay_"), "The payment that the idempotency key made."),
        Field::optional("refundable", Kind::Amount, "What is left of the payment to give back."),
        Field::optional("payment", Kind::One(&NOT_REFUNDABLE), "How the payment stood."),
    ],
    example: "",
};

static ENDED: Schema = Schema {
    name: "EndedTransfer",
    about: "How a transfer ended.",
    fields: &[
        text("status", "Where it stands."),
        Field::or_null("posted_amount", Kind::Amount, "What was moved."),
    ],
    example: "",
};

static LINKED: Schema = Schema {
    name: "LinkedTransfer",
    about: "What became of a transfer of a group that was refused.",
    fields: &[text("code", "Why it was refused; `linked_transfer_failed` where another one was.")],
    example: "",
};

static FAULT: Schema = Schema {
    name: "Fault",
    about: "One thing that is wrong with a request. It has one of `pointer`, `query` and `header`.",
    fields: &[
        Field::optional("pointer", Kind::Text, "The place in the body, as a JSON pointer (RFC 6901)."),
        Field::optional("query", Kind::Text, "The parameter of the query."),
        Field::optional("header", Kind::Text, "The header."),
        text("code", "Of what kind the fault is."),
        text("detail", "What it must be."),
    ],
    example: "",
};

static NOT_REFUNDABLE: Schema = Schema {
    name: "NotRefundable",
    about: "A payment that cannot be given back.",
    fields: &[Field::new("status", Kind::Text, "Where it stood.")],
    example: "",
};
