//! Texts in plain characters: digits and separators of every script become ASCII, and invisible ones go.

use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory as _};

/// The text of Latin letters, ASCII digits, ` ` and `.` (a separator), `+`, and `|` for everything else.
/// Invisible characters are left out, but become `|` between a letter and a digit.
pub(super) fn spelled(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut after_invisible = false;
    for c in text.chars() {
        let Some(c) = plain_char(c) else {
            after_invisible = true;
            continue;
        };
        let parts = |last: char| {
            last.is_ascii_alphanumeric()
                && c.is_ascii_alphanumeric()
                && last.is_ascii_digit() != c.is_ascii_digit()
        };
        if after_invisible && plain.chars().next_back().is_some_and(parts) {
            plain.push('|');
        }
        plain.push(c);
        after_invisible = false;
    }
    plain
}

/// The plain form of a character. None for one that cannot be seen: zero-width characters, joiners, marks on
/// other characters.
fn plain_char(c: char) -> Option<char> {
    let c = match c {
        // The full-width forms stand in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    if c.is_ascii_alphanumeric() || c == '+' {
        return Some(c);
    }
    match c {
        '.' | '·' | '•' | '‧' | '∙' | '⋅' | '。' => return Some('.'),
        '-' | '_' | '/' | '−' | '⁃' => return Some(' '),
        _ if c.is_whitespace() => return Some(' '),
        _ if c.is_ascii() => return Some('|'),
        _ => {}
    }
    let category = c.general_category();
    if category == Category::DecimalNumber {
        return Some(decimal(c));
    }
    if category == Category::DashPunctuation {
        return Some(' ');
    }
    let is_invisible =
        matches!(category, Category::Format | Category::NonspacingMark | Category::EnclosingMark);
    (!is_invisible).then_some('|')
}

/// The ASCII digit of a decimal digit. Unicode has decimal digits in rows from zero to nine, one or more
/// after another.
fn decimal(digit: char) -> char {
    let is_decimal =
        |&code: &u32| char::from_u32(code).is_some_and(|c| c.general_category() == Category::DecimalNumber);
    let before = (0..u32::from(digit)).rev().take_while(is_decimal).count();
    char::from(b"0123456789"[before % 10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_are_digits() {
        for (text, plain) in [
            ("٣", "3"),
            ("۴", "4"),
            ("९", "9"),
            ("໐", "0"),
            ("０９", "09"),
            ("𝟎𝟗𝟘𝟡𝟬𝟵𝟶𝟿", "09090909"),
            ("4\u{fe0f}\u{20e3}2", "42"),
        ] {
            assert_eq!(spelled(text), plain, "{text}");
        }
    }

    #[test]
    fn separators_are_separators_and_what_cannot_be_seen_is_not_there() {
        assert_eq!(spelled("1-2\u{2011}3\u{2013}4_5/6\u{2212}7"), "1 2 3 4 5 6 7");
        assert_eq!(spelled("1\u{a0}2\u{2009}3\u{202f}4\u{3000}5\t6\n7"), "1 2 3 4 5 6 7");
        assert_eq!(spelled("1.2·3•4．5"), "1.2.3.4.5");
        assert_eq!(spelled("1\u{200b}2\u{ad}3\u{feff}4 \u{200d}5"), "1234 5");
        assert_eq!(spelled("a\u{200b}1,é"), "a|1||");
    }
}
