//! Money: an exact decimal amount and its ISO 4217 currency.
//!
//! Invariant: an amount is more than zero and at most [`MAX_AMOUNT`], with at most as many digits after the
//! point as its currency has. It is never rounded and never passes through a float.

#![deny(clippy::float_arithmetic)]

mod currency;

use std::fmt;

use rust_decimal::Decimal;

pub use currency::{AS_OF, Currency};

/// The largest amount of one payment, in the currency's own unit: 10^12.
pub const MAX_AMOUNT: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);

/// Why a text is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// The code is not three upper-case letters of ISO 4217, or has no minor digits.
    #[error("currency must be an ISO 4217 code in upper case, of money that circulates, such as EUR")]
    Currency,
    /// The currency was withdrawn, so no new payment may be in it.
    #[error("currency {code} was withdrawn (ISO 4217 as of {AS_OF}); send the one that took its place")]
    Withdrawn {
        /// The three-letter code of the currency.
        code: &'static str,
    },
    /// The currency is a fund or a unit of account, so no new payment may be in it.
    #[error("currency {code} is a fund or a unit of account; send money that circulates, such as EUR")]
    Fund {
        /// The three-letter code of the currency.
        code: &'static str,
    },
    /// The text is no plain decimal number.
    #[error("amount must be a decimal number, best sent as a string, such as \"12.30\"")]
    NotANumber,
    /// The amount has more digits than the currency. Rounding would change what is owed.
    #[error("amount has more digits after the point than {code}, which has {digits}")]
    TooManyDigits {
        /// The three-letter code of the currency.
        code: &'static str,
        /// The number of digits that it has.
        digits: u32,
    },
    /// The amount is zero or less.
    #[error("amount must be more than zero")]
    NotPositive,
    /// The amount is more than [`MAX_AMOUNT`].
    #[error("amount must be at most {MAX_AMOUNT}")]
    TooLarge,
}

/// What is owed: more than zero, exact, in one currency.
///
/// It is displayed as the bare amount with exactly the currency's digits. Equal amounts are equal in every
/// spelling (`12.3` = `12.30`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// Reads an amount exactly, from the digits of a JSON string or number.
    ///
    /// # Errors
    /// The text is no plain decimal, has too many digits for the currency, or is out of range.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self, InvalidMoney> {
        Self::new(decimal(amount)?, currency)
    }

    /// Checks an amount that is already a number, such as one read from the database.
    ///
    /// # Errors
    /// The amount has too many digits for the currency, or is out of range.
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, InvalidMoney> {
        let mut amount = in_range(amount)?.normalize();
        if amount.scale() > currency.digits() {
            return Err(InvalidMoney::TooManyDigits { code: currency.code(), digits: currency.digits() });
        }
        amount.rescale(currency.digits());
        Ok(Self { amount, currency })
    }

    /// The amount, with exactly the currency's digits.
    #[must_use]
    pub const fn amount(self) -> Decimal {
        self.amount
    }

    /// The currency that the amount is in.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.amount, f)
    }
}

/// The amount, if a payment in some currency may be of it.
///
/// # Errors
/// It is zero or less, or more than [`MAX_AMOUNT`].
pub fn in_range(amount: Decimal) -> Result<Decimal, InvalidMoney> {
    if amount <= Decimal::ZERO {
        return Err(InvalidMoney::NotPositive);
    }
    if amount > MAX_AMOUNT { Err(InvalidMoney::TooLarge) } else { Ok(amount) }
}

/// Reads an amount exactly, whatever its currency and its size.
///
/// # Errors
/// The text is no plain decimal.
pub fn decimal(amount: &str) -> Result<Decimal, InvalidMoney> {
    parse_decimal(amount).ok_or(InvalidMoney::NotANumber)
}

/// Reads a decimal as JSON writes numbers (RFC 8259, section 6), so `1e2` too. It allows no sign but a minus,
/// no blanks and no underscores. None where the text is no such number, or has more digits than can be held
/// exactly.
fn parse_decimal(text: &str) -> Option<Decimal> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_number = is_digits(whole)
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|e| is_digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
        && text.len() <= 64;
    if !is_number {
        return None;
    }
    // Neither part may be rounded, so the exponent shifts the point of an exact mantissa.
    let digits = Decimal::from_str_exact(text.split(['e', 'E']).next().unwrap_or_default()).ok()?;
    match exponent.map_or(Ok(0), str::parse::<i32>).ok()? {
        up @ 0.. => 10_i64.checked_pow(up.unsigned_abs()).and_then(|shift| digits.checked_mul(shift.into())),
        down => {
            let mut digits = digits;
            let scale = digits.scale().checked_add(down.unsigned_abs())?;
            digits.set_scale(scale).ok().map(|()| digits)
        }
    }
}

/// Reads a decimal from a JSON string, exactly: an amount with more digits than can be held is an error.
pub fn exact<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
    parse_decimal(&text).ok_or_else(|| serde::de::Error::custom("no exact decimal"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[track_caller]
    fn check_reads(amount: &str, code: &str, shown: &str) {
        assert_eq!(Money::parse(amount, currency(code)).map(|m| m.to_string()), Ok(shown.to_owned()));
    }

    #[track_caller]
    fn check_refused(amount: &str, code: &str, why: &InvalidMoney) {
        assert_eq!(Money::parse(amount, currency(code)).as_ref().map(ToString::to_string), Err(why));
    }

    #[test]
    fn amounts_show_exactly_the_digits_of_their_currency() {
        check_reads("12.3", "EUR", "12.30");
        check_reads("12.30", "EUR", "12.30");
        check_reads("012", "EUR", "12.00");
        check_reads("1e2", "EUR", "100.00");
        check_reads("1.5E+1", "EUR", "15.00");
        check_reads("1230e-2", "EUR", "12.30");
        check_reads("0.00123e4", "EUR", "12.30");
        check_reads("500", "JPY", "500");
        check_reads("0.001", "KWD", "0.001");
        check_reads("12.3000000", "EUR", "12.30");
        check_reads("1000000000000", "EUR", "1000000000000.00");
    }

    #[test]
    fn what_is_no_exact_positive_amount_is_refused_and_never_rounded() {
        check_refused("12.345", "EUR", &InvalidMoney::TooManyDigits { code: "EUR", digits: 2 });
        check_refused("0.5", "JPY", &InvalidMoney::TooManyDigits { code: "JPY", digits: 0 });
        check_refused("0", "EUR", &InvalidMoney::NotPositive);
        check_refused("-1", "EUR", &InvalidMoney::NotPositive);
        check_refused("1000000000000.01", "EUR", &InvalidMoney::TooLarge);
        for text in ["12.34999999999999999999999999999999999999e0", "1e40", "1e-40", "1e99999999999"] {
            assert!(Money::parse(text, currency("EUR")).is_err(), "{text} was rounded");
        }
        for text in
            ["", " 1", "1 ", "+1", "1_000", "1,5", "0x10", "NaN", "1.", ".5", "1e", "--1", "1e99", "٣"]
        {
            check_refused(text, "EUR", &InvalidMoney::NotANumber);
        }
    }

    #[test]
    fn the_largest_amount_is_ten_to_the_twelfth() {
        assert_eq!(MAX_AMOUNT, Decimal::from(1_000_000_000_000_u64));
    }

    proptest! {
        #[test]
        fn every_amount_of_minor_units_survives_being_shown_and_read(minor in 1_i64..=100_000_000_000_000) {
            let money = Money::new(Decimal::new(minor, 2), currency("EUR")).unwrap();
            prop_assert_eq!(Money::parse(&money.to_string(), currency("EUR")), Ok(money));
        }

        #[test]
        fn what_is_read_is_what_the_digits_say_and_nothing_is_rounded(
            (code, digits) in prop::sample::select(vec![("EUR", 2_u32), ("JPY", 0), ("KWD", 3)]),
            whole in 0_u64..2_000_000_000_000,
            fraction in "[0-9]{0,4}",
            exponent in -3_i32..=3,
        ) {
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!("{whole}{point}{fraction}e{exponent}");
            // The same in whole numbers: so many of the smallest unit, or none if a part of one is left over.
            let units: i128 = format!("{whole}{fraction}").parse().unwrap();
            let shift = exponent + i32::try_from(digits).unwrap() - i32::try_from(fraction.len()).unwrap();
            let by = 10_i128.pow(shift.unsigned_abs());
            let units = if shift >= 0 { Some(units * by) } else { (units % by == 0).then_some(units / by) };
            let most = 1_000_000_000_000 * 10_i128.pow(digits);
            let owed = units.filter(|units| (1..=most).contains(units));

            let read = Money::parse(&text, currency(code)).ok();

            let owed = owed.map(|units| Decimal::from_i128_with_scale(units, digits));
            prop_assert_eq!(read.map(Money::amount), owed, "{} {}", text, code);
            prop_assert!(read.is_none_or(|money| money.amount().scale() == digits), "{} {}", text, code);
        }

        #[test]
        fn no_text_is_read_that_is_no_number_to_others(
            text in prop_oneof!["[-+0-9.eE_, x]{0,8}", ".{0,80}"],
        ) {
            let read = Money::parse(&text, currency("EUR"));
            // JSON has no zeros in front; we take them.
            let digits = text.trim_start_matches('0');
            let in_front = if digits.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
            let number = serde_json::from_str::<f64>(&format!("{in_front}{digits}"));
            let is_number = number.is_ok_and(|number| number > 0.0) && !text.contains(char::is_whitespace);
            prop_assert!(read.is_err() || is_number, "{:?} is {:?}", text, read);
            prop_assert!(read != Err(InvalidMoney::NotANumber) || !is_plain(&text), "{:?}", text);
        }
    }

    /// Digits alone, and not too many of them.
    fn is_plain(text: &str) -> bool {
        (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    }
}
