//! Numbers that merchants have beside card numbers: ten kinds, the same for the same seed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

/// `each` numbers of each kind, with the kind's name.
pub(super) fn kinds(seed: u64, each: usize) -> Vec<(&'static str, Vec<String>)> {
    type Kind = (&'static str, fn(&mut Dice) -> String);
    const KINDS: &[Kind] = &[
        ("IBAN", iban),
        ("IMEI", imei),
        ("EAN-13", ean),
        ("phone number", phone),
        ("epoch ms", epoch_ms),
        ("snowflake", snowflake),
        ("dated order number", order_number),
        ("UUID", uuid),
        ("tracking number", tracking),
        ("tax id", tax_id),
    ];
    let mut dice = Dice(StdRng::seed_from_u64(seed));
    KINDS.iter().map(|(name, make)| (*name, (0..each).map(|_| make(&mut dice)).collect())).collect()
}

struct Dice(StdRng);

impl Dice {
    fn number(&mut self, from: u64, to: u64) -> u64 {
        self.0.random_range(from..=to)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.0.random_range(0..of.len())]
    }

    /// A random digit for each `#`, a capital letter for each `@`; other characters stay.
    fn fill(&mut self, pattern: &str) -> String {
        let fill = |c| match c {
            '#' => char::from(b'0' + self.0.random_range(0..10_u8)),
            '@' => char::from(b'A' + self.0.random_range(0..26_u8)),
            other => other,
        };
        pattern.chars().map(fill).collect()
    }

    fn filled(&mut self, patterns: &[&str]) -> String {
        let pattern = self.one(patterns);
        self.fill(pattern)
    }

    /// A day from 2015 to 2034.
    fn day(&mut self) -> [u64; 3] {
        [self.number(2015, 2034), self.number(1, 12), self.number(1, 28)]
    }
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u64> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u64::from(b - b'0'))
}

/// What the digits' sum lacks to a multiple of ten, each with its weight from the last to the first.
fn mod_10(text: &str, weighted: impl Fn(usize, u64) -> u64) -> u64 {
    let sum: u64 = digits(text).rev().enumerate().map(|(i, digit)| weighted(i, digit)).sum();
    (10 - sum % 10) % 10
}

fn with_luhn(text: &str) -> String {
    let check = mod_10(text, |i, digit| if i % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { digit });
    format!("{text}{check}")
}

fn in_groups(text: &str, lengths: impl IntoIterator<Item = usize>, separator: &str) -> String {
    let mut rest = text;
    let mut groups = Vec::new();
    for length in lengths {
        let (group, after) = rest.split_at(length.min(rest.len()));
        groups.push(group);
        rest = after;
    }
    groups.retain(|group| !group.is_empty());
    groups.join(separator)
}

fn iban(dice: &mut Dice) -> String {
    let pattern = dice.one(&[
        "DE##################",
        "DE##################",
        "DE##################",
        "AT################",
        "CH#################",
        "FR#######################",
        "FR##########@@#########@##",
        "GB@@@@##############",
        "NL@@@@##########",
        "ES####################",
        "IT@######################",
        "PL########################",
        "LT################",
        "EE################",
        "BE############",
        "PT#####################",
        "SE####################",
        "DK##############",
        "LU################",
        "BR#######################@#",
        "TR######################",
    ]);
    let filled = dice.fill(pattern);
    let (country, account) = filled.split_at(2);
    let rest = format!("{account}{country}00").chars().fold(0, |rest, c| {
        let value = c.to_digit(36).unwrap_or_default();
        (rest * if value < 10 { 10 } else { 100 } + value) % 97
    });
    let iban = format!("{country}{:02}{account}", 98 - rest);
    let separator = dice.one(&["", "", " ", " ", "\u{a0}", "-"]);
    let before = dice.one(&["", "", "IBAN ", "IBAN: ", "pay to "]);
    format!("{before}{}", in_groups(&iban, [4; 9], separator))
}

fn imei(dice: &mut Dice) -> String {
    let pattern = dice.one(&[
        "35############",
        "35############",
        "35############",
        "35############",
        "35############",
        "86############",
        "86############",
        "01############",
        "99############",
        "98############",
        "91############",
        "44############",
        "45############",
        "49############",
        "50############",
        "52############",
        "53############",
    ]);
    let imei = with_luhn(&dice.fill(pattern));
    match dice.number(0, 5) {
        0 => in_groups(&imei, [2, 6, 6, 1], "-"),
        1 => in_groups(&imei, [6, 2, 6, 1], " "),
        2 => format!("IMEI {imei}"),
        _ => imei,
    }
}

fn ean(dice: &mut Dice) -> String {
    let prefix = dice.one(&[
        "40", "41", "42", "43", "440", "45", "46", "471", "48", "49", "50", "5018", "5038", "54", "57",
        "590", "599", "30", "34", "36", "37", "38", "600", "622", "64", "69", "70", "73", "76", "80", "84",
        "87", "90", "93", "00", "978",
    ]);
    let body: String = dice.fill(&format!("{prefix}############")).chars().take(12).collect();
    let check = mod_10(&body, |i, digit| if i % 2 == 0 { digit * 3 } else { digit });
    match dice.number(0, 4) {
        0 => format!("EAN {body}{check}"),
        1 => in_groups(&format!("{body}{check}"), [1, 6, 6], " "),
        _ => format!("{body}{check}"),
    }
}

fn phone(dice: &mut Dice) -> String {
    let number = dice.filled(&[
        "49 15# ########",
        "49 16# #######",
        "49 17# ########",
        "49 89 #########",
        "49 30 ########",
        "43 664 #######",
        "43 6## ########",
        "44 7### ######",
        "44 20 #### ####",
        "1 ### ### ####",
        "33 6 ## ## ## ##",
        "34 6## ## ## ##",
        "39 3## ### ####",
        "55 11 9####-####",
        "52 1 55 #### ####",
        "54 9 11 ####-####",
        "62 812 #### ####",
        "63 917 ### ####",
        "86 13# #### ####",
        "91 9#### #####",
        "81 90 #### ####",
        "7 9## ###-##-##",
        "57 3## ### ####",
        "58 4## ### ####",
        "380 50 ### ## ##",
        "420 6## ### ###",
        "502 #### ####",
        "593 9 #### ####",
        "65 9### ####",
        "971 50 ### ####",
    ]);
    let bare: String = number.chars().filter(char::is_ascii_digit).collect();
    match dice.number(0, 5) {
        0 => format!("+{number}"),
        1 => format!("+{bare}"),
        2 => format!("00{bare}"),
        3 => number.replace(' ', "-"),
        4 => format!("call {number}"),
        _ => bare,
    }
}

fn epoch_ms(dice: &mut Dice) -> String {
    let at = dice.number(1_000_000_000_000, 2_200_000_000_000);
    if dice.number(0, 3) == 0 { format!("order-{at}") } else { at.to_string() }
}

/// An id that begins with a time: milliseconds since the maker's epoch, shifted left by 22 or 23 bits.
fn snowflake(dice: &mut Dice) -> String {
    const YEAR_MS: u64 = 31_556_952_000;
    let (epoch_year, first_year, bits) = match dice.number(0, 4) {
        0 | 1 => (2010, 2012, 22),
        2 | 3 => (2015, 2015, 22),
        _ => (2011, 2016, 23),
    };
    let years = dice.number((first_year - epoch_year) * YEAR_MS, (2030 - epoch_year) * YEAR_MS);
    let id = years.max(3 * YEAR_MS / 4) << bits | dice.number(0, (1 << bits) - 1);
    assert!((17..=19).contains(&id.to_string().len()));
    if dice.number(0, 3) == 0 { format!("msg_{id}") } else { id.to_string() }
}

fn order_number(dice: &mut Dice) -> String {
    let [year, month, day] = dice.day();
    let date = format!("{year}{month:02}{day:02}");
    let time = dice.fill("##");
    let number = dice.fill("######");
    match dice.number(0, 9) {
        0 | 1 => format!("order-{date}-{number}"),
        2 => format!("{date}-{number}"),
        3 => format!("{date}{number}"),
        4 => format!("INV-{year}-{number}"),
        5 => format!("{year}/{month:02}/{day:02}/{number}"),
        6 => format!("ORD{date}{number}"),
        7 => format!("order_{date}{number}{time}"),
        8 => format!("{date}1{}5959{number}", &time[..1]),
        _ => format!("{year}-{month:02}{day:02}-{number}-{time}{time}"),
    }
}

fn uuid(dice: &mut Dice) -> String {
    let random = (u128::from(dice.number(0, u64::MAX)) << 64) | u128::from(dice.number(0, u64::MAX));
    let uuid = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
    match dice.number(0, 4) {
        0 => uuid.as_simple().to_string(),
        1 => uuid.to_string().to_uppercase(),
        2 => format!("pay_{}", uuid.as_simple()),
        _ => Uuid::to_string(&uuid),
    }
}

fn tracking(dice: &mut Dice) -> String {
    dice.filled(&[
        "1Z###@@########@##",
        "1Z 999 AA1 ## #### ####",
        "94##################@@",
        "94####################",
        "92####################",
        "9400 1### #### #### #### ##",
        "7013 26## #### #### ####",
        "42########94####################",
        "############",
        "###############",
        "#### #### ####",
        "##########",
        "JJD0###################",
        "0##############",
        "003404##############",
        "RR#########DE",
        "@@#########GB",
        "TBA############",
        "YT################",
        "LP##############",
        "C###########",
        "SF#############",
        "%######9#######",
        "D##############",
    ])
}

fn tax_id(dice: &mut Dice) -> String {
    match dice.number(0, 9) {
        0 => format!("DE{}", dice.fill("#########")),
        1 => dice.filled(&["##-#######", "##/###/#####", "###########", "## ### ### ###", "#############"]),
        2 => {
            let siret = siret(dice);
            let separator = dice.one(&["", " "]);
            in_groups(&siret, [3, 3, 3, 5], separator)
        }
        3 => siret(dice),
        4 => cnpj(dice),
        5 => in_groups(&cnpj(dice), [2, 3, 3, 4, 2], "."),
        6 => format!("FR{}", dice.fill("###########")),
        7 => format!("{}{}", dice.one(&["110105", "310104", "350102", "500101", "510104", "620102"]), {
            let [_, month, day] = dice.day();
            let year = dice.number(1940, 2010);
            format!("{year}{month:02}{day:02}{}", dice.fill("####"))
        }),
        8 => dice.filled(&["27@@@@@####@1Z#", "@@@@######@#@", "########-#", "###-##-####"]),
        _ => with_luhn(&dice.fill("##########")),
    }
}

/// A company's number, which has a Luhn check of its own, and the number of its place, which completes a Luhn
/// check over all.
fn siret(dice: &mut Dice) -> String {
    let first = dice.number(3, 9);
    let company = with_luhn(&dice.fill(&format!("{first}#######")));
    let place = dice.fill("00##");
    with_luhn(&format!("{company}{place}"))
}

fn cnpj(dice: &mut Dice) -> String {
    let mut cnpj = dice.fill("########0001");
    for _ in 0..2 {
        let sum: u64 = digits(&cnpj).rev().zip((2..=9).cycle()).map(|(digit, weight)| digit * weight).sum();
        let check = if sum % 11 < 2 { 0 } else { 11 - sum % 11 };
        cnpj.push_str(&check.to_string());
    }
    cnpj
}
