//! The files of a private database: its directory, log and password.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sqlx::Connection;
use tokio::time::{Instant, sleep};

use super::binaries::Binaries;
use super::owner::Owner;
use super::postmaster::PidFile;
use super::{LOOK_EVERY, Lifetime, MAINTENANCE, START_DEADLINE, SUPERUSER, connect};
use crate::data_dir::{DataDir, beside, write_private};

/// The database's directory and the files beside it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) path: PathBuf,
    pub(super) log: PathBuf,
    pub(super) password_file: PathBuf,
}

impl Cluster {
    pub(super) fn in_directory(directory: &DataDir) -> Self {
        let directory = directory.path();
        Self {
            path: directory.join("postgres"),
            log: directory.join("postgres.log"),
            password_file: directory.join("postgres.password"),
        }
    }

    /// The superuser's password, made up at the first call.
    pub(super) fn password(&self) -> Result<String> {
        match fs::read_to_string(&self.password_file) {
            Ok(password) => Ok(password),
            Err(error) if error.kind() == ErrorKind::NotFound && !self.path.exists() => {
                let password = hex::encode(rand::random::<[u8; 16]>());
                write_private(&self.password_file, &password)?;
                Ok(password)
            }
            Err(error) => Err(error).context(format!(
                "cannot read the database password in {}; start over with --fresh, which removes the database",
                self.password_file.display()
            )),
        }
    }

    /// Makes the files beside their place and moves them there when they are complete, so that an interrupted
    /// start leaves nothing half-made.
    pub(super) async fn create(
        &self,
        binaries: &Binaries,
        owner: &Owner,
        password: &str,
        lifetime: Lifetime,
    ) -> Result<()> {
        let unfinished = beside(&self.path, "unfinished");
        let handover = beside(&self.password_file, "handover");
        remove_directory(&unfinished)?;
        fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
        owner.give(&unfinished)?;
        write_private(&handover, password)?;
        owner.give(&handover)?;

        let mut command = owner.command(binaries.initdb());
        command.arg("-D").arg(&unfinished).arg("--pwfile").arg(&handover);
        command.args(["--username", SUPERUSER, "--auth", lifetime.authentication(), "--encoding", "UTF8"]);
        // The C locale of other systems has no UTF-8 variant.
        command.args(["--locale", if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" }]);
        if lifetime == Lifetime::Passing {
            command.arg("--no-sync");
        }
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
        fs::remove_file(&handover).with_context(|| format!("cannot remove {}", handover.display()))?;
        let output =
            output.with_context(|| format!("cannot run {} as user {owner}", binaries.initdb().display()))?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        fs::rename(&unfinished, &self.path).with_context(|| format!("cannot make {}", self.path.display()))
    }

    /// The server that an earlier run left in this cluster, once it takes connections. None where there
    /// is none.
    pub(super) async fn find_left_behind(&self, password: &str) -> Result<Option<PidFile>> {
        let deadline = Instant::now() + START_DEADLINE;
        while let Some(found) = PidFile::read(&self.path) {
            if !found.is_server_of(&self.path) {
                return Ok(None);
            }
            match connect(found.port, password, MAINTENANCE).await {
                Ok(connection) => {
                    connection.close().await?;
                    return Ok(Some(found));
                }
                // It recovers, or is about to end.
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context(format!(
                        "PostgreSQL (pid {}) left by an earlier run takes no connections; its log is {}",
                        found.pid,
                        self.log.display()
                    ));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
        Ok(None)
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
