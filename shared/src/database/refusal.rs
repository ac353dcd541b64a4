//! Why a server that answers is not used: one sentence each, which says what to do.

use super::session::Seen;

/// A server that cannot keep what is promised, or is not the one that takes writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A standby, or a primary that was demoted.
    #[error(
        "it is in recovery and takes no writes: name all hosts of the cluster in DATABASE_URL, or promote it"
    )]
    InRecovery,
    /// A primary that is kept from writing.
    #[error(
        "it takes no writes: default_transaction_read_only is on for it, the database or the role; set it off there"
    )]
    ReadOnly,
    /// A primary that was replaced, and does not know.
    #[error(
        "split_brain: its timeline is {timeline}, and this process has seen timeline {seen}: another server was promoted in \
         its place; stop it, or rewind it (pg_rewind); if the older one is meant to go on, restart this process"
    )]
    SplitBrain {
        /// The timeline of this server.
        timeline: u32,
        /// The highest timeline that this process has seen.
        seen: u32,
    },
    /// Two hosts of one URL that belong to different clusters.
    #[error(
        "split_brain: {0} and {1} take writes and are different clusters: name hosts of one cluster in DATABASE_URL"
    )]
    TwoClusters(String, String),
    /// Another server than the one that this process works with, in a session that was opened meanwhile.
    #[error("it is another server than a moment ago")]
    Another,
    /// A server that is too old; the text is its version.
    #[error("it is PostgreSQL {0}: Payonce needs 15 or newer")]
    Version(String),
    /// An encoding that cannot hold all that clients may send.
    #[error(
        "the database's encoding is {0}: make one with `create database … encoding 'UTF8' template template0`"
    )]
    Encoding(String),
    /// A session in which a setting is not what was asked for.
    #[error(
        "{name} is {got:?} in a session that was asked for {asked:?}: something between here and the server undoes it"
    )]
    Setting {
        /// The name of the setting.
        name: &'static str,
        /// The value that a promise rests on.
        asked: &'static str,
        /// The value that the session has.
        got: String,
    },
    /// A pooler that gives each transaction another session.
    #[error(
        "a pooler in between hands sessions out by transaction: set pool_mode = session for this database (PgBouncer), or \
         connect to PostgreSQL itself"
    )]
    TransactionPooling,
}

impl Refusal {
    /// Why a server is not written to; none if it takes writes.
    pub(super) const fn of_role(seen: &Seen) -> Option<Self> {
        match (seen.is_in_recovery, seen.is_read_only) {
            (true, _) => Some(Self::InRecovery),
            (false, true) => Some(Self::ReadOnly),
            (false, false) => None,
        }
    }

    /// Whether the server has lost the role in which it was used.
    pub(super) const fn is_about_role(&self) -> bool {
        matches!(self, Self::InRecovery | Self::ReadOnly | Self::SplitBrain { .. } | Self::TwoClusters(..))
    }
}

impl From<Refusal> for sqlx::Error {
    fn from(refusal: Refusal) -> Self {
        Self::Configuration(Box::new(refusal))
    }
}

/// The refusal of ours that an error carries; none in any other error.
pub(super) fn within(error: &sqlx::Error) -> Option<&Refusal> {
    if let sqlx::Error::Configuration(why) = error { why.downcast_ref() } else { None }
}
