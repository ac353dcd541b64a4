//! Currencies: which ones new payments may be in, and how many digits each of all known ones has.
//!
//! Policy: a new payment is in money that circulates today, by list one of ISO 4217 as of [`AS_OF`]. That is
//! the money of a country or of a monetary union. All else on that list is refused:
//!
//! - withdrawn money (HRK, BGN, ZWL), also where somebody may still exchange it;
//! - funds and units of account (CHE, CLF), in which nobody pays;
//! - what has no digits: metals, bonds, drawing rights, the code for tests and the code for no currency (XAU,
//!   XBA, XDR, XTS). Of these no payment was ever recorded, so they are no currency here.
//!
//! The policy is for new payments alone. What was recorded once can be read for ever, repeated and settled,
//! so the digits of what is refused stay known. A new edition of the list changes [`AS_OF`] and moves codes;
//! no code is ever deleted here.

use std::fmt;
use std::str::FromStr;

use super::InvalidMoney;

/// The day of the list. Bulgaria's lev left it on that day.
pub const AS_OF: &str = "2026-01-01";

/// Money that circulates, by its digits.
const CIRCULATING: [(u32, &str); 3] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP \
         CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS \
         INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN \
         MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE \
         SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR \
         ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
];

/// Money that was withdrawn. Earlier programs took some of it.
const WITHDRAWN: [(u32, &str); 2] = [(0, "BYR"), (2, "ANG BGN CUC EEK HRK LTL LVL MRO SLL STD VEF ZMK ZWL")];

/// Funds and units of account that have digits. Earlier programs took them.
const FUNDS: [(u32, &str); 3] = [(0, "UYI"), (2, "BOV CHE CHW COU MXV USN XAD"), (4, "CLF UYW")];

/// A currency of ISO 4217 that has a number of minor digits. Not each of them takes new payments:
/// [`Currency::for_new_payment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: &'static str,
    digits: u32,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    Circulating,
    Withdrawn,
    Fund,
}

impl Currency {
    /// Every currency that any payment may ever have been recorded in.
    pub fn all() -> impl Iterator<Item = Self> {
        let lists = [
            (&CIRCULATING[..], Standing::Circulating),
            (&WITHDRAWN[..], Standing::Withdrawn),
            (&FUNDS[..], Standing::Fund),
        ];
        lists.into_iter().flat_map(|(list, standing)| {
            let of_digits = move |&(digits, codes): &(u32, &'static str)| {
                codes.split_ascii_whitespace().map(move |code| Self { code, digits, standing })
            };
            list.iter().flat_map(of_digits)
        })
    }

    /// The number of digits after the point, by ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD.
    #[must_use]
    pub const fn digits(self) -> u32 {
        self.digits
    }

    /// The three-letter code, such as EUR.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// The currency, if a new payment may be in it.
    ///
    /// # Errors
    /// It was withdrawn, or is no money that circulates.
    pub const fn for_new_payment(self) -> Result<Self, InvalidMoney> {
        match self.standing {
            Standing::Circulating => Ok(self),
            Standing::Withdrawn => Err(InvalidMoney::Withdrawn { code: self.code }),
            Standing::Fund => Err(InvalidMoney::Fund { code: self.code }),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl FromStr for Currency {
    type Err = InvalidMoney;

    /// Reads every code that any payment may ever have been recorded in.
    fn from_str(code: &str) -> Result<Self, InvalidMoney> {
        Self::all().find(|known| known.code == code).ok_or(InvalidMoney::Currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anew(code: &str) -> Result<&'static str, InvalidMoney> {
        code.parse::<Currency>().and_then(Currency::for_new_payment).map(Currency::code)
    }

    #[test]
    fn new_payments_are_in_money_that_circulates() {
        // The money of countries, of monetary unions, and what took the place of withdrawn money.
        for code in
            ["EUR", "USD", "JPY", "KWD", "XAF", "XCD", "XOF", "XPF", "XCG", "SLE", "ZWG", "CUP", "VES"]
        {
            assert_eq!(anew(code), Ok(code));
        }
    }

    #[test]
    fn withdrawn_money_takes_no_new_payment_and_keeps_its_digits() {
        for code in ["HRK", "ZWL", "SLL", "CUC", "BGN", "ANG", "LTL", "VEF"] {
            assert_eq!(anew(code), Err(InvalidMoney::Withdrawn { code }));
            assert_eq!(code.parse::<Currency>().map(Currency::digits), Ok(2), "{code}");
        }
    }

    #[test]
    fn funds_and_units_of_account_take_no_new_payment_and_keep_their_digits() {
        for code in ["BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "XAD"] {
            assert_eq!(anew(code), Err(InvalidMoney::Fund { code }));
        }
        let digits = |code: &str| code.parse::<Currency>().map(Currency::digits);
        assert_eq!((digits("CLF"), digits("UYI"), digits("CHE")), (Ok(4), Ok(0), Ok(2)));
    }

    #[test]
    fn what_has_no_digits_is_no_currency_and_neither_is_what_has_no_code() {
        for code in ["XAU", "XAG", "XPT", "XPD", "XBA", "XDR", "XSU", "XUA", "XTS", "XXX"] {
            assert_eq!(anew(code), Err(InvalidMoney::Currency), "{code}");
        }
        for code in ["eur", "EU", "EURO", "ZZZ", "", "€", "EUR ", "R U", "BIF CLP"] {
            assert_eq!(anew(code), Err(InvalidMoney::Currency), "{code}");
        }
    }

    #[test]
    fn every_code_stands_once_and_is_three_capital_letters() {
        let all = CIRCULATING.iter().chain(&WITHDRAWN).chain(&FUNDS);
        let mut codes: Vec<&str> = all.flat_map(|(_, codes)| codes.split_ascii_whitespace()).collect();
        assert!(codes.len() > 170, "{}", codes.len());
        assert!(codes.iter().all(|it| it.len() == 3 && it.bytes().all(|b| b.is_ascii_uppercase())));
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]), "{codes:?}");
    }
}
