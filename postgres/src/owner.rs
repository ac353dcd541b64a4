//! Which system user runs the database.
//!
//! Postgres refuses to run as root. Under root its programs therefore run as `postgres`, or as `nobody` where
//! there is no such user. They have none of root's supplementary groups: `CommandExt::uid` gives those up.

use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User, geteuid};

/// The user as whom the programs of Postgres run.
#[derive(Debug, Clone)]
pub enum Owner {
    /// The user who runs this program.
    Ourselves,
    /// Another user, which only root can choose.
    Other(Box<User>),
}

impl Owner {
    /// The user to whom `cluster` belongs or, where there is none yet, should belong.
    pub(crate) fn of(cluster: &Path) -> Result<Self> {
        let us = geteuid();
        let owner = match cluster.metadata() {
            Ok(found) => Some(Uid::from_raw(found.uid())),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).context(format!("cannot look at {}", cluster.display())),
        };
        match owner {
            Some(owner) if owner == us && !us.is_root() => Ok(Self::Ourselves),
            Some(owner) if us.is_root() && !owner.is_root() => Self::other(User::from_uid(owner)?, cluster),
            Some(owner) => bail!(
                "the database in {} belongs to user {owner}, who is not the one to run it; \
                 name another directory with --data-dir",
                cluster.display()
            ),
            None if us.is_root() => {
                let user = User::from_name("postgres")?
                    .map_or_else(|| User::from_name("nobody"), |u| Ok(Some(u)))?;
                Self::other(user, cluster)
            }
            None => Ok(Self::Ourselves),
        }
    }

    fn other(user: Option<User>, cluster: &Path) -> Result<Self> {
        let user = user.with_context(|| {
            format!(
                "PostgreSQL does not run as root, and no other user was found for {}; \
                 make one (useradd --system postgres) or run payonce as an ordinary user",
                cluster.display()
            )
        })?;
        Ok(Self::Other(Box::new(user)))
    }

    /// A command that runs as this user in a directory that every user can enter. It has nothing of our
    /// environment that could lead Postgres astray (`PGDATA`, `PGOPTIONS`, …).
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        for passed_on in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(passed_on) {
                command.env(passed_on, value);
            }
        }
        if let Self::Other(user) = self {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", "/");
        }
        command
    }

    /// Whether this user can reach `directory`. The system is asked by trying, since permissions of all the
    /// directories above, access lists and mount options matter.
    pub(crate) fn can_enter(&self, directory: &Path) -> Result<bool> {
        let tried = self
            .command("/bin/sh")
            .args(["-c", "cd -- \"$1\"", "sh"])
            .arg(directory)
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("cannot run a command as user {self}"))?;
        Ok(tried.success())
    }

    /// Makes `path` this user's own.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other(user) => {
                std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                    .with_context(|| format!("cannot give {} to user {self}", path.display()))
            }
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => write!(f, "{}", geteuid()),
            Self::Other(user) => f.write_str(&user.name),
        }
    }
}
