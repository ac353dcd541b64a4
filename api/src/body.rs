//! The body of a request: one JSON object, whose fields are read one by one.
//!
//! The object is read once, to the raw text of each value, so that an amount keeps its digits. Each reader
//! notes what is wrong with its field and goes on, so a client hears of all faults at once. A name that
//! stands twice is refused, as nothing says which one counts. So is a value that is nested deeper than any
//! field of ours: a reader after us may follow each level by a call.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::fault::{Fault, Kind, shown};
use crate::problem::Problem;

/// The most levels of objects and arrays in a body.
const DEPTH_MAX: usize = 32;

/// The fields of a body, and what was found wrong with them so far.
pub(crate) struct Fields<'a> {
    /// Where the object stands in the body: nowhere deeper, if it is the whole body.
    within: Vec<String>,
    left: BTreeMap<String, &'a RawValue>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    /// Reads the body, which must be a JSON object and say that it is JSON.
    pub(crate) fn read(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        if !is_plain(headers) {
            return Err(Problem::UnsupportedEncoding);
        }
        if !is_json(headers) {
            return Err(Problem::UnsupportedMediaType);
        }
        let raw: &RawValue =
            serde_json::from_slice(body).map_err(|why| Problem::from(unreadable(&why, body)))?;
        if is_deeper_than(DEPTH_MAX, raw.get()) {
            let detail =
                format!("the body is nested deeper than {DEPTH_MAX} levels; no field needs more than two");
            return Err(Fault::body(Kind::Invalid, detail).into());
        }
        let entries = object(raw).map_err(|why| Problem::from(why.of_body()))?;
        Ok(Self::of(Vec::new(), entries))
    }

    /// The fields of an object that stands there in the body.
    fn of(within: Vec<String>, entries: Vec<(String, &'a RawValue)>) -> Self {
        let mut fields = Self { within, left: BTreeMap::new(), known: Vec::new(), faults: Vec::new() };
        let mut repeated = Vec::new();
        for (name, value) in entries {
            match fields.left.entry(name) {
                Entry::Vacant(free) => drop(free.insert(value)),
                Entry::Occupied(taken) => repeated.push(taken.key().clone()),
            }
        }
        for name in repeated {
            let detail = format!("{} stands twice in the body; send it once", shown(&name));
            fields.fault(&name, Kind::Repeated, detail);
        }
        fields
    }

    /// Whether there is such a field.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// An array of objects that must be there, each read by `read`, which leaves its faults in the fields.
    pub(crate) fn objects<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let raw = self.take(name)?;
        let is_array = |raw: &RawValue| raw.get().starts_with('[');
        let Some(elements) = Some(raw)
            .filter(|raw| is_array(raw))
            .and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok())
        else {
            let detail = format!("{name} must be an array of objects, it is {}", kind(raw.get()));
            self.fault(name, Kind::WrongType, detail);
            return None;
        };
        let mut all = Vec::with_capacity(elements.len());
        for (at, element) in elements.into_iter().enumerate() {
            let within = [&self.within[..], &[name.to_owned(), at.to_string()]].concat();
            let path: Vec<&str> = within.iter().map(String::as_str).collect();
            match object(element) {
                Ok(entries) => {
                    let mut fields = Fields::of(within, entries);
                    all.push(read(&mut fields));
                    self.faults.extend(fields.faults());
                }
                Err(_) => {
                    let detail = format!("each of {name} must be an object, one is {}", kind(element.get()));
                    self.faults.push(Fault::field(&path, Kind::WrongType, detail));
                }
            }
        }
        all.into_iter().collect()
    }

    /// Takes a field, whatever its value is.
    fn take(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// Notes what is wrong with a field.
    pub(crate) fn fault(&mut self, name: &str, kind: Kind, detail: impl ToString) {
        let path: Vec<&str> = self.within.iter().map(String::as_str).chain([name]).collect();
        self.faults.push(Fault::field(&path, kind, detail));
    }

    /// A field that must be there, read from the text of its JSON.
    pub(crate) fn needed<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, (Kind, String)>,
    ) -> Option<T> {
        let Some(raw) = self.take(name) else {
            self.fault(name, Kind::Missing, format!("{name} is missing"));
            return None;
        };
        read(raw.get()).map_err(|(kind, detail)| self.fault(name, kind, detail)).ok()
    }

    /// A field that may be left out, or be null.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, (Kind, String)>,
    ) -> Option<T> {
        let raw = self.take(name).filter(|raw| raw.get() != "null")?;
        read(raw.get()).map_err(|(kind, detail)| self.fault(name, kind, detail)).ok()
    }

    /// A string that must be there.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.needed(name, |raw| text(name, raw))
    }

    /// A string that must be there, and is read further. `wants` says what it must be.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        wants: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let invalid = || (Kind::Invalid, format!("{name} must be {wants}"));
        self.needed(name, |raw| read(&text(name, raw)?).ok_or_else(invalid))
    }

    /// A string that may be left out.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<String> {
        self.optional(name, |raw| text(name, raw))
    }

    /// A string that may be left out, and is read further. `wants` says what it must be.
    pub(crate) fn optional_parsed<T>(
        &mut self,
        name: &'static str,
        wants: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let invalid = || (Kind::Invalid, format!("{name} must be {wants}"));
        self.optional(name, |raw| read(&text(name, raw)?).ok_or_else(invalid))
    }

    /// A boolean that is false where it is left out.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        let flag = self.optional(name, |raw| match raw {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err((Kind::WrongType, format!("{name} must be true or false, it is {}", kind(raw)))),
        });
        flag.unwrap_or_default()
    }

    /// An object of strings, which may be left out.
    pub(crate) fn texts(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let entries = self.optional(name, |raw| {
            let raw: &RawValue = serde_json::from_str(raw).map_err(|_| NotObject::Names.of_field(name))?;
            let entries = object(raw).map_err(|why| why.of_field(name))?;
            Ok(entries.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect::<Vec<_>>())
        });
        let mut texts = BTreeMap::new();
        for (key, raw) in entries.unwrap_or_default() {
            let read = if key.contains('\0') {
                Err((Kind::Invalid, format!("{name} contains U+0000")))
            } else if texts.contains_key(&key) {
                Err((Kind::Repeated, format!("{name} has one name twice")))
            } else {
                text(name, &raw).map_err(|(kind, detail)| {
                    let is_type = kind == Kind::WrongType;
                    (kind, if is_type { format!("each value of {detail}") } else { detail })
                })
            };
            match read {
                Ok(text) => drop(texts.insert(key, text)),
                Err((kind, detail)) => self.faults.push(Fault::field(&[name, &key], kind, detail)),
            }
        }
        texts
    }

    /// Notes faults that were found elsewhere in the request.
    pub(crate) fn and(mut self, faults: Vec<Fault>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// All faults. What no reader has taken is one, too.
    pub(crate) fn faults(mut self) -> Vec<Fault> {
        for name in self.left.keys() {
            let known = self.known.join(", ");
            let detail = format!("there is no field {} here; the fields are {known}", shown(name));
            let path: Vec<&str> = self.within.iter().map(String::as_str).chain([name.as_str()]).collect();
            self.faults.push(Fault::field(&path, Kind::Unknown, detail));
        }
        self.faults
    }

    /// What was read, if nothing is wrong.
    pub(crate) fn end<T>(self, read: Option<T>) -> Result<T, Problem> {
        Problem::unless(self.faults())?;
        // A reader that answers nothing has noted a fault.
        read.ok_or(Problem::Internal)
    }
}

/// Whether a JSON value has more levels of objects and arrays.
fn is_deeper_than(most: usize, json: &str) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    json.bytes().any(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > most
    })
}

/// A string as its JSON says it. Postgres takes no U+0000.
pub(crate) fn text(name: &str, raw: &str) -> Result<String, (Kind, String)> {
    if !raw.starts_with('"') {
        return Err((Kind::WrongType, format!("{name} must be a string, it is {}", kind(raw))));
    }
    let half = |_| (Kind::Unreadable, format!("{name} has half of a Unicode character (a lone surrogate)"));
    let text: String = serde_json::from_str(raw).map_err(half)?;
    if text.contains('\0') {
        return Err((Kind::Invalid, format!("{name} contains U+0000")));
    }
    Ok(text)
}

/// Of what type a JSON value is, in a sentence.
pub(crate) fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Why a JSON value is no object.
enum NotObject {
    Is(&'static str),
    /// A name in it is no text.
    Names,
}

impl NotObject {
    fn of_body(&self) -> Fault {
        match self {
            Self::Is(kind) => {
                Fault::body(Kind::WrongType, format!("the body must be a JSON object, it is {kind}"))
            }
            Self::Names => Fault::body(Kind::Unreadable, "the body has a name that is no Unicode text"),
        }
    }

    fn of_field(&self, name: &str) -> (Kind, String) {
        match self {
            Self::Is(kind) => (Kind::WrongType, format!("{name} must be an object of strings, it is {kind}")),
            Self::Names => (Kind::Unreadable, format!("{name} has a name that is no Unicode text")),
        }
    }
}

/// The entries of a JSON object in their order, also those that stand twice.
fn object(raw: &RawValue) -> Result<Vec<(String, &RawValue)>, NotObject> {
    if !raw.get().starts_with('{') {
        return Err(NotObject::Is(kind(raw.get())));
    }
    serde_json::from_str(raw.get()).map(|Entries(entries)| entries).map_err(|_| NotObject::Names)
}

struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Why bytes are no JSON, and where.
fn unreadable(why: &serde_json::Error, body: &[u8]) -> Fault {
    let detail = if body.trim_ascii().is_empty() {
        "the body is empty; send a JSON object".to_owned()
    } else if std::str::from_utf8(body).is_err() {
        "the body is no JSON: it is not UTF-8".to_owned()
    } else if why.classify() == Category::Eof {
        "the body is no JSON: it ends too early".to_owned()
    } else {
        format!("the body is no JSON: see line {}, column {}", why.line(), why.column())
    };
    Fault::body(Kind::Unreadable, detail)
}

/// Whether the body says once that it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Whether the body comes as it is, neither compressed nor coded otherwise.
fn is_plain(headers: &HeaderMap) -> bool {
    let is_identity = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.to_str().is_ok_and(|value| value.split(',').map(str::trim).all(is_identity)))
}
