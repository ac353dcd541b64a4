//! Whether an id of a client's own is clean: two that look the same are the same.
//!
//! Ids are compared byte by byte, and stand in logs and on pages. So a new payment's ids have no character
//! that does not show, no blank at either end, and are in the normal form C of Unicode.

use shared::platform::text::is_shown;
use unicode_normalization::is_nfc;

/// Why a text is not clean, after the name of its field. None where it is.
pub(crate) fn unclean(text: &str) -> Option<String> {
    if let Some((at, hidden)) = text.chars().enumerate().find(|(_, c)| is_hidden(*c)) {
        let place = at + 1;
        return Some(format!(
            "has a character that does not show, U+{:04X} at place {place}",
            u32::from(hidden)
        ));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Some("begins or ends with a blank".to_owned());
    }
    (!is_nfc(text)).then(|| "is not in the normal form C of Unicode (NFC)".to_owned())
}

/// What does not show where it stands, or only changes the character before it: selectors of variants, vowels
/// that are inherent, and the empty pattern of Braille.
fn is_hidden(c: char) -> bool {
    let ignorable = matches!(
        u32::from(c),
        0x17B4 | 0x17B5 | 0x180B..=0x180D | 0x2800 | 0xFE00..=0xFE0F | 0xE_0100..=0xE_01EF
    );
    ignorable || !is_shown(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_merchants_are_clean_in_every_script() {
        for id in
            ["c", "customer-1", "4242424242424242", "a b", "Zoë", "顧客一", "ลูกค้า", "عميل", "😀", "#7/ä"]
        {
            assert_eq!(unclean(id), None, "{id}");
        }
    }

    #[test]
    fn what_does_not_show_is_named_with_its_place() {
        for (id, named) in [
            ("a\u{7}b", "U+0007 at place 2"),
            ("a\n", "U+000A at place 2"),
            ("\u{85}", "U+0085"),
            ("ä\u{200b}", "U+200B at place 2"),
            ("\u{202e}cus", "U+202E at place 1"),
            ("a\u{2066}b", "U+2066"),
            ("a\u{feff}", "U+FEFF"),
            ("a\u{ad}", "U+00AD"),
            ("a\u{2028}b", "U+2028"),
            ("a\u{3164}", "U+3164"),
            ("a\u{fe0f}", "U+FE0F"),
            ("a\u{e0041}", "U+E0041"),
        ] {
            let why = unclean(id).unwrap_or_default();
            assert!(why.contains(named), "{id:?}: {why}");
        }
    }

    #[test]
    fn blanks_at_an_end_and_other_forms_are_not_clean() {
        for id in [" a", "a ", "\u{a0}a", "a\u{3000}"] {
            assert_eq!(unclean(id).as_deref(), Some("begins or ends with a blank"), "{id:?}");
        }
        // An e and its accent as two characters, and the sign of Angstrom.
        for id in ["Zoe\u{308}", "\u{212b}"] {
            assert!(unclean(id).is_some_and(|why| why.contains("NFC")), "{id:?}");
        }
    }
}
