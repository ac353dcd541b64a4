//! The main process of a database. It is found through the pid file in its directory, or is a child of ours.
//! It is watched, and told to end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The facts in `postmaster.pid`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PidFile {
    pub(crate) pid: Pid,
    pub(crate) port: u16,
}

impl PidFile {
    /// Reads the file in `cluster`. `None` where there is none, or a half-written one.
    pub(crate) fn read(cluster: &Path) -> Option<Self> {
        // The lines are: pid, directory, start time, port, …
        let text = fs::read_to_string(path(cluster)).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let port = lines.nth(2)?.trim().parse().ok()?;
        Some(Self { pid: Pid::from_raw(pid), port })
    }

    /// Whether the process with that pid is a server working in `cluster`, and not one that got the number of
    /// a dead server.
    pub(crate) fn is_server_of(self, cluster: &Path) -> bool {
        is_server_of(self.pid, cluster)
    }

    /// Removes the file where its number belongs to something else that the system still knows: another
    /// program, or a dead server that nobody has waited for yet. Postgres would take either for a running
    /// server. A number that belongs to nothing is no obstacle to it, and it looks more closely then than
    /// we can.
    pub(crate) fn remove_if_misleading(self, cluster: &Path) -> Result<()> {
        if kill(self.pid, None) == Err(Errno::ESRCH) || self.is_server_of(cluster) {
            return Ok(());
        }
        fs::remove_file(path(cluster)).context("cannot remove the stale postmaster.pid")
    }
}

fn path(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

/// Whether it is a server of this cluster. A server's processes work in its directory; a dead one that nobody
/// waited for has no directory any more.
#[cfg(target_os = "linux")]
fn is_server_of(pid: Pid, cluster: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(name) = fs::read_to_string(process.join("comm")) else { return false };
    let works_in = fs::read_link(process.join("cwd")).ok();
    name.trim() == "postgres" && works_in.is_some() && works_in == cluster.canonicalize().ok()
}

/// Whether it is a server of this cluster. A dead one that nobody waited for shows its bare name, without
/// the directory.
#[cfg(not(target_os = "linux"))]
fn is_server_of(pid: Pid, cluster: &Path) -> bool {
    let Ok(output) =
        std::process::Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output()
    else {
        return false;
    };
    let command = String::from_utf8_lossy(&output.stdout);
    command.contains("postgres") && command.contains(&*cluster.to_string_lossy())
}

/// A running main process. When it is dropped, it is told to end; [`Postmaster::stop`] also waits until it
/// has ended.
#[derive(Debug)]
pub(crate) enum Postmaster {
    /// We started it, so it must be waited for when it ends.
    Child(Child),
    /// An earlier run left it behind.
    Adopted {
        /// The number of its process.
        pid: Pid,
        /// The directory in which it works.
        cluster: PathBuf,
    },
}

impl Postmaster {
    pub(crate) fn pid(&self) -> Pid {
        match self {
            Self::Child(child) => Pid::from_raw(child.id().cast_signed()),
            Self::Adopted { pid, .. } => *pid,
        }
    }

    /// How it ended. None while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        match self {
            Self::Child(child) => {
                let status = child.try_wait().context("cannot wait for PostgreSQL")?;
                Ok(status.map(|status| status.to_string()))
            }
            Self::Adopted { pid, cluster } => {
                Ok((!is_server_of(*pid, cluster)).then(|| "no such process".to_owned()))
            }
        }
    }

    /// Ends it: first in order, then, past the deadline, by force. Nothing committed is lost either way.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let steps = [(Signal::SIGINT, 30), (Signal::SIGQUIT, 10), (Signal::SIGKILL, 5)];
        for (signal, patience_secs) in steps {
            if self.ended()?.is_some() {
                return Ok(());
            }
            match kill(self.pid(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    return Err(error).context(format!("cannot stop PostgreSQL (pid {})", self.pid()));
                }
            }
            let deadline = Instant::now() + Duration::from_secs(patience_secs);
            while Instant::now() < deadline {
                if self.ended()?.is_some() {
                    return Ok(());
                }
                sleep(LOOK_EVERY).await;
            }
        }
        bail!("PostgreSQL (pid {}) does not end", self.pid())
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            // The process may be gone by now, which is as well.
            let _ = kill(self.pid(), Signal::SIGINT);
        }
    }
}
