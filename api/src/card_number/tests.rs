//! Card numbers in every spelling are found, and other numbers are left alone.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

mod corpus;

/// The numbers that issuers and payment gateways publish for tests.
const TEST_NUMBERS: &[(&str, &[&str])] = &[
    (
        "Visa",
        &["4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556", "4222222222222"],
    ),
    (
        "Mastercard",
        &[
            "5555555555554444",
            "5105105105105100",
            "5200828282828210",
            "2223003122003222",
            "2221000000000009",
            "2720990000000007",
        ],
    ),
    ("American Express", &["378282246310005", "371449635398431", "378734493671000", "343434343434343"]),
    ("Discover", &["6011111111111117", "6011000990139424", "6011981111111113", "6445644564456445"]),
    ("Diners Club", &["30569309025904", "38520000023237", "36227206271667", "3056930009020004"]),
    ("JCB", &["3530111333300000", "3566002020360505", "3569990010095841", "180000000000002"]),
    (
        "UnionPay",
        &[
            "6200000000000005",
            "6240008631401148",
            "6205500000000000004",
            "8171999927660000",
            "8171999900000000021",
        ],
    ),
    (
        "Maestro",
        &[
            "6759649826438453",
            "6799990100000000019",
            "6304000000000000",
            "586824160825533338",
            "50339619890917",
            "501800000009",
            "5641821111166669",
        ],
    ),
    ("Bancontact", &["6703444444444449", "67030000000000003"]),
    ("Dankort, Solo", &["5019717010103742", "6331101999990016"]),
    ("Mir", &["2200000000000004", "2201382000000013"]),
    ("RuPay, Elo, Hipercard", &["6062826786276634", "6362970000457013", "5066991111111118"]),
    ("Verve", &["5060990580000217499", "5061020000000000094", "507850785078507812"]),
    ("Troy, Napas", &["9792030394440796", "9704000000000018", "9704198526191432198"]),
];

fn test_numbers() -> impl Iterator<Item = &'static str> {
    TEST_NUMBERS.iter().flat_map(|(_, numbers)| numbers.iter().copied())
}

/// What people and programs put between the groups of a number.
const SEPARATORS: &[&str] = &[
    " ",
    "-",
    ".",
    "_",
    "/",
    "\t",
    "\n",
    "\u{a0}",
    "\u{2007}",
    "\u{2009}",
    "\u{200a}",
    "\u{202f}",
    "\u{205f}",
    "\u{3000}",
    "\u{2010}",
    "\u{2011}",
    "\u{2013}",
    "\u{2014}",
    "\u{2212}",
    "\u{ff0d}",
    "\u{ff0e}",
    "·",
    "•",
    "\u{200b}",
    "\u{200c}",
    "\u{200d}",
    "\u{2060}",
    "\u{feff}",
    "\u{ad}",
    "\u{200b} ",
    "-\u{200d}",
];

/// The zeros of scripts with decimal digits of their own.
const ZEROS: &[char] = &['0', '\u{ff10}', '٠', '۰', '०', '০', '๐', '\u{1d7ce}', '\u{1d7f6}'];

/// The groups in which a number of that length is written.
fn groupings(length: usize) -> Vec<Vec<usize>> {
    let fours = (0..length).step_by(4).map(|start| (length - start).min(4)).collect();
    let own: &[&[usize]] = match length {
        13 => &[&[4, 4, 5], &[4, 3, 3, 3]],
        14 => &[&[4, 6, 4]],
        15 => &[&[4, 6, 5]],
        19 => &[&[6, 13], &[4, 4, 4, 7]],
        _ => &[],
    };
    std::iter::once(fours).chain(own.iter().map(|groups| groups.to_vec())).collect()
}

fn joined(number: &str, groups: &[usize], separator: &str) -> String {
    let mut rest = number;
    let mut parts = Vec::new();
    for &length in groups {
        let (group, after) = rest.split_at(length);
        parts.push(group);
        rest = after;
    }
    parts.join(separator)
}

fn in_script(text: &str, zero: char) -> String {
    let digit = |c: char| c.to_digit(10).and_then(|d| char::from_u32(u32::from(zero) + d)).unwrap_or(c);
    text.chars().map(digit).collect()
}

#[test]
fn every_test_number_is_found_in_every_spelling() {
    for number in test_numbers() {
        let grouped = groupings(number.len())
            .into_iter()
            .flat_map(|groups| SEPARATORS.iter().map(move |separator| joined(number, &groups, separator)));
        for spelled in std::iter::once(number.to_owned()).chain(grouped) {
            for zero in ZEROS {
                let text = in_script(&spelled, *zero);

                assert!(contains_card_number(&text), "{text:?}");
            }
        }
    }
}

#[test]
fn every_test_number_is_found_between_other_words() {
    for number in test_numbers() {
        let fours = joined(number, &groupings(number.len())[0], " ");
        for number in [number, &fours] {
            for text in [
                format!("card {number}, thanks"),
                format!("card={number};cvc=123"),
                format!("tok_{number}"),
                format!("\u{200b}card\u{200b}{number}\u{feff}"),
                format!("{number} 12 30"),
                format!("{number} 12/30 123"),
                format!("{number} 1230"),
                format!("order 7: {number}."),
                format!("2 {number}"),
                format!("卡号{number}です"),
                format!("[{number}](DE89 3704 0044 0532 0130 00)"),
                format!("DE89 3704 0044 0532 0130 00 {number}"),
                format!("01900000-4242-4242-8424-000000000000 {number}"),
            ] {
                assert!(contains_card_number(&text), "{text:?}");
            }
        }
    }
}

#[test]
fn other_numbers_are_left_alone() {
    for text in [
        "",
        "4242424242424241",
        "42424242424",
        "0000000000000000",
        "order 77",
        "4242  4242  4242  4242",
        "12345678901234567890123",
        // Numbers that pass the Luhn check, and are no issuer's.
        "1234567812345670",
        "9424242424242426",
        // Digits that are part of something longer.
        "a4242424242424242",
        "4242424242424242a",
        "24242424242424242",
        "0.4242424242424242",
        "+4242424242424242",
        "1234 4242 4242 4242 4242",
        // IBANs, whatever their last digits: the check fits one of ten.
        "DE89 4242 4242 4242 4242 00",
        "de89\u{a0}4242\u{a0}4242\u{a0}4242\u{a0}4242\u{a0}00",
        "DE89 42424242 4242424200",
        "AT61 4242 4242 4242 4242",
        // A SIRET, a CNPJ, an IMEI, an article number, a time.
        "36252187900034",
        "36000000000175",
        "490154203237518",
        "4006381333931",
        "1717171717171",
    ] {
        assert!(!contains_card_number(text), "{text}");
    }
}

#[test]
fn only_the_groups_of_a_card_are_a_card() {
    for text in [
        "order-20261128-123456",
        "42424242 42424242",
        "42 4242424242424242",
        "424242-4242424242",
        "3782 8224 6310 005",
        "3782 822463 10005",
    ] {
        let is_card = text.starts_with("3782") || text.starts_with("42 ");
        assert_eq!(contains_card_number(text), is_card, "{text}");
    }
    assert!(!contains_card_number("AB12 4242 4242 4242 4241"));
    assert!(contains_card_number("AB12 4242 4242 4242 4242"), "no country has such an IBAN");
}

#[test]
fn of_each_kind_of_other_numbers_less_than_one_in_a_thousand_is_refused() {
    const EACH: usize = 10_000;
    let mut refused = Vec::new();
    let mut all = 0;
    for (kind, values) in corpus::kinds(20_261_128, EACH) {
        let found: Vec<_> = values.iter().filter(|value| contains_card_number(value)).collect();
        assert_eq!(values.len(), EACH);
        all += found.len();
        refused.push((kind, found.len()));
        assert!(found.len() * 1000 < EACH, "{kind}: {} of {EACH}, such as {:?}", found.len(), found.first());
    }
    println!("{refused:?}");
    assert_eq!(refused.len(), 10);
    assert!(all * 1000 < EACH * refused.len(), "{refused:?}");
}

proptest! {
    #[test]
    fn no_uuid_is_taken_for_one(uuid in any::<u128>()) {
        let uuid = Uuid::from_u128(uuid);
        prop_assert!(!contains_card_number(&uuid.to_string()));
    }

    #[test]
    fn any_number_of_16_digits_is_found_with_its_check_digit_alone(
        body in "(4[0-9]|5[1-5]|222[1-9]|2[3-6][0-9]{2}|65|62|353[0-9])[0-9]{14}",
        before in "[a-z]{0,5}[_ ]",
    ) {
        let body = &body[..15];
        let found = (0..10).filter(|check| contains_card_number(&format!("{before}{body}{check}"))).count();
        prop_assert_eq!(found, 1);
    }

    #[test]
    fn a_card_number_is_found_whatever_stands_before_and_after_it(
        before in ".{0,100}",
        number in prop::sample::select(test_numbers().collect::<Vec<_>>()),
        after in ".{0,100}",
    ) {
        let text = format!("{before}; {number}; {after}");
        prop_assert!(contains_card_number(&text), "{:?}", text);
    }

    #[test]
    fn what_is_found_has_the_digits_of_a_card(text in "([0-9]{0,20}[ .+A-Z\u{200b}\u{a0}٣]{0,3}){0,12}") {
        let digits: String = plain::spelled(&text).chars().filter(char::is_ascii_digit).collect();
        let is_card = |digits: &str| {
            [Spelling::OneGroup, Spelling::Groups].iter().any(|&spelling| is_number_of_card(digits, spelling))
        };
        let has_card = (0..digits.len()).any(|start| {
            (DIGITS_MIN..=DIGITS_MAX).any(|length| digits.get(start..start + length).is_some_and(is_card))
        });
        prop_assert!(has_card || !contains_card_number(&text), "{:?}", text);
    }

    #[test]
    fn less_than_twelve_digits_are_no_card(text in ".{0,200}") {
        let digits = text.chars().filter(|c| c.is_numeric()).count();
        prop_assert!(digits >= DIGITS_MIN || !contains_card_number(&text), "{:?}", text);
    }
}
