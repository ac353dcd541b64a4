//! The objects of requests and answers.

use super::kinds::{Field, Kind, Schema};

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

const fn id(prefix: &'static str, about: &'static str) -> Field {
    Field::new("id", Kind::Id(prefix), about)
}

const fn number(about: &'static str) -> Field {
    Field::new("id", Kind::Number, about)
}

const fn object(word: &'static str) -> Field {
    Field::new("object", Kind::Constant(word), "The kind of object.")
}

const fn at(name: &'static str, about: &'static str) -> Field {
    Field::new(name, Kind::Time, about)
}

const fn maybe_at(name: &'static str, about: &'static str) -> Field {
    Field::or_null(name, Kind::Time, about)
}

const fn text(name: &'static str, about: &'static str) -> Field {
    Field::new(name, Kind::Text, about)
}

const fn maybe(name: &'static str, about: &'static str) -> Field {
    Field::or_null(name, Kind::Text, about)
}
