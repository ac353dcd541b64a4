//! How the numbers of each issuer begin, and how long they are (issuer identification numbers, ISO/IEC 7812).
//!
//! Fewer lengths count in one group than in groups: `card_number` says which are left out, and why.

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// All digits in a row.
    OneGroup,
    /// In the groups of a card.
    Groups,
}

struct Issuer {
    /// The first digits, or a range of them.
    first: &'static [&'static str],
    in_one_group: &'static [usize],
    in_groups: &'static [usize],
}

const FROM_12: &[usize] = &[12, 13, 14, 15, 16, 17, 18, 19];
const FROM_13: &[usize] = &[13, 14, 15, 16, 17, 18, 19];
const FROM_14: &[usize] = &[14, 15, 16, 17, 18, 19];
const FROM_16: &[usize] = &[16, 17, 18, 19];

const ISSUERS: &[Issuer] = &[
    // Visa.
    Issuer { first: &["4"], in_one_group: &[16], in_groups: &[13, 16, 19] },
    // The well-known test number of Visa's old cards of 13 digits.
    Issuer { first: &["42222222"], in_one_group: &[13], in_groups: &[13] },
    // Mastercard.
    Issuer { first: &["51-55", "2221-2720"], in_one_group: &[16], in_groups: &[16] },
    // American Express.
    Issuer { first: &["34", "37"], in_one_group: &[15], in_groups: &[15] },
    // Diners Club.
    Issuer { first: &["300-305", "3095", "36", "38-39"], in_one_group: &[14, 16], in_groups: FROM_14 },
    // Discover.
    Issuer { first: &["6011"], in_one_group: FROM_16, in_groups: FROM_16 },
    Issuer { first: &["644-649", "65"], in_one_group: &[16], in_groups: FROM_16 },
    // JCB and LankaPay; below, JCB's old numbers of 15 digits.
    Issuer { first: &["3528-3589"], in_one_group: &[16], in_groups: FROM_16 },
    Issuer { first: &["1800", "2131"], in_one_group: &[15], in_groups: &[15] },
    // UnionPay.
    Issuer { first: &["62", "8171"], in_one_group: &[16, 19], in_groups: FROM_16 },
    Issuer { first: &["81"], in_one_group: &[16], in_groups: FROM_16 },
    // Debit cards: Maestro with the successors of Switch, Solo, Laser, Bancontact and Dankort; and Verve.
    Issuer {
        first: &[
            "5018-5020",
            "5033",
            "5038",
            "5641",
            "5868",
            "5893",
            "6304",
            "6333-6334",
            "6703",
            "6706",
            "6709",
            "6759",
            "6761-6763",
            "6766-6767",
            "6771",
            "6799",
            "5060-5061",
            "5078-5079",
        ],
        in_one_group: &[12, 14, 16, 17, 18, 19],
        in_groups: FROM_12,
    },
    Issuer { first: &["6331", "6390", "6500"], in_one_group: &[16, 18, 19], in_groups: FROM_16 },
    // Maestro, RuPay, Elo, Hipercard, InterPayment, InstaPayment, Ukrcard and others of these ranges.
    Issuer { first: &["50", "56-58", "60", "63", "67"], in_one_group: &[16], in_groups: FROM_13 },
    // RuPay.
    Issuer { first: &["353", "356", "82"], in_one_group: &[16], in_groups: &[16] },
    // Mir and Borica.
    Issuer { first: &["2200-2205"], in_one_group: &[16], in_groups: FROM_16 },
    // GPN, UzCard, Troy, Humo.
    Issuer { first: &["1946", "8600", "9792", "9860"], in_one_group: &[16], in_groups: &[16] },
    // Napas.
    Issuer { first: &["9704"], in_one_group: &[16, 19], in_groups: FROM_16 },
];

/// Whether some issuer has numbers that begin like this one, in this length and spelling.
pub(super) fn issue(digits: &str, spelling: Spelling) -> bool {
    let lengths = |issuer: &Issuer| match spelling {
        Spelling::OneGroup => issuer.in_one_group,
        Spelling::Groups => issuer.in_groups,
    };
    let begins = |first: &str| {
        let (low, high) = first.split_once('-').unwrap_or((first, first));
        digits.get(..low.len()).is_some_and(|head| (low..=high).contains(&head))
    };
    let is_of = |issuer: &Issuer| {
        lengths(issuer).contains(&digits.len()) && issuer.first.iter().any(|first| begins(first))
    };
    ISSUERS.iter().any(is_of)
}
