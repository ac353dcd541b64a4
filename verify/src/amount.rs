//! Amounts, read exactly: millionths of a currency's unit in 64 bits, so that a million of them are small.
//!
//! The arithmetic is our own on purpose: a mistake in the code that wrote an amount must not be made again by
//! the code that reads it.

use std::fmt;

const DIGITS: usize = 6;
const UNIT: i64 = 1_000_000;

/// An amount in some currency, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Amount(i64);

/// The three bytes of a currency's code.
pub(super) type Currency = [u8; 3];

impl Amount {
    /// Reads a plain decimal such as `12.30`. None where the text is no decimal or does not fit: more than
    /// nine trillion, or other digits than zero after the sixth behind the point.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DIGITS {
            return None;
        }
        let millionths: i64 = format!("{fraction:0<DIGITS$}").parse().ok()?;
        whole.parse::<i64>().ok()?.checked_mul(UNIT)?.checked_add(millionths).map(Self)
    }

    /// The sum, which stops at the largest amount that fits.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, which stops at the smallest amount that fits.
    pub(super) const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, millionths) =
            (self.0.unsigned_abs() / UNIT.unsigned_abs(), self.0.unsigned_abs() % UNIT.unsigned_abs());
        let fraction = format!("{millionths:06}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            fraction => write!(f, "{sign}{whole}.{fraction:0<2}"),
        }
    }
}

/// The three bytes of a code. A text of another length becomes a code that no currency has.
pub(super) fn currency(code: &str) -> Currency {
    code.as_bytes().try_into().unwrap_or(*b"???")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        assert_eq!(Amount::parse("12.3"), Amount::parse("12.30000000"));
        assert_ne!(Amount::parse("12.3"), Amount::parse("12.300001"));
        assert_eq!(Amount::parse("1000000000000.0001").unwrap().to_string(), "1000000000000.0001");
    }

    #[test]
    fn what_cannot_be_read_exactly_is_no_amount() {
        for text in ["", ".", ".5", "-1", "+1", "1e3", "1.0000001", "12,30", "99999999999999999999", "NaN"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_amount_is_shown_with_what_it_has() {
        let shown = ["5", "0.5", "12.345", "100.000"].map(|text| Amount::parse(text).unwrap().to_string());
        assert_eq!(shown, ["5", "0.50", "12.345", "100"]);
        let owed = Amount::parse("1").unwrap();
        assert_eq!(owed.minus(owed).minus(owed).to_string(), "-1");
    }
}
