//! The pepper: a secret outside the database, without which what the database keeps of API keys is of no use.
//!
//! Invariant: it is never stored, shown or logged. A mark tells under which pepper a key was made.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::platform::config::{self, InvalidSetting};

/// The variable that holds it.
pub const VARIABLE: &str = "API_KEY_PEPPER";

/// The fewest characters of a pepper: 128 bits in hex.
const SHORTEST: usize = 32;

/// The pepper of new keys, and the one that it replaces or is replaced by.
#[derive(Clone)]
pub struct Peppers {
    first: Pepper,
    other: Option<Pepper>,
}

#[derive(Clone)]
struct Pepper {
    keyed: Hmac<Sha256>,
    mark: String,
}

/// Why a text is no pepper. It never shows the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPepper {
    /// One is too short.
    #[error("a pepper has at least {SHORTEST} characters: openssl rand -hex 32 makes one")]
    TooShort,
    /// There are more than two.
    #[error("names more than two peppers: give the one of new keys, a comma, and the other one")]
    TooMany,
    /// Both are the same.
    #[error("names the same pepper twice")]
    Twice,
    /// HMAC takes no key of that length. It takes all.
    #[error("cannot be used")]
    Unusable,
}

impl Peppers {
    /// Reads `API_KEY_PEPPER`, or the file that `API_KEY_PEPPER_FILE` names.
    ///
    /// # Errors
    /// Neither is set, or what they hold is no pepper.
    pub fn from_env() -> Result<Self, InvalidSetting> {
        let missing = || {
            InvalidSetting::new(
                VARIABLE,
                "is not set: make one with `openssl rand -hex 32`, give every api and `payonce keys` the same, and keep \
                 it apart from the database and its backups",
            )
        };
        Self::from_env_if_any()?.ok_or_else(missing)
    }

    /// Reads the same variables; none if neither is set.
    ///
    /// # Errors
    /// What they hold is no pepper.
    pub fn from_env_if_any() -> Result<Option<Self>, InvalidSetting> {
        let text = given()?;
        let read = text.map(|text| Self::read(&text)).transpose();
        read.map_err(|why| InvalidSetting::new(VARIABLE, why))
    }

    /// Reads one pepper, or two with a comma between. The first is that of new keys.
    ///
    /// # Errors
    /// The text is no pepper.
    pub fn read(text: &str) -> Result<Self, NoPepper> {
        let mut all = text.split(',').map(str::trim);
        let first = all.next().unwrap_or_default();
        let other = all.next();
        if all.next().is_some() {
            return Err(NoPepper::TooMany);
        }
        if other == Some(first) {
            return Err(NoPepper::Twice);
        }
        Ok(Self { first: Pepper::read(first)?, other: other.map(Pepper::read).transpose()? })
    }

    /// The mark of the pepper of new keys.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.first.mark
    }

    /// The marks of all peppers that are known here.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        [Some(&self.first), self.other.as_ref()].into_iter().flatten().map(|it| it.mark.clone()).collect()
    }

    /// The HMAC of a secret under each pepper. Both are the same where there is one pepper.
    pub(super) fn hashes(&self, secret: &str) -> ([u8; 32], [u8; 32]) {
        let first = self.first.hash(secret);
        (first, self.other.as_ref().map_or(first, |other| other.hash(secret)))
    }
}

/// What the environment, or the file that it names, gives as peppers; none if it gives nothing.
///
/// # Errors
/// Both are set, or the file cannot be read or is empty.
pub fn given() -> Result<Option<String>, InvalidSetting> {
    config::secret("API_KEY_PEPPER", "API_KEY_PEPPER_FILE")
}

impl Pepper {
    fn read(text: &str) -> Result<Self, NoPepper> {
        if text.len() < SHORTEST {
            return Err(NoPepper::TooShort);
        }
        let keyed = Hmac::<Sha256>::new_from_slice(text.as_bytes()).map_err(|_| NoPepper::Unusable)?;
        let mut pepper = Self { keyed, mark: String::new() };
        // No secret is this text.
        pepper.mark = hex::encode(&pepper.hash("mark of a pepper")[..4]);
        Ok(pepper)
    }

    fn hash(&self, secret: &str) -> [u8; 32] {
        self.keyed.clone().chain_update(secret).finalize().into_bytes().into()
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.marks()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn a_secret_has_one_hash_for_each_pepper_and_the_first_is_that_of_new_keys() {
        let (one, two) = (Peppers::read(ONE).unwrap(), Peppers::read(TWO).unwrap());
        let both = Peppers::read(&format!("{TWO}, {ONE}")).unwrap();
        assert_eq!(one.hashes("secret").0, one.hashes("secret").1);
        assert_eq!(both.hashes("secret"), (two.hashes("secret").0, one.hashes("secret").0));
        assert_eq!(both.mark(), two.mark());
        assert_ne!(one.mark(), two.mark());
    }

    #[test]
    fn what_is_no_pepper_is_refused_without_being_shown() {
        for (text, why) in [
            ("", NoPepper::TooShort),
            (&ONE[1..], NoPepper::TooShort),
            (&format!("{ONE},"), NoPepper::TooShort),
            (&format!("{ONE},{ONE}"), NoPepper::Twice),
            (&format!("{ONE},{TWO},{ONE}"), NoPepper::TooMany),
        ] {
            assert_eq!(Peppers::read(text).unwrap_err(), why, "{text}");
        }
        let shown = format!("{:?}", Peppers::read(ONE).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }
}
