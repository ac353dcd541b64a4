//! The admin key, kept and compared as its hash, so that the time a comparison takes says nothing about the key.

use sha2::{Digest as _, Sha256};

/// The admin key's SHA-256.
#[derive(Clone, Copy)]
pub(crate) struct AdminKey([u8; 32]);

impl AdminKey {
    /// The key of the settings.
    pub(crate) fn new(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether this is the key.
    pub(crate) fn is(&self, secret: &[u8]) -> bool {
        <[u8; 32]>::from(Sha256::digest(secret)) == self.0
    }
}
