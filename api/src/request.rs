//! What a client may ask for. Invalid requests store nothing, so the corrected one may use the same key.
//!
//! Reading comes first, and the rules after it. The rules change, and are for new payments. A request that
//! was recorded under earlier rules can still be read, and be told from another request.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use domain::idempotency::{Key, UncheckedRequest};
use domain::money::{self, Currency, Money};
use domain::request::PaymentRequest;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::card_number::contains_card_number;
use crate::problem::Problem;

/// The most bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

const METADATA_MAX: usize = 50;
const METADATA_NAME_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    /// The raw text, because a float would not be exact.
    #[serde(borrow)]
    amount: &'a RawValue,
    currency: String,
    customer_id: String,
    payment_method: String,
    description: Option<String>,
    #[serde(default, deserialize_with = "unique_names")]
    metadata: BTreeMap<String, String>,
}

/// Reads the body of `POST /v1/payments`. It refuses only what no rules ever let pass: a body of another
/// form, an amount that is no number, and U+0000, which Postgres does not take.
pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<UncheckedRequest, Problem> {
    let body: Body<'_> = json_body(headers, body)?;
    let request = UncheckedRequest {
        amount: money::decimal(&amount_text(body.amount)?).map_err(|why| Problem::invalid("amount", why))?,
        currency: body.currency,
        customer_id: body.customer_id,
        payment_method: body.payment_method,
        description: body.description,
        metadata: body.metadata,
    };
    let unstorable = texts(&request).find(|(_, text, _)| text.contains('\0')).map(|(param, ..)| param);
    match unstorable {
        Some(param) => Err(Problem::invalid(param, format!("{param} contains U+0000"))),
        None => Ok(request),
    }
}

/// Checks the request against the rules for a new payment, and answers the money that it owes.
pub(crate) fn check(request: &UncheckedRequest) -> Result<Money, Problem> {
    let currency = request.currency.parse().and_then(Currency::for_new_payment);
    let currency = currency.map_err(|why| Problem::invalid("currency", why))?;
    let money = Money::new(request.amount, currency).map_err(|why| Problem::invalid("amount", why))?;
    if request.metadata.len() > METADATA_MAX {
        return Err(Problem::invalid("metadata", format!("metadata has more than {METADATA_MAX} entries")));
    }
    for (param, text, lengths) in texts(request) {
        check_length(param, text, lengths)?;
        // A customer's id may be any number of the merchant's own.
        if param != "customer_id" && contains_card_number(text) {
            return Err(Problem::invalid(
                param,
                format!("{param} contains a card number; send a token instead"),
            ));
        }
    }
    Ok(money)
}

/// The request after [`check`], with the money that it found.
pub(crate) fn checked(request: UncheckedRequest, money: Money) -> PaymentRequest {
    PaymentRequest {
        money,
        customer_id: request.customer_id,
        payment_method: request.payment_method,
        description: request.description,
        metadata: request.metadata,
    }
}

/// The texts that are recorded, each with its field and its permitted numbers of characters.
fn texts(request: &UncheckedRequest) -> impl Iterator<Item = (&'static str, &str, RangeInclusive<usize>)> {
    let metadata = request.metadata.iter().flat_map(|(name, value)| {
        [
            ("metadata", name.as_str(), 1..=METADATA_NAME_MAX),
            ("metadata", value.as_str(), 0..=METADATA_VALUE_MAX),
        ]
    });
    [
        ("customer_id", request.customer_id.as_str(), 1..=255),
        ("payment_method", request.payment_method.as_str(), 1..=255),
    ]
    .into_iter()
    .chain(request.description.as_deref().map(|it| ("description", it, 0..=1000)))
    .chain(metadata)
}

/// The client's idempotency key. Exactly one must be sent.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Key, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Problem::KeyMissing),
        (Some(value), None) => {
            Key::parse(value.as_bytes()).map_err(|why| Problem::invalid("Idempotency-Key", why))
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

fn check_length(param: &'static str, text: &str, lengths: RangeInclusive<usize>) -> Result<(), Problem> {
    let length = text.chars().count();
    if lengths.contains(&length) {
        return Ok(());
    }
    let (min, max) = lengths.into_inner();
    let detail = format!("{param} must have {min} to {max} characters, it has {length}");
    Err(Problem::invalid(param, detail))
}

/// A JSON object of strings in which every name stands once. A name that stands twice is refused, as nothing
/// says which one counts.
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
