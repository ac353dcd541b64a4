//! The text of a key's secret: `payonce_sk_<id>_<secret><sum>`.
//!
//! `<id>` is the 32 digits of the key's id, `<secret>` 256 random bits, `<sum>` the CRC-32 of all before it;
//! all in hex. The sum tells garbage without a question to the database. It is no protection: whoever guesses
//! can compute it.
//!
//! Keys of before are `payonce_sk_` and 64 hex digits, and one that the environment seeds is any other text.
//! Both are found by their hash.

use crc::{CRC_32_ISO_HDLC, Crc};
use domain::ids::KeyId;
use uuid::Uuid;

/// The beginning of every secret, by which people and secret scanners know what they have found.
const PREFIX: &str = "payonce_sk_";

/// How many characters of a secret without an id are kept for people to tell keys apart.
const SHOWN: usize = PREFIX.len() + 6;

/// How many hex digits the random bits have.
const RANDOM_DIGITS: usize = 64;

const SUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A text that says of itself that it is a secret of ours, and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no key of Payonce, though it begins like one: it was cut or misspelt")]
pub struct Garbled;

/// A new secret for the key of that id.
pub(super) fn generate(id: KeyId) -> String {
    let random = hex::encode(rand::random::<[u8; 32]>());
    let text = format!("{PREFIX}{}_{random}", id.uuid().as_simple());
    let sum = SUM.checksum(text.as_bytes());
    format!("{text}{sum:08x}")
}

/// The id that a secret names; none for one that is found by its hash alone.
///
/// # Errors
/// The text begins like a secret of ours, and is none.
pub fn named(text: &str) -> Result<Option<KeyId>, Garbled> {
    let Some(rest) = text.strip_prefix(PREFIX) else { return Ok(None) };
    match rest.split_once('_') {
        None if is_hex(rest, RANDOM_DIGITS) => Ok(None),
        None => Err(Garbled),
        Some((id, secret)) => of_parts(text, id, secret).map(Some).ok_or(Garbled),
    }
}

fn of_parts(text: &str, id: &str, secret: &str) -> Option<KeyId> {
    let (random, sum) = secret.split_at_checked(RANDOM_DIGITS)?;
    let is_formed = is_hex(id, 32) && is_hex(random, RANDOM_DIGITS) && is_hex(sum, 8);
    let before = text.strip_suffix(sum)?;
    let is_ours = is_formed && u32::from_str_radix(sum, 16).ok()? == SUM.checksum(before.as_bytes());
    is_ours.then(|| Uuid::try_parse(id).ok().map(KeyId::from)).flatten()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What may be shown of a secret: the id that it names, or else its first characters. Of a text that is no
/// secret of ours nothing is shown: it may be somebody else's.
#[must_use]
pub fn shown(text: &str) -> String {
    if let Ok(Some(id)) = named(text) {
        return id.to_string();
    }
    text.get(..SHOWN).filter(|shown| shown.starts_with(PREFIX)).unwrap_or("no key of ours").to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_names_its_key_and_every_one_differs() {
        let id = KeyId::generate();
        let secret = generate(id);
        assert_eq!(named(&secret), Ok(Some(id)));
        assert_eq!(shown(&secret), id.to_string());
        assert_ne!(secret, generate(id));
    }

    #[test]
    fn a_secret_in_which_one_character_is_another_or_missing_is_garbled() {
        let secret = generate(KeyId::generate());
        for at in PREFIX.len()..secret.len() {
            let mut other = secret.clone();
            let digit = if &secret[at..=at] == "0" { "1" } else { "0" };
            other.replace_range(at..=at, digit);
            assert_eq!(named(&other), Err(Garbled), "{other}");
            other.remove(at);
            assert_eq!(named(&other), Err(Garbled), "{other}");
        }
        assert_eq!(named(&format!("{secret}0")), Err(Garbled));
        assert_eq!(named(&secret.to_uppercase().replace("PAYONCE_SK", "payonce_sk")), Err(Garbled));
    }

    #[test]
    fn a_secret_of_before_and_any_other_text_are_found_by_their_hash() {
        let before = format!("{PREFIX}{}", "0123456789abcdef".repeat(4));
        assert_eq!(named(&before), Ok(None));
        assert_eq!(shown(&before), before[..17]);
        for other in ["", "hunter2hunter2hunter2", "pässwörd-pässwörd-pässwörd"] {
            assert_eq!(named(other), Ok(None), "{other}");
            assert_eq!(shown(other), "no key of ours", "{other}");
        }
        assert_eq!(named("payonce_sk_1234"), Err(Garbled));
        assert_eq!(shown("payonce_sk_1234"), "no key of ours");
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_it_panic(text in "(payonce_sk_)?[0-9a-fé_]{0,120}") {
            let _ = (named(&text), shown(&text));
        }
    }
}
