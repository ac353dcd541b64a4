//! Every operation of the API.

use super::codes::Code;
use super::kinds::Kind;
use super::objects as o;
use super::{Answer, Asked, Caller, Content, Operation, Parameter, Place, Verb, in_path, parameter, query};

mod accounts;
mod events;
mod operators;
mod payments;
mod refunds;
mod reviews;
mod service;
mod webhooks;

pub(crate) use accounts::*;
pub(crate) use events::*;
pub(crate) use operators::*;
pub(crate) use payments::*;
pub(crate) use refunds::*;
pub(crate) use reviews::*;
pub(crate) use service::*;
pub(crate) use webhooks::*;

/// Every operation, in the order in which people read of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Operation> {
    [
        payments::ALL,
        refunds::ALL,
        accounts::ALL,
        events::ALL,
        webhooks::ALL,
        operators::ALL,
        reviews::ALL,
        service::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}

const LIMIT: Parameter =
    query("limit", Kind::Range(1, 100), "The most entries of the page; 10 if it is left out.");

/// The idempotency key of a request that makes something.
const KEY: Parameter = parameter(
    Place::Header,
    true,
    "Idempotency-Key",
    Kind::Key,
    "A value of your own, the same for every try of this one request. It never expires.",
);

const CURSOR: Parameter =
    query("cursor", Kind::Text, "The `next_cursor` of the page before, sent with the same filters.");

const fn ok(about: &'static str, content: Content) -> Answer {
    Answer { status: 200, about, content, headers: &[], links: &[] }
}
