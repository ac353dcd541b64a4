//! The query of a request: its parameters are read one by one, as the fields of a body are.
//!
//! A parameter that a path does not know is refused, and so is one that stands twice. A misspelt filter would
//! else be the whole list.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Datelike as _, Utc};

use crate::fault::{Fault, Kind, shown};
use crate::problem::Problem;

/// What a time must be. RFC 3339 has years of four digits, and Postgres none that are much older.
const TIME: &str = "a time by RFC 3339 with a year from 0000 to 9999, such as 2026-01-31T12:00:00Z; a + in it is written %2B";

/// The parameters of a query, and what was found wrong with them so far.
#[derive(Clone)]
pub(crate) struct Params {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Params {
    /// Reads the query, as it stands in the URL.
    pub(crate) fn read(query: &str) -> Self {
        let mut params = Self { left: BTreeMap::new(), known: Vec::new(), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if params.left.contains_key(&*name) {
                let detail = format!("{} stands twice in the query; send it once", shown(&name));
                params.faults.push(Fault::query(&name, Kind::Repeated, detail));
            } else {
                params.left.insert(name.into_owned(), value.into_owned());
            }
        }
        params
    }

    /// A parameter as it was sent, which may be left out.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, "a text without U+0000", |text| (!text.contains('\0')).then(|| text.to_owned()))
    }

    /// A parameter that is read further, and may be left out. `wants` says what it must be.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        wants: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let value = self.left.remove(name)?;
        let parsed = read(&value);
        if parsed.is_none() {
            self.faults.push(Fault::query(name, Kind::Invalid, format!("{name} must be {wants}")));
        }
        parsed
    }

    /// A parameter that must be there, and is read further. `wants` says what it must be.
    pub(crate) fn needed<T>(
        &mut self,
        name: &'static str,
        wants: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if !self.left.contains_key(name) {
            self.faults.push(Fault::query(name, Kind::Missing, format!("{name} is missing; it is {wants}")));
        }
        self.parsed(name, wants, read)
    }

    /// A parameter that is a time.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        self.parsed(name, TIME, time)
    }

    /// A parameter that is one of these words.
    pub(crate) fn word(&mut self, name: &'static str, words: &[&str]) -> Option<String> {
        let wants = format!("one of {}", words.join(", "));
        self.parsed(name, &wants, |text| words.contains(&text).then(|| text.to_owned()))
    }

    /// A parameter that is true or false.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// The parameters `name[…]`, by what stands in the brackets. `shown` is how they are named to a client.
    pub(crate) fn entries(&mut self, name: &str, shown: &'static str) -> BTreeMap<String, String> {
        self.known.push(shown);
        let inside = |param: &str| {
            let key = param.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            (!key.is_empty()).then(|| key.to_owned())
        };
        let mut entries = BTreeMap::new();
        self.left.retain(|param, value| match inside(param) {
            Some(key) => {
                entries.insert(key, std::mem::take(value));
                false
            }
            None => true,
        });
        entries
    }

    /// Notes a fault that was found elsewhere.
    pub(crate) fn refuse(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// All faults. What nobody has read is one, too.
    pub(crate) fn faults(mut self) -> Vec<Fault> {
        let known = match self.known.join(", ") {
            none if none.is_empty() => "this path takes none".to_owned(),
            known => format!("this path takes {known}"),
        };
        for name in self.left.keys() {
            let detail = format!("there is no parameter {} here; {known}", shown(name));
            self.faults.push(Fault::query(name, Kind::Unknown, detail));
        }
        self.faults
    }

    /// Refuses the query if anything is wrong with it.
    pub(crate) fn end(self) -> Result<(), Problem> {
        Problem::unless(self.faults())
    }
}

/// A time with a year of four digits.
pub(crate) fn time(text: &str) -> Option<DateTime<Utc>> {
    text.parse().ok().filter(|at: &DateTime<Utc>| (0..=9999).contains(&at.year()))
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(parts.uri.query().unwrap_or_default()))
    }
}

/// No parameter at all, as an argument of a handler that takes none.
pub(crate) struct NoParams;

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Params::read(parts.uri.query().unwrap_or_default()).end().map(|()| Self)
    }
}
