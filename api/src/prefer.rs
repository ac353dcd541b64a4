//! `Prefer: wait=n` (RFC 7240): a client that would rather wait for the end of its payment than ask for it.
//!
//! A preference is no demand. One that cannot be read, is not known or is out of bounds is ignored.

use std::ops::RangeInclusive;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");

pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The seconds for which a client may prefer to wait.
const WAITS: RangeInclusive<u64> = 1..=60;

/// The seconds for which the client would wait. Of several such preferences the first one counts.
pub(crate) fn wait(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut waits = values.flat_map(|value| value.split(',')).filter_map(waiting);
    let seconds = waits.next()?;
    // Digits alone: a sign would be read as a number, too.
    let is_whole = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
    seconds.parse().ok().filter(|seconds| is_whole && WAITS.contains(seconds))
}

/// The value of one preference, if its name is `wait`. Its parameters mean nothing here.
fn waiting(preference: &str) -> Option<&str> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')).unwrap_or(value);
    name.trim().eq_ignore_ascii_case("wait").then_some(bare)
}

/// What an answer says that came after such a wait.
pub(crate) fn applied(seconds: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("wait={seconds}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_str(value).unwrap());
        }
        wait(&headers)
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        for (values, seconds) in [
            (&["wait=10"][..], 10),
            (&["Wait = \"10\""], 10),
            (&["respond-async, wait=60"], 60),
            (&["return=minimal; a=b", "handling=lenient,wait=1;x=y"], 1),
            (&["wait=5, wait=6"], 5),
        ] {
            assert_eq!(wait_of(values), Some(seconds), "{values:?}");
        }
    }

    #[test]
    fn what_is_unreadable_unknown_or_out_of_bounds_is_ignored() {
        for values in [
            &[][..],
            &[""],
            &["respond-async"],
            &["wait"],
            &["wait="],
            &["wait=0"],
            &["wait=61"],
            &["wait=+5"],
            &["wait=-5"],
            &["wait=1.5"],
            &["wait=soon, wait=5"],
            &["wait=99999999999999999999"],
            &["await=5"],
            &[",;=,"],
        ] {
            assert_eq!(wait_of(values), None, "{values:?}");
        }
    }
}
