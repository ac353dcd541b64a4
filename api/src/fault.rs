//! What is wrong with a request, field by field: the member `errors` of a problem (RFC 9457, section 3.2).
//!
//! Invariant: every word a client reads here is ours. What a parser said would name our types, and changes
//! with its version.

use serde_json::{Value, json};

/// The most faults that one answer tells, so that no request makes a long answer out of short faults.
pub(crate) const FAULTS_MAX: usize = 20;

/// The longest name of a client's own that an answer repeats.
const NAME_MAX: usize = 100;

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the body, at this JSON pointer (RFC 6901). The empty one is the whole body.
    Body(String),
    /// In the query's parameter of this name.
    Query(String),
    /// In the header of this name.
    Header(&'static str),
}

/// Of what kind a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Missing,
    Unknown,
    Repeated,
    WrongType,
    Unreadable,
    Unsupported,
    Invalid,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) detail: String,
}

impl Fault {
    /// A fault of the body as a whole.
    pub(crate) fn body(kind: Kind, detail: impl ToString) -> Self {
        Self { place: Place::Body(String::new()), kind, detail: detail.to_string() }
    }

    /// A fault of a field of the body, or of a field within it. A name that is too long to be repeated is
    /// left out, with all that follows it.
    pub(crate) fn field(path: &[&str], kind: Kind, detail: impl ToString) -> Self {
        let told = path.iter().take_while(|name| name.len() <= NAME_MAX);
        let pointer = told.map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
        Self { place: Place::Body(pointer), kind, detail: detail.to_string() }
    }

    /// A fault of a parameter of the query.
    pub(crate) fn query(name: &str, kind: Kind, detail: impl ToString) -> Self {
        Self { place: Place::Query(shown(name).to_owned()), kind, detail: detail.to_string() }
    }

    /// A fault of a header.
    pub(crate) fn header(name: &'static str, kind: Kind, detail: impl ToString) -> Self {
        Self { place: Place::Header(name), kind, detail: detail.to_string() }
    }

    /// The field, the parameter or the header. None where it is the whole body.
    pub(crate) fn param(&self) -> Option<String> {
        match &self.place {
            Place::Body(pointer) => {
                let name = pointer.strip_prefix('/')?.split('/').next()?;
                Some(name.replace("~1", "/").replace("~0", "~"))
            }
            Place::Query(name) => Some(name.clone()),
            Place::Header(name) => Some((*name).to_owned()),
        }
    }

    /// The fault as a client reads it.
    pub(crate) fn shown(&self) -> Value {
        let code = match self.kind {
            Kind::Missing => "missing",
            Kind::Unknown => "unknown",
            Kind::Repeated => "repeated",
            Kind::WrongType => "wrong_type",
            Kind::Unreadable => "unreadable",
            Kind::Unsupported => "unsupported",
            Kind::Invalid => "invalid",
        };
        let (place, name) = match &self.place {
            Place::Body(pointer) => ("pointer", pointer.as_str()),
            Place::Query(name) => ("query", name.as_str()),
            Place::Header(name) => ("header", *name),
        };
        json!({ place: name, "code": code, "detail": self.detail })
    }
}

/// As much of a client's own name as an answer repeats.
pub(crate) fn shown(name: &str) -> &str {
    name.char_indices().nth(NAME_MAX).map_or(name, |(end, _)| name.get(..end).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_what_a_name_has_of_its_own() {
        let fault = Fault::field(&["metadata", "a/b~c"], Kind::Invalid, "no");
        assert_eq!(fault.shown(), json!({"pointer": "/metadata/a~1b~0c", "code": "invalid", "detail": "no"}));
        assert_eq!(fault.param().as_deref(), Some("metadata"));
        assert_eq!(Fault::field(&["a/b~c"], Kind::Unknown, "no").param().as_deref(), Some("a/b~c"));
        assert_eq!(Fault::body(Kind::Unreadable, "no").param(), None);
    }

    #[test]
    fn no_name_of_a_client_makes_an_answer_long() {
        let long = "ä".repeat(10_000);
        assert_eq!(shown(&long).chars().count(), NAME_MAX);
        assert_eq!(Fault::field(&["metadata", &long], Kind::Invalid, "no").shown()["pointer"], "/metadata");
        assert_eq!(Fault::field(&[&long], Kind::Unknown, "no").shown()["pointer"], "");
    }
}
