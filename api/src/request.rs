//! What a client may ask for. Invalid requests store nothing, so the corrected one may use the same key.

use std::collections::BTreeMap;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::idempotency::Key;
use shared::money::{Currency, Money};
use shared::payment::transition::PaymentRequest;

use crate::card_number::contains_card_number;
use crate::problem::Problem;

/// No request is longer.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

const METADATA_MAX: usize = 50;
const METADATA_NAME_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    /// Raw, because a float would not be exact.
    #[serde(borrow)]
    amount: &'a RawValue,
    currency: String,
    customer_id: String,
    payment_method: String,
    description: Option<String>,
    #[serde(default, deserialize_with = "unique_names")]
    metadata: BTreeMap<String, String>,
}

/// Reads and checks the body of `POST /v1/payments`.
pub(crate) fn payment_request(headers: &HeaderMap, body: &[u8]) -> Result<PaymentRequest, Problem> {
    let body: Body<'_> = json_body(headers, body)?;
    let currency: Currency = body.currency.parse().map_err(|why| Problem::invalid("currency", why))?;
    let money =
        Money::parse(&amount_text(body.amount)?, currency).map_err(|why| Problem::invalid("amount", why))?;
    let request = PaymentRequest {
        money,
        customer_id: text("customer_id", body.customer_id, 1, 255)?,
        payment_method: text("payment_method", body.payment_method, 1, 255)?,
        description: body.description.map(|it| text("description", it, 0, 1000)).transpose()?,
        metadata: body.metadata,
    };
    if request.metadata.len() > METADATA_MAX {
        return Err(Problem::invalid("metadata", format!("metadata has more than {METADATA_MAX} entries")));
    }
    for (name, value) in &request.metadata {
        text("metadata", name.clone(), 1, METADATA_NAME_MAX)?;
        text("metadata", value.clone(), 0, METADATA_VALUE_MAX)?;
    }
    Ok(request)
}

/// The client's key.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Key, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Problem::KeyMissing),
        (Some(value), None) => {
            let key = Key::parse(value.as_bytes()).map_err(|why| Problem::invalid("Idempotency-Key", why))?;
            if contains_card_number(key.as_str()) {
                return Err(Problem::invalid("Idempotency-Key", "Idempotency-Key contains a card number"));
            }
            Ok(key)
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid("Idempotency-Key", "send one Idempotency-Key, not several"))
        }
    }
}

/// The body, which must be JSON and say that it is.
pub(crate) fn json_body<'a, T: Deserialize<'a>>(headers: &HeaderMap, body: &'a [u8]) -> Result<T, Problem> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::UnsupportedMediaType);
    }
    serde_json::from_slice(body).map_err(|why| Problem::InvalidRequest {
        param: None,
        detail: format!("the body cannot be read: {why}"),
    })
}

/// The digits of the amount as the client wrote them, from a JSON string or number.
fn amount_text(raw: &RawValue) -> Result<String, Problem> {
    let raw = raw.get();
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map_err(|why| Problem::invalid("amount", why)),
        _ => Ok(raw.to_owned()),
    }
}

/// A text that can be stored: of a length, without U+0000 (which Postgres does not take), and without a card number.
fn text(param: &'static str, text: String, min: usize, max: usize) -> Result<String, Problem> {
    let length = text.chars().count();
    if !(min..=max).contains(&length) {
        return Err(Problem::invalid(
            param,
            format!("{param} must have {min} to {max} characters, it has {length}"),
        ));
    }
    if text.contains('\0') {
        return Err(Problem::invalid(param, format!("{param} contains U+0000")));
    }
    if contains_card_number(&text) {
        return Err(Problem::invalid(param, format!("{param} contains a card number; send a token instead")));
    }
    Ok(text)
}

/// A JSON object of strings in which every name stands once: which of two would count?
fn unique_names<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Names;
    impl<'de> serde::de::Visitor<'de> for Names {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((name, value)) = entries.next_entry::<String, String>()? {
                if map.insert(name, value).is_some() {
                    return Err(serde::de::Error::custom("metadata has one name twice"));
                }
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Names)
}

#[cfg(test)]
mod tests;
