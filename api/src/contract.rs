//! The contract with clients: each operation once, with what it takes and every answer that it may give.
//!
//! Invariant: the router takes its paths from here, and the OpenAPI document and the pages are made from it.
//! A test build answers 500 in place of an answer that does not stand here. So the three cannot differ.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

use crate::App;
use codes::Code;
use kinds::{Field, Kind, Schema};

pub(crate) mod codes;
pub(crate) mod document;
mod kinds;
pub(crate) mod objects;
pub(crate) mod operations;
pub(crate) mod recorder;
pub(crate) mod reference;

/// One thing that a client can ask for.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The name, as `<verb>_<resource>`: what generated clients call it.
    pub(crate) id: &'static str,
    pub(crate) verb: Verb,
    /// The path, with its parameters in braces.
    pub(crate) path: &'static str,
    pub(crate) caller: Caller,
    /// What it does, in one sentence.
    pub(crate) about: &'static str,
    pub(crate) takes: &'static [Parameter],
    pub(crate) body: Option<Asked>,
    pub(crate) answers: &'static [Answer],
    /// The problems of its own, beside those that its caller, its path and its body bring.
    pub(crate) problems: &'static [Code],
}

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever reaches the listener.
    Anybody,
    /// A merchant, with an API key.
    Merchant,
    /// A person who operates the system, with an admin key.
    Operator,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// A parameter of a request.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) place: Place,
    pub(crate) is_needed: bool,
    pub(crate) field: Field,
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    One(&'static Schema),
    /// One of two.
    Either(&'static Schema, &'static Schema),
}

/// An answer to a request that succeeds.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) content: Content,
    /// The headers of its own, beside those of every answer.
    pub(crate) headers: &'static [&'static str],
    /// The operations that take an id out of the answer's body.
    pub(crate) links: &'static [&'static str],
}

/// The body of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    One(&'static Schema),
    /// A page of a list of these.
    Page(&'static Schema),
    /// One of these, or a page of them.
    OneOrPage(&'static Schema),
    /// One of two.
    Either(&'static Schema, &'static Schema),
    /// No body at all.
    Empty,
    /// Of this media type, and not described further.
    Other(&'static str),
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    /// The methods of HTTP that ask for it.
    const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["GET", "HEAD"],
            Self::Post => &["POST"],
        }
    }
}

impl Asked {
    /// The objects that it may be.
    pub(crate) fn schemas(self) -> impl Iterator<Item = &'static Schema> {
        let (one, other) = match self {
            Self::One(one) => (one, None),
            Self::Either(one, other) => (one, Some(other)),
        };
        std::iter::once(one).chain(other)
    }
}

impl Content {
    /// The media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::One(_) | Self::Page(_) | Self::OneOrPage(_) | Self::Either(..) => "application/json",
            Self::Empty => "",
            Self::Other(media_type) => media_type,
        }
    }
}

impl Operation {
    /// Every problem that it may answer, in the order of their statuses.
    pub(crate) fn all_problems(&self) -> Vec<Code> {
        // Whatever the request is, its head may be wrong, and we may be.
        let mut all = vec![Code::InvalidRequest, Code::UriTooLong, Code::Internal];
        if self.caller != Caller::Anybody {
            let of_callers = [
                Code::Unauthorized,
                Code::InsufficientScope,
                Code::Unavailable,
                Code::DatabaseBusy,
                Code::DatabaseUnavailable,
            ];
            all.extend(of_callers);
        }
        if self.caller == Caller::Operator {
            all.push(Code::TooManyTries);
        }
        if self.caller == Caller::Merchant {
            all.extend([Code::TooManyRequests, Code::TooManyConcurrentRequests, Code::ReducedCapacity]);
        }
        // A transfer that there is not has a code of its own, whatever its id looks like.
        let has_own = self.problems.contains(&Code::TransferNotFound);
        if self.takes.iter().any(|parameter| parameter.place == Place::Path) && !has_own {
            all.push(Code::NotFound);
        }
        if self.body.is_some() {
            all.extend([
                Code::PayloadTooLarge,
                Code::RequestTimeout,
                Code::UnsupportedMediaType,
                Code::UnsupportedContentEncoding,
            ]);
        }
        all.extend(self.problems);
        all.sort_unstable_by_key(|code| (code.status().as_u16(), *code));
        all.dedup();
        all
    }
}

/// The methods that a path takes, as `Allow` tells them.
pub(crate) fn allowed(path: &str) -> String {
    let takes = |verb| operations::all().any(|operation| operation.path == path && operation.verb == verb);
    let verbs = [Verb::Get, Verb::Post].into_iter().filter(|verb| takes(*verb));
    let methods = verbs.flat_map(|verb| verb.methods().iter().copied());
    methods.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}

/// Who may ask for a path, by whichever method.
pub(crate) fn caller(path: &str) -> Caller {
    operations::all().find(|operation| operation.path == path).map_or(Caller::Anybody, |it| it.caller)
}

/// Whether a POST to that path, as a client writes it, takes an idempotency key.
pub(crate) fn takes_a_key(path: &str) -> bool {
    let is_of = |operation: &Operation| {
        let (mine, asked) = (operation.path.split('/'), path.split('/'));
        mine.clone().count() == asked.clone().count()
            && mine.zip(asked).all(|(mine, asked)| mine.starts_with('{') || mine == asked)
    };
    let is_key = |parameter: &Parameter| matches!(parameter.field.kind, Kind::Key);
    operations::all().any(|it| it.verb == Verb::Post && it.takes.iter().any(is_key) && is_of(it))
}

/// A router whose paths are those of operations.
pub(crate) trait Serve {
    /// Has the handler answer the operation.
    fn serve<H, T>(self, operation: &'static Operation, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static;
}

impl Serve for Router<App> {
    fn serve<H, T>(self, operation: &'static Operation, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let methods = match operation.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
        };
        self.route(operation.path, on(methods, handler))
    }
}

const fn parameter(
    place: Place,
    is_needed: bool,
    name: &'static str,
    kind: Kind,
    about: &'static str,
) -> Parameter {
    Parameter {
        place,
        is_needed,
        field: Field { name, kind, is_null: false, is_optional: !is_needed, about },
    }
}

/// A parameter of the query, which may be left out.
const fn query(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    parameter(Place::Query, false, name, kind, about)
}

/// A parameter of the path.
const fn in_path(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    parameter(Place::Path, true, name, kind, about)
}
