//! What operators send and get about reviews.

use domain::review::{ReviewStatus, RuleAction, RuleKind};

use super::{Field, Kind, Schema, at, maybe, maybe_at, object, text};
use crate::routes::reviews::TOGETHER_MAX;

pub(crate) fn review_statuses() -> Vec<&'static str> {
    ReviewStatus::ALL.iter().map(|it| it.as_str()).collect()
}

fn rule_kinds() -> Vec<&'static str> {
    RuleKind::ALL.iter().map(|it| it.as_str()).collect()
}

fn rule_actions() -> Vec<&'static str> {
    RuleAction::ALL.iter().map(|it| it.as_str()).collect()
}

fn acts() -> Vec<&'static str> {
    vec!["approve", "deny"]
}

fn outcomes() -> Vec<&'static str> {
    vec!["open", "decided_before", "done", "decided_otherwise", "refused", "busy", "not_found"]
}

const NOTE: Field = Field::asked("note", Kind::Length(1, 1000), "Why, for whoever reads it later.");
const BY: Field = Field::asked(
    "by",
    Kind::Length(1, 255),
    "Who decides, where several people share one key. A key with a name needs none, and takes no other.",
);

pub(crate) static REVIEW: Schema = Schema {
    name: "Review",
    about: "A payment that waits for a person before it is charged, or waited for one.",
    fields: &[
        object("review"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment."),
        Field::new("merchant_id", Kind::Id("mer_"), "Whose payment it is."),
        text("customer_id", "The merchant's id of the customer."),
        Field::new("amount", Kind::Amount, "What is owed."),
        text("currency", "The currency, by ISO 4217."),
        text("payment_method", "The gateway's token, or the account that pays."),
        Field::new("payment_status", Kind::Word(super::statuses), "How the payment stands."),
        Field::new("score", Kind::Number, "What the rules that hit add up to."),
        Field::new("rules", Kind::Many(&Kind::One(&HIT)), "The rules that hit, the one that decided first."),
        Field::new("status", Kind::Word(review_statuses), "Where the review stands."),
        at("opened_at", "When it began."),
        at("expires_at", "Until when it can be approved. Then the payment fails."),
        maybe_at("decided_at", "When it ended. Null while it is open."),
        maybe("decided_by", "Who ended it."),
        maybe("note", "What was noted with it."),
    ],
    example: "",
};

static HIT: Schema = Schema {
    name: "RuleHit",
    about: "A rule of risk that hit.",
    fields: &[
        Field::new("rule", Kind::Number, "The number of the rule."),
        Field::new("kind", Kind::Word(rule_kinds), "What it looks at."),
        Field::new("action", Kind::Word(rule_actions), "What it wants."),
    ],
    example: "",
};

pub(crate) static REVIEW_ENDED: Schema = Schema {
    name: "ReviewEnded",
    about: "How a review ended.",
    fields: &[
        Field::new("status", Kind::Word(review_statuses), "How it ended."),
        text("decided_by", "Who ended it."),
    ],
    example: "",
};

pub(crate) static REVIEWING: Schema = Schema {
    name: "Reviewing",
    about: "What is noted with a decision about a payment in review.",
    fields: &[NOTE, BY],
    example: "",
};

pub(crate) static REVIEWING_TOGETHER: Schema = Schema {
    name: "ReviewingTogether",
    about: "A decision about several payments in review.",
    fields: &[
        Field::new("decision", Kind::Word(acts), "What is decided."),
        Field::new("payments", Kind::Between(1, TOGETHER_MAX, &Kind::Id("pay_")), "The payments, each once."),
        Field::asked("preview", Kind::Flag, "Whether only to show how each stands."),
        NOTE,
        BY,
    ],
    example: "",
};

pub(crate) static REVIEW_OUTCOME: Schema = Schema {
    name: "ReviewOutcome",
    about: "What became of one of several payments.",
    fields: &[
        object("review_outcome"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment."),
        Field::new(
            "outcome",
            Kind::Word(outcomes),
            "In a preview `open` or `decided_before`; else `done`, or why not. `not_found` in both.",
        ),
        Field::or_null("review", Kind::One(&REVIEW), "The review. Null where there is none."),
    ],
    example: "",
};
