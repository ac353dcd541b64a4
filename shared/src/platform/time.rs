//! How instants are written.

use chrono::{DateTime, SecondsFormat, Utc};

/// An instant as text by RFC 3339: in UTC, to the microsecond, which is as fine as Postgres keeps it.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
