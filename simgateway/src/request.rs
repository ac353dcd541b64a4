//! A caller's request, already validated. This is the only way from text to a request.
//!
//! Invariant: every string in a request is 1 to 255 visible ASCII characters, so it can be stored, logged and
//! sent back as it is. Every amount is positive and fits the books.

use rust_decimal::Decimal;

use crate::act::ActRequest;

/// One call that the books decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// `POST /charges`: a charge to be made.
    Charge(ChargeRequest),
    /// `GET /charges?key=…`: the charges under a key.
    LookUpKey(String),
    /// `GET /charges/{id}`: one charge.
    LookUpCharge(String),
    /// `POST /voids`, with the key of the charge to undo.
    Void(String),
    /// `POST /refunds`: a part or all of a charge to be given back.
    Refund(RefundRequest),
    /// `GET /refunds?key=…`: the refunds under a key.
    LookUpRefunds(String),
    /// `POST /dashboard/…`: what somebody does without the caller.
    Act(ActRequest),
}

impl Request {
    /// The word for what is asked, the key, and the payment: a caller's references are its payments' ids.
    pub(crate) fn in_words(&self) -> (&'static str, Option<String>, Option<String>) {
        match self {
            Request::Charge(charge) => ("charge", Some(charge.key.clone()), Some(charge.reference.clone())),
            Request::LookUpKey(key) => ("lookup", Some(key.clone()), None),
            Request::LookUpCharge(_) => ("lookup", None, None),
            Request::Void(key) => ("void", Some(key.clone()), None),
            Request::Refund(refund) => ("refund", Some(refund.key.clone()), None),
            Request::LookUpRefunds(key) => ("refund_lookup", Some(key.clone()), None),
            Request::Act(_) => ("dashboard", None, None),
        }
    }
}

/// A charge to be made, once per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChargeRequest {
    pub(crate) key: String,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) payment_method: String,
    /// The caller's own name for the charge. A repeated request need not repeat it.
    pub(crate) reference: String,
    /// Whether it was sent without a key, which only a gateway accepts that demands none. Nothing ties it to
    /// another call, and its reference takes the place of the key.
    pub(crate) is_keyless: bool,
}

/// A refund to be made, once per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefundRequest {
    pub(crate) key: String,
    /// The charge that is given back.
    pub(crate) charge_id: String,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    /// The caller's own name for the refund.
    pub(crate) reference: String,
}

const TEXT_LENGTH_MAX: usize = 255;
/// Twelve digits before the point and six behind it fit every currency and every sum of the books.
const AMOUNT_LENGTH_MAX: usize = 19;
const AMOUNT_SCALE_MAX: usize = 6;
const AMOUNT_MAX: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0); // 10^12

/// `value` if it is 1 to 255 visible ASCII characters.
pub(crate) fn text(value: String) -> Option<String> {
    let is_plain =
        (1..=TEXT_LENGTH_MAX).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    is_plain.then_some(value)
}

/// `value` if it is three capital letters.
pub(crate) fn currency(value: String) -> Option<String> {
    (value.len() == 3 && value.bytes().all(|b| b.is_ascii_uppercase())).then_some(value)
}

/// The decimal in `value`: digits, with at most one point between them; more than zero, at most 10^12.
pub(crate) fn amount(value: &str) -> Option<Decimal> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if value.len() > AMOUNT_LENGTH_MAX || fraction.len() > AMOUNT_SCALE_MAX {
        return None;
    }
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let amount = Decimal::from_str_exact(value).ok()?;
    (amount > Decimal::ZERO && amount <= AMOUNT_MAX).then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_digits_with_at_most_one_point() {
        for (given, read) in [
            ("12.30", Some("12.30")),
            ("1", Some("1")),
            ("0.01", Some("0.01")),
            ("1000000000000", Some("1000000000000")),
            ("1000000000000.01", None),
            ("0", None),
            ("0.00", None),
            ("-1", None),
            ("+1", None),
            ("1_000", None),
            ("1e3", None),
            ("1.", None),
            (".5", None),
            ("1.2.3", None),
            ("", None),
            (" 1", None),
            ("1.1234567", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(amount(given).map(|a| a.to_string()).as_deref(), read, "{given:?}");
        }
    }

    #[test]
    fn text_is_visible_ascii_of_a_bounded_length() {
        assert!(text("pay_1".to_owned()).is_some());
        assert!(text("x".repeat(255)).is_some());
        for refused in [String::new(), "x".repeat(256), "a b".to_owned(), "a\0b".to_owned(), "é".to_owned()]
        {
            assert!(text(refused.clone()).is_none(), "{refused:?}");
        }
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert!(currency("EUR".to_owned()).is_some());
        for refused in ["eur", "EU", "EURO", "E1R", ""] {
            assert!(currency(refused.to_owned()).is_none(), "{refused:?}");
        }
    }
}
