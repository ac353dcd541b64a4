//! What anybody asks for: whether the process is well, and this contract.

use super::*;

pub(super) const ALL: &[&Operation] =
    &[&GET_HEALTH, &GET_LIVENESS, &GET_READINESS, &GET_OPENAPI, &GET_REFERENCE, &GET_PROBLEM];

const fn open(
    id: &'static str,
    path: &'static str,
    about: &'static str,
    answers: &'static [Answer],
    problems: &'static [Code],
) -> Operation {
    let caller = Caller::Anybody;
    Operation { id, verb: Verb::Get, path, caller, about, takes: &[], body: None, answers, problems }
}

const HEALTHY: &[Answer] = &[ok("The process runs.", Content::One(&o::HEALTH))];

pub(crate) static GET_HEALTH: Operation =
    open("get_health", "/health", "Says whether the process runs.", HEALTHY, &[]);

pub(crate) static GET_LIVENESS: Operation =
    open("get_liveness", "/health/live", "Says whether the process runs.", HEALTHY, &[]);

pub(crate) static GET_READINESS: Operation = open(
    "get_readiness",
    "/health/ready",
    "Says whether the process can do its work.",
    &[ok("It can.", Content::One(&o::READINESS))],
    &[Code::NotReady],
);

pub(crate) static GET_OPENAPI: Operation = open(
    "get_openapi",
    "/openapi.json",
    "Tells this contract, as a document of OpenAPI 3.1.",
    &[ok("The document.", Content::Other("application/json"))],
    &[],
);

pub(crate) static GET_REFERENCE: Operation = open(
    "get_reference",
    "/docs",
    "Shows this contract as a page.",
    &[ok("The page.", Content::Other("text/html"))],
    &[],
);

pub(crate) static GET_PROBLEM: Operation = Operation {
    id: "get_problem",
    verb: Verb::Get,
    path: "/problems/{code}",
    caller: Caller::Anybody,
    about: "Explains the code of a problem.",
    takes: &[in_path("code", Kind::Word(o::codes), "The code.")],
    body: None,
    answers: &[ok("The page.", Content::Other("text/html"))],
    problems: &[],
};
