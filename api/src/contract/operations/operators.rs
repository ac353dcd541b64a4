//! What operators ask for, with an admin key.

use super::*;

pub(super) const ALL: &[&Operation] = &[
    &LIST_BREAKS,
    &GET_BREAK,
    &RESOLVE_BREAK,
    &LIST_CORRECTIONS,
    &PROPOSE_CORRECTION,
    &GET_CORRECTION,
    &APPROVE_CORRECTION,
    &WITHDRAW_CORRECTION,
    &LIST_DEAD_LETTERS,
    &GET_DEAD_LETTER,
    &REPLAY_DEAD_LETTER,
    &DISCARD_DEAD_LETTER,
    &LIST_RECONCILIATION_RUNS,
    &LIST_RECOVERY_REPORTS,
    &GET_RECOVERY_REPORT,
];

const NUMBER: Parameter = in_path("id", Kind::Number, "The number.");
const STARTING_AFTER: Parameter = query("starting_after", Kind::Number, "The last entry of the page before.");

/// An operation that reads.
const fn read(
    id: &'static str,
    path: &'static str,
    about: &'static str,
    takes: &'static [Parameter],
    answers: &'static [Answer],
) -> Operation {
    Operation {
        id,
        verb: Verb::Get,
        path,
        caller: Caller::Operator,
        about,
        takes,
        body: None,
        answers,
        problems: &[],
    }
}

pub(crate) static LIST_BREAKS: Operation = read(
    "list_breaks",
    "/v1/breaks",
    "Lists breaks, newest first.",
    &[
        query("kind", Kind::Word(o::break_kinds), "Only breaks of this kind."),
        query("open", Kind::Flag, "Only open breaks, or only closed ones."),
        STARTING_AFTER,
        CURSOR,
        LIMIT,
    ],
    &[ok("A page of breaks.", Content::Page(&o::BREAK))],
);

pub(crate) static GET_BREAK: Operation = read(
    "get_break",
    "/v1/breaks/{id}",
    "Shows a break.",
    &[NUMBER],
    &[ok("The break.", Content::One(&o::BREAK))],
);

pub(crate) static RESOLVE_BREAK: Operation = Operation {
    id: "resolve_break",
    verb: Verb::Post,
    path: "/v1/breaks/{id}/resolve",
    caller: Caller::Operator,
    about: "Closes a break, or decides about the payment that is held over it, which closes it. The same request \
            repeated by the same person changes nothing and has the same answer.",
    takes: &[NUMBER],
    body: Some(Asked::One(&o::RESOLUTION)),
    answers: &[
        ok(
            "The break is closed, or the decision is done: the break where nothing had to be decided, else the \
             decision.",
            Content::Either(&o::BREAK, &o::DECISION),
        ),
        Answer {
            status: 202,
            about: "The decision waits for a worker to look at the gateway. Repeat the request to hear of its end.",
            content: Content::One(&o::DECISION),
            headers: &[],
            links: &[],
        },
    ],
    problems: &[
        Code::BreakResolved,
        Code::DecisionNeeded,
        Code::NothingToDecide,
        Code::DecisionRefused,
        Code::DecisionOpen,
    ],
};

pub(crate) static LIST_CORRECTIONS: Operation = read(
    "list_corrections",
    "/v1/corrections",
    "Lists corrections, newest first.",
    &[
        query("payment_id", Kind::Id("pay_"), "Only corrections of this payment."),
        query("open", Kind::Flag, "Only corrections that have not ended."),
        STARTING_AFTER,
        CURSOR,
        LIMIT,
    ],
    &[ok("A page of corrections.", Content::Page(&o::CORRECTION))],
);

pub(crate) static PROPOSE_CORRECTION: Operation = Operation {
    id: "propose_correction",
    verb: Verb::Post,
    path: "/v1/corrections",
    caller: Caller::Operator,
    about: "Proposes a correction of a payment that is over. Another person has to approve it.",
    takes: &[],
    body: Some(Asked::One(&o::PROPOSAL)),
    answers: &[Answer {
        status: 201,
        about: "The correction is proposed, or was by the same request before.",
        content: Content::One(&o::CORRECTION),
        headers: &[],
        links: &["get_correction"],
    }],
    problems: &[Code::NamedKeyNeeded, Code::NotFound, Code::CorrectionOpen, Code::PaymentNotOver],
};

pub(crate) static GET_CORRECTION: Operation = read(
    "get_correction",
    "/v1/corrections/{id}",
    "Shows a correction.",
    &[NUMBER],
    &[ok("The correction.", Content::One(&o::CORRECTION))],
);

pub(crate) static APPROVE_CORRECTION: Operation = Operation {
    id: "approve_correction",
    verb: Verb::Post,
    path: "/v1/corrections/{id}/approve",
    caller: Caller::Operator,
    about: "Approves a correction, by another person than its proposer. A worker then looks at the gateway.",
    takes: &[NUMBER],
    body: None,
    answers: &[ok("The correction.", Content::One(&o::CORRECTION))],
    problems: &[Code::NamedKeyNeeded, Code::SamePerson, Code::CorrectionClosed],
};

pub(crate) static WITHDRAW_CORRECTION: Operation = Operation {
    id: "withdraw_correction",
    verb: Verb::Post,
    path: "/v1/corrections/{id}/withdraw",
    caller: Caller::Operator,
    about: "Takes a correction back, by any person, until it has ended.",
    takes: &[NUMBER],
    body: Some(Asked::One(&o::WITHDRAWAL)),
    answers: &[ok("The correction.", Content::One(&o::CORRECTION))],
    problems: &[Code::CorrectionClosed],
};

pub(crate) static LIST_DEAD_LETTERS: Operation = read(
    "list_dead_letters",
    "/v1/dead-letters",
    "Lists dead letters, newest first.",
    &[
        query("class", Kind::Word(o::letter_classes), "Only letters of this class."),
        query("open", Kind::Flag, "Only open letters, or only closed ones."),
        STARTING_AFTER,
        CURSOR,
        LIMIT,
    ],
    &[ok("A page of dead letters.", Content::Page(&o::DEAD_LETTER))],
);

pub(crate) static GET_DEAD_LETTER: Operation = read(
    "get_dead_letter",
    "/v1/dead-letters/{id}",
    "Shows a dead letter.",
    &[NUMBER],
    &[ok("The letter.", Content::One(&o::DEAD_LETTER))],
);

pub(crate) static REPLAY_DEAD_LETTER: Operation = Operation {
    id: "replay_dead_letter",
    verb: Verb::Post,
    path: "/v1/dead-letters/{id}/replay",
    caller: Caller::Operator,
    about: "Does the job of a dead letter once more, and only once.",
    takes: &[NUMBER],
    body: Some(Asked::One(&o::CLOSING)),
    answers: &[ok("The letter.", Content::One(&o::DEAD_LETTER))],
    problems: &[Code::DeadLetterClosed],
};

pub(crate) static DISCARD_DEAD_LETTER: Operation = Operation {
    id: "discard_dead_letter",
    verb: Verb::Post,
    path: "/v1/dead-letters/{id}/discard",
    caller: Caller::Operator,
    about: "Closes a dead letter without doing its job.",
    takes: &[NUMBER],
    body: Some(Asked::One(&o::CLOSING)),
    answers: &[ok("The letter.", Content::One(&o::DEAD_LETTER))],
    problems: &[Code::DeadLetterClosed, Code::DeadLetterHeld],
};

pub(crate) static LIST_RECONCILIATION_RUNS: Operation = read(
    "list_reconciliation_runs",
    "/v1/reconciliation/runs",
    "Lists the runs of the reconciliation, newest first.",
    &[STARTING_AFTER, CURSOR, LIMIT],
    &[ok("A page of runs.", Content::Page(&o::RUN))],
);

pub(crate) static LIST_RECOVERY_REPORTS: Operation = read(
    "list_recovery_reports",
    "/v1/recovery-reports",
    "Lists what starting workers found in the hands of lost ones, newest first.",
    &[STARTING_AFTER, CURSOR, LIMIT],
    &[ok("A page of reports.", Content::Page(&o::RECOVERY_REPORT))],
);

pub(crate) static GET_RECOVERY_REPORT: Operation = read(
    "get_recovery_report",
    "/v1/recovery-reports/{id}",
    "Shows a recovery report, with each payment and where it stands now.",
    &[NUMBER],
    &[ok("The report.", Content::One(&o::RECOVERY))],
);
