//! Idempotency keys: the same request made twice is one payment, and the same answer.
//!
//! The rules follow the IETF draft "The Idempotency-Key HTTP Header Field". The key's scope is merchant,
//! operation and customer. Uniqueness never expires: a retry after two days must not charge again.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use crate::request::PaymentRequest;
use crate::request::{Accepted, Remembered};

/// The operation under which `POST /v1/payments` records its keys.
pub const CREATE_PAYMENT: &str = "create_payment";

/// The renderer that makes first answers today. A changed form of the answer gets a new number. The old
/// renderer stays for the keys that name it.
pub const RENDERER: i16 = 1;

/// The renderer of the first answers of payments from balances, which programs of before did not know.
pub const RENDERER_OF_BALANCES: i16 = 2;

/// A client's key: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// Why a header's value is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Idempotency-Key must be 1 to 255 visible ASCII characters, bare or as a quoted string")]
pub struct InvalidKey;

impl Key {
    /// Reads the header's value: bare (`order-77`), or a structured-field string (`"order-77"`, RFC 9651).
    /// Both spellings are the same key.
    ///
    /// # Errors
    /// The key is empty or too long, has other characters, or its quote does not close.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidKey> {
        let text = std::str::from_utf8(value).map_err(|_| InvalidKey)?.trim_matches([' ', '\t']);
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted.strip_suffix('"').ok_or(InvalidKey)?)?,
            None => text.to_owned(),
        };
        let is_key = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if is_key { Ok(Self(key)) } else { Err(InvalidKey) }
    }

    /// The key itself, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The inside of a structured-field string: `\"` and `\\` are the only escapes.
fn unquote(inside: &str) -> Result<String, InvalidKey> {
    let mut key = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                Some(_) | None => return Err(InvalidKey),
            },
            '"' => return Err(InvalidKey),
            _ => key.push(c),
        }
    }
    Ok(key)
}

/// The SHA-256 of the normalised request. Spelling, field order and trailing zeros do not matter (`12.3` =
/// `"12.30"`).
#[must_use]
pub fn fingerprint(request: &PaymentRequest) -> [u8; 32] {
    let normalised = serde_json::json!([
        request.money.to_string(),
        request.money.currency().code(),
        request.customer_id,
        request.payment_method,
        request.description,
        request.metadata,
    ]);
    Sha256::digest(normalised.to_string()).into()
}

/// A request as it was read, with no rules applied but those of its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedRequest {
    /// Any number, so that it can be compared even where its currency is not valid any more.
    pub amount: Decimal,
    /// The currency code as the client wrote it.
    pub currency: String,
    /// The merchant's own id of the customer.
    pub customer_id: String,
    /// The token of the payment method to charge.
    pub payment_method: String,
    /// The merchant's free text, if there is any.
    pub description: Option<String>,
    /// The merchant's own names and values.
    pub metadata: BTreeMap<String, String>,
}

impl From<&PaymentRequest> for UncheckedRequest {
    fn from(request: &PaymentRequest) -> Self {
        Self {
            amount: request.money.amount(),
            currency: request.money.currency().code().to_owned(),
            customer_id: request.customer_id.clone(),
            payment_method: request.payment_method.clone(),
            description: request.description.clone(),
            metadata: request.metadata.clone(),
        }
    }
}

/// The fields in which a checked request differs from the one that took its key. Equal fingerprints differ in
/// nothing. Other fingerprints may differ in nothing too, where a currency's digits were changed since.
#[must_use]
pub fn differences(
    request: &PaymentRequest,
    fingerprint: [u8; 32],
    remembered: &Remembered,
) -> Vec<&'static str> {
    if remembered.fingerprint == fingerprint {
        return Vec::new();
    }
    differing_fields(&request.into(), &remembered.accepted)
}

/// The fields in which a request differs from what was recorded.
#[must_use]
pub fn differing_fields(request: &UncheckedRequest, accepted: &Accepted) -> Vec<&'static str> {
    [
        ("amount", request.amount != accepted.amount),
        ("currency", request.currency != accepted.currency),
        ("customer_id", request.customer_id != accepted.customer_id),
        ("payment_method", request.payment_method != accepted.payment_method),
        ("description", request.description != accepted.description),
        ("metadata", serde_json::json!(request.metadata) != accepted.metadata),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_key(value: &str, key: Option<&str>) {
        assert_eq!(Key::parse(value.as_bytes()).ok().as_ref().map(Key::as_str), key, "{value:?}");
    }

    #[test]
    fn a_key_is_bare_or_quoted() {
        check_key("9c2f-1aa2", Some("9c2f-1aa2"));
        check_key("\"9c2f-1aa2\"", Some("9c2f-1aa2"));
        check_key(r#""a\"b\\c""#, Some(r#"a"b\c"#));
        check_key(&"k".repeat(255), Some(&"k".repeat(255)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for value in [
            "",
            "\"\"",
            "\"open",
            "two words",
            "\"two words\"",
            "schl\u{fc}ssel",
            r#""\x""#,
            r#""a"b""#,
            "\"",
            "a\0",
        ] {
            check_key(value, None);
        }
        check_key(&"k".repeat(256), None);
    }

    fn request(amount: &str) -> PaymentRequest {
        PaymentRequest {
            money: crate::money::Money::parse(amount, "EUR".parse().unwrap()).unwrap(),
            customer_id: "c1".to_owned(),
            payment_method: "sim_ok".to_owned(),
            description: None,
            metadata: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn equal_requests_have_one_fingerprint_and_others_another() {
        assert_eq!(fingerprint(&request("12.3")), fingerprint(&request("12.30")));
        assert_ne!(fingerprint(&request("12.3")), fingerprint(&request("12.31")));
        let described = PaymentRequest { description: Some(String::new()), ..request("12.3") };
        assert_ne!(fingerprint(&request("12.3")), fingerprint(&described));
    }

    /// As a structured-field string.
    fn quoted(key: &str) -> String {
        format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn a_key_reads_the_same_bare_and_quoted(key in "[!-~]{1,255}") {
            let parsed = Key::parse(quoted(&key).as_bytes()).unwrap();
            prop_assert_eq!(parsed.as_str(), &key);
            if !key.starts_with('"') {
                prop_assert_eq!(Key::parse(key.as_bytes()).unwrap(), parsed);
            }
        }

        #[test]
        fn what_is_read_is_what_was_sent_and_nothing_else_is_a_key(
            value in prop::collection::vec(
                prop_oneof![
                    20 => 0x21_u8..=0x7e,
                    2 => prop::sample::select(b"\"\\ \t".to_vec()),
                    1 => any::<u8>(),
                ],
                0..20,
            ),
            copies in prop_oneof![9 => Just(1_usize), 1 => Just(30)],
        ) {
            let value = value.repeat(copies);
            let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
            let start = value.iter().position(|b| !is_blank(b)).unwrap_or(value.len());
            let end = value.iter().rposition(|b| !is_blank(b)).map_or(start, |last| last + 1);
            let sent = &value[start..end];

            let key = Key::parse(&value);

            if sent.first() == Some(&b'"') {
                if let Ok(key) = &key {
                    prop_assert_eq!(quoted(key.as_str()).into_bytes(), sent);
                }
            } else {
                let is_key = (1..=255).contains(&sent.len()) && sent.iter().all(u8::is_ascii_graphic);
                prop_assert_eq!(key.as_ref().ok().map(|key| key.as_str().as_bytes()), is_key.then_some(sent));
            }
            let read = key.map_or(String::new(), |key| key.0);
            prop_assert!(read.len() <= 255 && read.bytes().all(|b| b.is_ascii_graphic()), "{:?}", value);
        }
    }
}
