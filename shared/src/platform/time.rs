//! How instants are written.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 in UTC, to the microsecond, as Postgres keeps it.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
