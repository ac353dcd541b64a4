//! What an error of the database means for the caller.
//!
//! Invariant: what is done about a failure (repeating, trying one by one, telling a client to come back)
//! follows from its kind. Only two places read an SQLSTATE for themselves: `migrate`, to try again, and
//! `session`, to ask for less.

use std::borrow::Cow;

use super::refusal;
use crate::database::batch::Remedy;

/// A kind of failure. The codes are those of the server's manual, appendix A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection is gone, or its server is. The statement may have been carried out.
    Gone,
    /// No connection came in time, or none that may be used: nothing was asked.
    NoConnection,
    /// The server takes no writes.
    ReadOnly,
    /// The commit was answered before a standby had it, so nobody knows whether it stays.
    Unsure,
    /// The server is out of connections.
    TooManyConnections,
    /// The server is out of something else: memory, disk.
    NoRoom,
    /// Another session holds what the statement needs.
    LockedOut,
    /// Two statements crossed: the same one may well succeed now.
    Crossed,
    /// The statement took too long, or somebody ended it.
    Canceled,
    /// A row has a bad value, or breaks a constraint.
    BadData,
    /// The fault is ours.
    Ours,
}

/// A commit that was answered, and that nobody may rely on.
#[derive(Debug, thiserror::Error)]
#[error("the commit was not confirmed by a standby: {0}")]
pub(super) struct UnknownCommit(pub(super) &'static str);

/// Why no connection came.
#[derive(Debug, thiserror::Error)]
#[error("no connection in time: {0}")]
pub(super) struct NoConnection(pub(super) String);

impl Failure {
    /// The kind of failure that an error is.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        use sqlx::Error as E;
        if let Some(code) = code(error) {
            return Self::of_code(&code);
        }
        if let E::Io(why) = error {
            return match why.get_ref() {
                Some(why) if why.is::<UnknownCommit>() => Self::Unsure,
                Some(why) if why.is::<NoConnection>() => Self::NoConnection,
                _ => Self::Gone,
            };
        }
        // `Protocol`: a server that dies while a connection is being made sends garbage, or half an answer.
        if matches!(error, E::Protocol(_) | E::WorkerCrashed | E::Tls(_)) {
            Self::Gone
        } else if matches!(error, E::PoolTimedOut | E::PoolClosed) || refusal::within(error).is_some() {
            Self::NoConnection
        } else {
            Self::Ours
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            "25006" => Self::ReadOnly,
            // The server ends our connection, since it is being shut down, or takes none yet.
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Self::Gone,
            "40003" => Self::Unsure,
            "53300" => Self::TooManyConnections,
            "55P03" => Self::LockedOut,
            // A serialization failure, or a deadlock.
            "40001" | "40P01" => Self::Crossed,
            _ => match code.get(..2) {
                Some("08") => Self::Gone,
                Some("53") => Self::NoRoom,
                Some("57") => Self::Canceled,
                Some("22" | "23") => Self::BadData,
                _ => Self::Ours,
            },
        }
    }

    /// What helps a batch that failed so. Each of our statements bears to be repeated.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::Gone | Self::ReadOnly | Self::Unsure | Self::Crossed => Remedy::Again,
            Self::LockedOut | Self::BadData => Remedy::OneByOne,
            // A batch that waited in vain for a connection has waited long enough.
            Self::NoConnection | Self::TooManyConnections | Self::NoRoom | Self::Canceled | Self::Ours => {
                Remedy::None
            }
        }
    }

    /// Whether the database is away, or takes no writes at the moment: then a task should ask who is there.
    #[must_use]
    pub const fn is_away(self) -> bool {
        matches!(
            self,
            Self::Gone | Self::NoConnection | Self::ReadOnly | Self::Unsure | Self::TooManyConnections
        )
    }

    /// Whether the same statement may well succeed a moment later.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        self.is_away() || matches!(self, Self::NoRoom | Self::Crossed | Self::Canceled)
    }

    /// Whether the statement may have committed, and its answer can be read back.
    #[must_use]
    pub const fn may_be_done(self) -> bool {
        matches!(self, Self::Gone)
    }
}

/// The SQLSTATE; none where the server gave none.
#[must_use]
pub fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_code_has_one_meaning_and_what_is_done_follows_from_it() {
        for (code, kind, remedy, is_away) in [
            ("25006", Failure::ReadOnly, Remedy::Again, true),
            ("57P01", Failure::Gone, Remedy::Again, true),
            ("57P03", Failure::Gone, Remedy::Again, true),
            ("08006", Failure::Gone, Remedy::Again, true),
            ("53300", Failure::TooManyConnections, Remedy::None, true),
            ("53100", Failure::NoRoom, Remedy::None, false),
            ("55P03", Failure::LockedOut, Remedy::OneByOne, false),
            ("40001", Failure::Crossed, Remedy::Again, false),
            ("40P01", Failure::Crossed, Remedy::Again, false),
            ("57014", Failure::Canceled, Remedy::None, false),
            ("22001", Failure::BadData, Remedy::OneByOne, false),
            ("23514", Failure::BadData, Remedy::OneByOne, false),
            ("42P01", Failure::Ours, Remedy::None, false),
            ("P0001", Failure::Ours, Remedy::None, false),
        ] {
            let read = Failure::of_code(code);
            assert_eq!((read, read.remedy(), read.is_away()), (kind, remedy, is_away), "{code}");
        }
    }

    #[test]
    fn a_commit_that_no_standby_confirmed_is_not_read_back() {
        let unsure = sqlx::Error::Io(io::Error::other(UnknownCommit("a warning")));
        let gone = sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());

        assert!(!Failure::of(&unsure).may_be_done() && Failure::of(&unsure).remedy() == Remedy::Again);
        assert!(Failure::of(&gone).may_be_done());
        assert_eq!(Failure::of(&super::super::Refusal::InRecovery.into()), Failure::NoConnection);
    }
}
