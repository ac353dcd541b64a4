//! The admin keys of the environment, and who else is let in as an operator ([`operators`]). Each is kept and
//! compared as its hash, so that the time of a comparison tells nothing about the key.
//!
//! Invariant: one key is one credential. A key with a name acts under that name, whatever else its bearer
//! says. Only the nameless one, `ADMIN_KEY`, leaves the name to the person who uses it, and is one credential
//! for all of them.

use std::sync::Arc;

use domain::ids::KeyId;
use sha2::{Digest as _, Sha256};
use shared::payment::transition::Person;
use shared::platform::config::InvalidSetting;
use shared::platform::text;

pub(crate) mod operators;
pub(crate) mod tries;

/// The fewest characters of a key: one that can be guessed is worse than none.
const KEY_MIN: usize = 16;

/// The credential that has no name of its own. No name can be spelt like it.
const NAMELESS: &str = "ADMIN_KEY";

/// Every key that opens the operator's pages and the admin's paths, each as its hash.
#[derive(Clone)]
pub(crate) struct AdminKeys(Arc<[(Credential, [u8; 32])]>);

/// The bearer of a key, as far as the key tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    name: Option<String>,
    /// What tells its key from all others.
    key: String,
    /// The id of the key, where it is none of the environment.
    key_id: Option<String>,
}

impl AdminKeys {
    /// The keys of the settings: the nameless one, if it is set, and those with names.
    pub(crate) fn new(nameless: &str, named: &[(String, String)]) -> Self {
        let known = |name: Option<String>, key: &str| {
            let hash = <[u8; 32]>::from(Sha256::digest(key));
            // The mark tells two keys apart, and gives nothing away.
            let mark =
                Sha256::digest(hash).iter().take(8).fold(0, |mark: u64, &byte| mark << 8 | u64::from(byte));
            (Credential { name, key: format!("{mark:016x}"), key_id: None }, hash)
        };
        let nameless = (!nameless.is_empty()).then(|| known(None, nameless));
        let named = named.iter().map(|(name, key)| known(Some(name.clone()), key));
        Self(nameless.into_iter().chain(named).collect())
    }

    /// Whose key this is, or none if it is nobody's. All keys are compared, whichever it is.
    pub(crate) fn whose(&self, secret: &[u8]) -> Option<Credential> {
        let hash = <[u8; 32]>::from(Sha256::digest(secret));
        let found =
            self.0.iter().fold(None, |found, (whose, known)| (*known == hash).then_some(whose).or(found));
        found.cloned()
    }
}

impl Credential {
    /// That of the operator of this name, who came with a key of their own.
    pub(crate) fn of(name: &str, key: KeyId) -> Self {
        Self { name: Some(name.to_owned()), key: key.to_string(), key_id: Some(key.to_string()) }
    }

    /// The id of its key, for logs. None for a key of the environment, which has none.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The word that tells this credential from all others.
    pub(crate) fn id(&self) -> &str {
        self.name.as_deref().unwrap_or(NAMELESS)
    }

    /// The name under which it acts. None for `ADMIN_KEY`.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The person who alone has this key, if it has a name: what two people must do takes two of them.
    pub(crate) fn person(&self) -> Option<Person> {
        let name = self.name.clone()?;
        Some(Person { credential: name.clone(), name, key: self.key.clone() })
    }
}

/// Refuses a nameless key that can be guessed.
pub(crate) fn check(key: &str) -> Result<(), InvalidSetting> {
    let why = || format!("must have at least {KEY_MIN} characters");
    if key.len() < KEY_MIN { Err(InvalidSetting::new(NAMELESS, why())) } else { Ok(()) }
}

/// Reads `ada:<key>,bob:<key>`. Two names with one key would be one credential that looks like two.
pub(crate) fn named(given: &str, nameless: &str) -> Result<Vec<(String, String)>, InvalidSetting> {
    let invalid = |why: String| InvalidSetting::new("ADMIN_KEYS", why);
    let mut named: Vec<(String, String)> = Vec::new();
    for (n, entry) in given.split(',').map(str::trim).enumerate() {
        // The message never shows the entry itself, which may be nothing but a key.
        let (name, key) = entry.split_once(':').ok_or_else(|| {
            invalid(format!("entry {} has no name; write them as ada:<key>,bob:<key>", n + 1))
        })?;
        if let Err(why) = text::operator(name) {
            return Err(invalid(format!("entry {}: {why}", n + 1)));
        }
        if key.len() < KEY_MIN {
            return Err(invalid(format!("the key of {name} must have at least {KEY_MIN} characters")));
        }
        if named.iter().any(|(known, _)| known == name) {
            return Err(invalid(format!("{name} has two keys; give each person one")));
        }
        if key == nameless || named.iter().any(|(_, known)| known == key) {
            return Err(invalid(format!(
                "{name} has somebody else's key; give each person one of their own"
            )));
        }
        named.push((name.to_owned(), key.to_owned()));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "ada:0123456789abcdef";
    const NOBODYS: &str = "a-key-of-nobody-s";

    #[test]
    fn a_key_acts_under_its_own_name_and_the_nameless_one_under_none() {
        let keys =
            AdminKeys::new(NOBODYS, &named("ada:0123456789abcdef, bob:abcdef0123456789:x", "").unwrap());
        let whose = |key: &str| keys.whose(key.as_bytes()).map(|found| found.id().to_owned());

        assert_eq!(whose("0123456789abcdef").as_deref(), Some("ada"));
        assert_eq!(whose("abcdef0123456789:x").as_deref(), Some("bob"));
        assert_eq!(whose(NOBODYS).as_deref(), Some(NAMELESS));
        assert_eq!(keys.whose(NOBODYS.as_bytes()).unwrap().name(), None);
        for wrong in ["", "ada", ADA, "0123456789abcde"] {
            assert_eq!(whose(wrong), None, "{wrong}");
        }
        assert_eq!(AdminKeys::new("", &[]).whose(b""), None, "no key at all opens nothing");
    }

    #[test]
    fn what_is_not_one_key_for_each_name_is_refused_without_showing_a_key() {
        for (text, why) in [
            ("0123456789abcdef", "entry 1 has no name"),
            ("ada:0123456789abcdef,", "entry 2 has no name"),
            ("Ada:0123456789abcdef", "entry 1: a name has"),
            (":0123456789abcdef", "entry 1: a name has"),
            ("ADMIN_KEY:0123456789abcdef", "entry 1: a name has"),
            ("ada:short", "the key of ada must have at least 16"),
            ("ada:0123456789abcdef,ada:abcdef0123456789", "ada has two keys"),
            ("ada:0123456789abcdef,bob:0123456789abcdef", "bob has somebody else's key"),
            ("ada:a-key-of-nobody-s", "ada has somebody else's key"),
        ] {
            let said = named(text, NOBODYS).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
            assert!(!said.contains("0123456789"), "{said}");
        }
    }
}
