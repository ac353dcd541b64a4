//! What operators send and get.

use domain::dead_letter::Class;
use shared::operations::breaks::KINDS;

use super::{Field, Kind, Schema, at, maybe, maybe_at, number, object, text};

pub(crate) fn break_kinds() -> Vec<&'static str> {
    KINDS.iter().map(|(kind, _)| *kind).collect()
}

pub(crate) fn letter_classes() -> Vec<&'static str> {
    Class::ALL.iter().map(|it| it.as_str()).collect()
}

pub(crate) static BREAK: Schema = Schema {
    name: "Break",
    about: "A contradiction between two books, which a person resolves.",
    fields: &[
        number("The number of the break."),
        object("break"),
        Field::new("kind", Kind::Word(break_kinds), "What contradicts what."),
        Field::or_null("payment_id", Kind::Id("pay_"), "The payment that it is about."),
        maybe("subject", "What else it is about."),
        Field::new("detail", Kind::Facts, "Both sides."),
        Field::new("payment_is_held", Kind::Flag, "Whether closing it takes a decision about the payment."),
        at("opened_at", "When it was found."),
        maybe_at("closed_at", "When it was closed. Null while it is open."),
        maybe("closed_by", "Who closed it."),
        maybe("closed_reason", "Why."),
    ],
    example: "",
};

fn decisions() -> Vec<&'static str> {
    vec!["release", "look", "succeed", "fail", "reverse", "void"]
}

const REASON: Field = Field::new("reason", Kind::Length(1, 1000), "Why, for whoever reads it later.");
const BY: Field = Field::asked(
    "by",
    Kind::Length(1, 255),
    "Who decides, where several people share one key. A key with a name needs none, and takes no other.",
);

pub(crate) static RESOLUTION: Schema = Schema {
    name: "Resolution",
    about: "How a break is closed.",
    fields: &[
        REASON,
        BY,
        Field::asked("decision", Kind::Word(decisions), "What becomes of the payment, if it is held."),
        Field::asked("charge_id", Kind::Length(1, 255), "The charge at the gateway. It goes with `succeed`."),
        Field::asked("unproven", Kind::Flag, "Whether to decide although the gateway cannot show anything."),
    ],
    example: "",
};

pub(crate) static DECISION: Schema = Schema {
    name: "Decision",
    about: "A decision about a held payment, with its result.",
    fields: &[
        number("The number of the decision."),
        object("decision"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment."),
        Field::new("version", Kind::Number, "The payment's version that was decided about."),
        Field::new("decision", Kind::Word(decisions), "What was asked for."),
        Field::new("unproven", Kind::Flag, "Whether it may be done without proof."),
        maybe("charge_id", "The charge that was named."),
        text("by", "Who asked."),
        text("reason", "Why."),
        at("asked_at", "When."),
        maybe_at("ended_at", "When it was done or refused. Null while a worker looks."),
        maybe("outcome", "How it ended."),
        maybe("refusal", "Why it was refused."),
        maybe("seen", "What the last look showed, as a word."),
        Field::or_null("look", Kind::Anything, "What the last look showed."),
        Field::or_null("permits", Kind::Many(&Kind::Text), "What the last look permits."),
    ],
    example: "",
};

fn correction_kinds() -> Vec<&'static str> {
    vec!["charge_missing", "charge_refunded", "amount_differs", "charge_found", "other_charge"]
}

pub(crate) static PROPOSAL: Schema = Schema {
    name: "Proposal",
    about: "A correction of a payment that is over.",
    fields: &[
        Field::new("payment_id", Kind::Id("pay_"), "The payment."),
        Field::new("kind", Kind::Word(correction_kinds), "What the books have wrong."),
        Field::new(
            "amount",
            Kind::Amount,
            "The amount that stands at the gateway; \"0\" where nothing does.",
        ),
        Field::asked(
            "charge_id",
            Kind::Length(1, 255),
            "The charge that stands there. It goes with an amount above 0.",
        ),
        REASON,
    ],
    example: "",
};

pub(crate) static CORRECTION: Schema = Schema {
    name: "Correction",
    about: "A correction of a payment that is over, by two people.",
    fields: &[
        number("The number of the correction."),
        object("correction"),
        Field::new("payment_id", Kind::Id("pay_"), "The payment."),
        Field::new("kind", Kind::Word(correction_kinds), "What the books have wrong."),
        Field::new("amount", Kind::Amount, "The amount that stands at the gateway."),
        text("currency", "The payment's currency."),
        maybe("charge_id", "The charge that stands there."),
        text("reason", "Why."),
        text("state", "`proposed`, `approved`, or how it ended."),
        text("proposed_by", "Who proposed it."),
        at("proposed_at", "When."),
        maybe("approved_by", "Who approved it."),
        maybe_at("approved_at", "When."),
        maybe_at("ended_at", "When it was done, refused or withdrawn."),
        maybe("outcome", "How it ended."),
        maybe("refusal", "Why it was refused."),
        maybe("seen", "What the look showed, as a word."),
        Field::or_null("look", Kind::Anything, "What the look showed."),
        Field::or_null("delta", Kind::Amount, "By how much the books changed."),
    ],
    example: "",
};

pub(crate) static WITHDRAWAL: Schema =
    Schema { name: "Withdrawal", about: "Why a correction is taken back.", fields: &[REASON], example: "" };

pub(crate) static CLOSING: Schema = Schema {
    name: "Closing",
    about: "Why a dead letter is replayed or discarded.",
    fields: &[REASON, BY],
    example: "",
};

pub(crate) static DEAD_LETTER: Schema = Schema {
    name: "DeadLetter",
    about: "A job that the queue gave up.",
    fields: &[
        number("The number of the letter."),
        object("dead_letter"),
        Field::new("class", Kind::Word(letter_classes), "Why it was given up."),
        text("queue", "The queue."),
        maybe("job_id", "The job's id."),
        maybe("job_key", "The job's idempotency key."),
        maybe("job", "The job's body, as text or as hexadecimal digits after `\\x`."),
        Field::or_null("payment_id", Kind::Id("pay_"), "The payment that it is about."),
        text("error", "What went wrong."),
        Field::new("detail", Kind::Facts, "More about it."),
        at("parked_at", "When it was given up."),
        maybe_at("closed_at", "When it was closed. Null while it is open."),
        maybe("closed_as", "`replayed`, `discarded` or `released`."),
        maybe("closed_by", "Who closed it."),
        maybe("closed_reason", "Why."),
    ],
    example: "",
};

pub(crate) static RUN: Schema = Schema {
    name: "ReconciliationRun",
    about: "One run of the reconciliation.",
    fields: &[
        number("The number of the run."),
        object("reconciliation_run"),
        text("trigger", "What began it: the schedule, or a person."),
        at("started_at", "When it began."),
        maybe_at("finished_at", "When it ended. Null while it runs."),
        Field::or_null("findings", Kind::Anything, "What it found, step by step."),
    ],
    example: "",
};

const REPORT_FIELDS: [Field; 6] = [
    number("The number of the report."),
    object("recovery_report"),
    text("worker", "The worker that started."),
    at("found_at", "When it looked."),
    Field::new("payments", Kind::Number, "How many payments the report lists."),
    Field::new("more", Kind::Number, "How many more there were."),
];

pub(crate) static RECOVERY_REPORT: Schema = Schema {
    name: "RecoveryReport",
    about: "What a starting worker found in the hands of lost ones.",
    fields: &REPORT_FIELDS,
    example: "",
};

pub(crate) static RECOVERY: Schema = Schema {
    name: "Recovery",
    about: "A recovery report, with each payment and what became of it.",
    fields: &{
        let [id, object, worker, found_at, payments, more] = REPORT_FIELDS;
        let recovered = Field::new("recovered", Kind::Many(&Kind::One(&RECOVERED)), "The payments.");
        [id, object, worker, found_at, payments, more, recovered]
    },
    example: "",
};

static RECOVERED: Schema = Schema {
    name: "RecoveredPayment",
    about: "A payment that was under way in a worker that is gone.",
    fields: &[
        Field::new("payment_id", Kind::Id("pay_"), "The payment."),
        text("claim_token", "The claim that was lost."),
        at("claimed_at", "When the lost claim was made."),
        maybe("lost_worker", "The worker that is gone."),
        text("was_doing", "What that worker was doing: `charge`, `verify`, `void` or `unknown`."),
        text("became", "What became of the payment."),
        Field::new("came_back", Kind::Flag, "Whether its worker settled it after all."),
        maybe("charge_id", "The charge by which it succeeded."),
        maybe("failure_code", "Why it failed."),
        maybe("held_reason", "Why it is held."),
        Field::new("events", Kind::Many(&Kind::Facts), "The events since then, oldest first."),
    ],
    example: "",
};
