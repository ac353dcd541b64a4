//! Numbers of other kinds that may look like card numbers, and how they are told from them.

use super::{Piece, passes_luhn};

/// The length of a bank account number in each country that has IBANs (ISO 13616).
const IBANS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 \
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 \
    KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 \
    PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// How many of the first pieces are an IBAN: a country, two check digits, and as many characters as that
/// country has. None where they are no IBAN.
pub(super) fn iban(pieces: &[Piece<'_>]) -> Option<usize> {
    let (country, rest) = pieces.first()?.text.split_at_checked(2)?;
    let has_check_digits = rest.get(..2)?.bytes().all(|b| b.is_ascii_digit());
    let of_country = |iban: &&str| iban.get(..2).is_some_and(|it| it.eq_ignore_ascii_case(country));
    let length: usize = IBANS.split_ascii_whitespace().find(of_country)?.get(2..)?.parse().ok()?;
    if !has_check_digits {
        return None;
    }
    let mut characters = 0;
    for (i, piece) in pieces.iter().enumerate() {
        characters += piece.text.len();
        if i > 0 && !piece.is_linked() || characters > length {
            return None;
        }
        if characters == length {
            return Some(i + 1);
        }
    }
    None
}

/// Whether 14 digits are the number of a company, and no card of Diners Club. A French SIRET has a Luhn check
/// for its first nine digits; a Brazilian CNPJ has two check digits of its own.
pub(super) fn is_company_number(digits: &str) -> bool {
    digits.len() == 14 && (is_siret(digits) || is_cnpj(digits))
}

/// Whether the digits are a SIRET. Companies have fewer than a thousand places of business, so two zeros
/// follow their own number.
fn is_siret(digits: &str) -> bool {
    digits.split_at_checked(9).is_some_and(|(company, place)| passes_luhn(company) && place.starts_with("00"))
}

fn is_cnpj(digits: &str) -> bool {
    let check = |length: usize| {
        let weights = (2..=9).cycle();
        let digits = digits.bytes().take(length).map(|digit| u32::from(digit - b'0'));
        let sum: u32 = digits.rev().zip(weights).map(|(digit, weight)| digit * weight).sum();
        match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    digits.get(12..) == Some(format!("{}{}", check(12), check(13)).as_str())
}
