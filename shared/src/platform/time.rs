//! How instants are written.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

/// An instant as text by RFC 3339: in UTC, to the microsecond, which is as fine as Postgres keeps it.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Recorded facts for a reader, with their instants written as all others are. Postgres wrote them into JSON
/// in a form of its own. An instant is what is named `send_by`, or with `_at` at its end.
#[must_use]
pub fn with_instants(mut facts: Value) -> Value {
    for (name, fact) in facts.as_object_mut().into_iter().flatten() {
        let is_instant = name == "send_by" || name.ends_with("_at");
        if let Some(at) = fact.as_str().filter(|_| is_instant).and_then(|text| text.parse().ok()) {
            *fact = rfc3339(at).into();
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instants_among_facts_are_written_as_all_others_and_nothing_else_is_changed() {
        let at = "2026-01-31T12:00:00+00:00";
        let facts = json!({"send_by": at, "due_at": "2026-01-31T13:00:00.5+01:00", "text": at, "of_at": "x",
                           "within": {"due_at": at}, "none_at": null});
        let written = json!({"send_by": "2026-01-31T12:00:00.000000Z", "due_at": "2026-01-31T12:00:00.500000Z",
                             "text": at, "of_at": "x", "within": {"due_at": at}, "none_at": null});
        assert_eq!(with_instants(facts), written);
        assert_eq!(with_instants(json!(at)), json!(at));
    }
}
