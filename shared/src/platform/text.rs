//! Texts that people give: names of merchants and keys, names of people, and reasons.
//!
//! Invariant: two texts that look the same are stored the same, and nothing that is stored can hide something
//! or change what stands beside it when it is shown.

use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// The most characters that a name has.
pub const NAME_LENGTH_MAX: usize = 255;

/// What a name may be, for whoever gave another one.
pub const NAME: &str = "give 1 to 255 characters with no blank at either end, and none of them a control, zero-width or \
     direction character";

/// A name as it is stored: composed as Unicode composes it (NFC).
///
/// # Errors
/// It is no name: see [`NAME`], which is the error.
pub fn name(given: &str) -> Result<String, &'static str> {
    let name: String = given.nfc().collect();
    let fits = (1..=NAME_LENGTH_MAX).contains(&name.chars().count());
    if fits && name.trim() == name && name.chars().all(is_shown) { Ok(name) } else { Err(NAME) }
}

/// The longest name of an operator.
const OPERATOR_MAX: usize = 64;

/// The name of an operator, under which what they do is recorded.
///
/// # Errors
/// It is none, as the text says.
pub fn operator(given: &str) -> Result<&str, &'static str> {
    let is_one = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let fits = (1..=OPERATOR_MAX).contains(&given.len()) && given.chars().all(is_one);
    if fits { Ok(given) } else { Err("a name has 1 to 64 of a-z, 0-9, dot, dash and underscore") }
}

/// A text of several lines as it is stored: without blanks around it, with plain line ends, composed. None if
/// it is empty, too long or has characters that hide.
#[must_use]
pub fn lines(given: &str, longest: usize) -> Option<String> {
    let text: String = given.trim().replace("\r\n", "\n").nfc().collect();
    let is_text = text.chars().all(|c| c == '\n' || is_shown(c));
    (is_text && (1..=longest).contains(&text.chars().count())).then_some(text)
}

/// What is the same in all names that differ only in case, in blanks, or in what nobody sees.
#[must_use]
pub fn folded(name: &str) -> String {
    let seen = name.nfkc().filter(|c| !c.is_whitespace() && is_shown(*c));
    seen.flat_map(char::to_lowercase).nfc().collect()
}

/// Whether a character is seen where it stands. The others are controls, what joins or separates without
/// being seen, what turns the direction of writing, and what Unicode does not know.
#[must_use]
pub fn is_shown(c: char) -> bool {
    /// Fillers, and what only changes the character before it: letters and marks by their category.
    const UNSEEN: [char; 6] = ['\u{34f}', '\u{115f}', '\u{1160}', '\u{180f}', '\u{3164}', '\u{ffa0}'];
    let hides = matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    );
    !hides && !UNSEEN.contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_composed_and_has_nothing_that_hides() {
        assert_eq!(name("Cafe\u{301} Zürich").as_deref(), Ok("Café Zürich"));
        for allowed in ["a", "Acme & Söhne (EU)", "日本 商店", "ا", &"x".repeat(NAME_LENGTH_MAX)] {
            assert_eq!(name(allowed).as_deref(), Ok(allowed));
        }
        for refused in [
            "",
            " ",
            "   ",
            " acme",
            "acme ",
            "acme\u{a0}",
            "a\tb",
            "a\nb",
            "\u{1b}[31mred",
            "a\u{7f}",
            "zero\u{200b}width",
            "\u{feff}bom",
            "\u{202e}emca",
            "\u{2066}x\u{2069}",
            "a\u{2028}b",
            "\u{3164}",
            "\u{e000}",
            &"x".repeat(NAME_LENGTH_MAX + 1),
        ] {
            assert_eq!(name(refused), Err(NAME), "{refused:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_or_blanks_are_folded_alike() {
        for other in ["acme eu", "ACME  EU", " Acme\u{a0}Eu ", "AcmeEU", "ac\u{200b}me eu", "ａcme eu"] {
            assert_eq!(folded(other), folded("Acme EU"), "{other:?}");
        }
        assert_eq!(folded("CAFE\u{301}"), folded("café"));
        assert_ne!(folded("acme"), folded("acme2"));
    }

    #[test]
    fn a_text_may_have_lines_and_nothing_that_hides() {
        assert_eq!(lines(" two\r\nlines ", 20).as_deref(), Some("two\nlines"));
        for refused in ["", " \n ", "a\u{0}", "a\u{202e}b", "a\u{200b}b", "longer than twenty characters"] {
            assert_eq!(lines(refused, 20), None, "{refused:?}");
        }
    }
}
