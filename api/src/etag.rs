//! Conditional reads of a payment (RFC 9110, section 13): a client that knows it as it stands gets no body.
//!
//! A tag is weak, as it names the state of the payment and not the bytes that show it. It has the number of
//! the form that payments are shown in, the version, the time of the last change, and how
//! often what is given back was changed. The time is there for
//! a past that came back: the same version is then another event.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::IF_NONE_MATCH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use shared::payment::Payment;

use crate::render::FORM;

/// The tag of a payment as it stands, without the mark that it is weak.
pub(crate) struct Tag(String);

impl Tag {
    pub(crate) fn of(payment: &Payment) -> Self {
        let changed_at = payment.updated_at.timestamp_micros();
        let refunds = payment.refund_version.unwrap_or(0);
        Self(format!("\"{FORM}.{}.{changed_at:x}.{refunds}\"", payment.version))
    }

    /// The value of the header `ETag`.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("W/{}", self.0)).ok()
    }
}

/// The tags that a client knows: `If-None-Match`.
pub(crate) struct Known(Vec<HeaderValue>);

impl Known {
    fn read(headers: &HeaderMap) -> Self {
        Self(headers.get_all(IF_NONE_MATCH).iter().cloned().collect())
    }

    /// Whether this is one of them. `*` is every tag. Strong and weak ones are compared alike.
    pub(crate) fn has(&self, tag: &Tag) -> bool {
        let mut tags = self.0.iter().filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
        tags.any(|known| {
            let known = known.trim();
            known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag.0
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
        Known::read(&headers).has(&Tag("\"1.3.ab\"".to_owned()))
    }

    #[test]
    fn a_tag_is_known_weak_or_strong_alone_or_among_others_and_so_is_any() {
        for value in ["W/\"1.3.ab\"", "\"1.3.ab\"", "\"x\", W/\"1.3.ab\" , \"y,z\"", "*", " * "] {
            assert!(knows(value), "{value}");
        }
        for value in ["", "1.3.ab", "W/1.3.ab", "\"1.3.ac\"", "w/\"1.3.ab\"", "\"1.2.ab\", \"1.30.ab\""] {
            assert!(!knows(value), "{value}");
        }
    }
}
