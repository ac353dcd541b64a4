//! `Retry-After` in both forms of RFC 9110, section 10.2.3: a number of seconds, or a date.
//!
//! A date is counted from the answer's own `Date`, if it has one, so that the gateway's clock need not agree
//! with ours. A value that is neither, or that has passed, is as good as absent.

use std::time::{Duration, SystemTime};

use hyper::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// How long to wait; none if the answer does not say so, or says nothing usable.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let asked = text(headers, RETRY_AFTER)?;
    let seconds = || (asked.bytes().all(|byte| byte.is_ascii_digit())).then(|| asked.parse().ok()).flatten();
    if let Some(seconds) = seconds() {
        return Some(Duration::from_secs(seconds)).filter(|wait| !wait.is_zero());
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let date = text(headers, DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let wait = until.duration_since(date.unwrap_or_else(SystemTime::now)).ok();
    wait.filter(|wait| !wait.is_zero())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &'static str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        date.map(|date| headers.insert(DATE, date.parse().unwrap()));
        read(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn both_forms_of_the_standard_are_read() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(asked("120", None), Some(120));
        assert_eq!(asked(" 7 ", None), Some(7));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(30));
        assert_eq!(asked("Sunday, 06-Nov-94 08:50:07 GMT", date), Some(30));
        assert_eq!(asked("Sun Nov  6 08:50:07 1994", date), Some(30));
        assert!(asked("Fri, 31 Dec 2100 00:00:00 GMT", None).is_some_and(|secs| secs > 1_000_000));
    }

    #[test]
    fn what_is_neither_or_has_passed_says_nothing() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for unusable in ["", "0", "-1", "1.5", "+3", "soon", "1e3", "99999999999999999999999"] {
            assert_eq!(asked(unusable, None), None, "{unusable:?}");
        }
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT", date), None);
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT", date), None);
        assert_eq!(read(&HeaderMap::new()), None);
    }
}
