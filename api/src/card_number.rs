//! Finds payment card numbers in texts, so that none is ever stored: Payonce takes tokens.
//!
//! A card number begins as an issuer's numbers do, is as long as these are, and passes the Luhn check
//! (ISO/IEC 7812-1). Its digits stand alone, in one group or in the groups of a card. A merchant's own
//! numbers are no card numbers: whether a payment is accepted must not depend on how orders are numbered. So
//! keys and customer ids are not looked at. Where no rule can tell a rare card from a common number, the card
//! is passed over:
//!
//! - 13 digits in one group are an article number (EAN-13) or a time in ms. Visa's old cards of 13 digits are
//!   gone; of them only the well-known test number is found.
//! - 15 digits that begin with 34, 37, 1800 or 2131 are a card. All others are a device (IMEI) or the number
//!   of an airline (UATP).
//! - 17 to 19 digits in one group are mostly ids made of a time (snowflakes). Found are those that begin like
//!   long numbers in use: `UnionPay`'s, and those of debit cards known by four digits. Visa, JCB, Diners Club
//!   and Discover could be as long, and are found so only in groups.
//! - Digits next to a Latin letter, after a plus sign or behind a decimal point are part of something else.
//! - Groups of four after another group of four are part of a longer number, such as a parcel's.
//!
//! Tests hold this to less than one refusal in a thousand for each of ten kinds of other numbers.

mod issuers;
mod others;
mod plain;

use issuers::Spelling;

/// The fewest digits of a card number.
const DIGITS_MIN: usize = 12;
/// The most digits of a card number.
const DIGITS_MAX: usize = 19;

/// Whether the text contains a card number.
pub(crate) fn contains_card_number(text: &str) -> bool {
    if text.len() < DIGITS_MIN {
        return false;
    }
    let text = plain::spelled(text);
    if text.bytes().filter(u8::is_ascii_digit).count() < DIGITS_MIN {
        return false;
    }
    let pieces = pieces(&text);
    let mut at = 0;
    while let Some(rest @ [_, ..]) = pieces.get(at..) {
        let before = at.checked_sub(1).and_then(|before| pieces.get(before));
        at += match others::iban(rest) {
            Some(count) => count,
            None if is_card(rest, before) || begins_card(rest, before) => return true,
            None => 1,
        };
    }
    false
}

/// A run of Latin letters and digits, and what stands between it and the run before.
struct Piece<'a> {
    gap: &'a str,
    text: &'a str,
}

impl Piece<'_> {
    fn is_number(&self) -> bool {
        self.text.bytes().all(|b| b.is_ascii_digit())
    }

    /// Whether exactly one separator stands between this piece and the one before.
    fn is_linked(&self) -> bool {
        matches!(self.gap, " " | ".")
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (gap, from_here) = rest.split_at(start);
        let end = from_here.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(from_here.len());
        let (text, after) = from_here.split_at(end);
        pieces.push(Piece { gap, text });
        rest = after;
    }
    pieces
}

/// Whether the first piece is a card number in one group.
fn is_card(pieces: &[Piece<'_>], before: Option<&Piece<'_>>) -> bool {
    let [piece, ..] = pieces else { return false };
    let is_fraction = piece.gap == "." && before.is_some_and(Piece::is_number);
    piece.is_number()
        && !piece.gap.ends_with('+')
        && !is_fraction
        && is_number_of_card(piece.text, Spelling::OneGroup)
        && !others::is_company_number(piece.text)
}

/// Whether the first pieces are a card number in the groups of a card.
fn begins_card(pieces: &[Piece<'_>], before: Option<&Piece<'_>>) -> bool {
    let is_in_longer_number = |first: &Piece<'_>| {
        first.gap.ends_with('+')
            || first.is_linked() && before.is_some_and(|before| before.is_number() && before.text.len() == 4)
    };
    let mut groups: Vec<usize> = Vec::new();
    let mut digits = String::with_capacity(DIGITS_MAX);
    for piece in pieces {
        let begins = groups.is_empty();
        if !piece.is_number() || begins && is_in_longer_number(piece) || !begins && !piece.is_linked() {
            return false;
        }
        groups.push(piece.text.len());
        digits.push_str(piece.text);
        if digits.len() > DIGITS_MAX {
            return false;
        }
        if are_of_card(&groups) && is_number_of_card(&digits, Spelling::Groups) {
            return true;
        }
    }
    false
}

/// Whether the lengths are the groups in which cards show their numbers, and in which forms have them typed.
/// They are fours, the last one as long as is left; or those of one issuer. American Express and Diners Club
/// have 4-6-5 and 4-6-4; Maestro has 4-4-5, `UnionPay` 6-13, and old Visa cards 4-3-3-3.
fn are_of_card(groups: &[usize]) -> bool {
    match groups {
        [4, 6, 4 | 5] | [4, 4, 5] | [4, 4, 4, 5..=7] | [6, 13] | [4, 3, 3, 3] => true,
        [fours @ .., last] => {
            fours.len() >= 2 && fours.iter().all(|&four| four == 4) && (1..=4).contains(last)
        }
        [] => false,
    }
}

fn is_number_of_card(digits: &str, spelling: Spelling) -> bool {
    (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len())
        && passes_luhn(digits)
        && issuers::issue(digits, spelling)
}

/// The Luhn check (ISO/IEC 7812-1, annex B).
fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .map(|digit| u32::from(digit - b'0'))
        .enumerate()
        .map(|(i, digit)| match (i % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) => doubled / 10 + doubled % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests;
