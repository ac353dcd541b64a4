//! The process that cleans up after this one, however this one ends. It reads from a pipe that only this
//! process holds open.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::service;

/// A handle to it. When the last one is dropped, it cleans up.
#[derive(Debug, Clone)]
pub(super) struct Guardian(Arc<Mutex<Child>>);

impl Guardian {
    pub(super) fn start() -> Result<Self> {
        let program = service::this_program().context("this program does not know where it is")?;
        let guardian = Command::new(program)
            .args(["service", service::Command::Guardian.as_str()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C ends this process, and not the guardian.
            .process_group(0)
            .spawn()
            .context("cannot start this program again")?;
        Ok(Self(Arc::new(Mutex::new(guardian))))
    }

    /// Names a process to be killed.
    pub(super) fn process(&self, pid: u32) {
        self.tell("process", pid);
    }

    /// Names a database server to be ended.
    pub(super) fn server(&self, pid: u32) {
        self.tell("server", pid);
    }

    /// Takes back a process that has ended, before the system gives its number to another.
    pub(super) fn gone(&self, pid: u32) {
        self.tell("gone", pid);
    }

    /// Names a file system to be unmounted.
    pub(super) fn mount(&self, path: &Path) {
        self.tell("mount", path.display());
    }

    /// Names a directory to be removed.
    pub(super) fn directory(&self, path: &Path) {
        self.tell("directory", path.display());
    }

    /// Says that no directory is to be removed.
    pub(super) fn keep(&self) {
        self.tell_line("keep");
    }

    fn tell(&self, what: &str, which: impl std::fmt::Display) {
        self.tell_line(&format!("{what} {which}"));
    }

    fn tell_line(&self, line: &str) {
        let mut guardian = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = guardian.stdin.as_mut() {
            // The guardian reads for as long as this process lives. If it was killed, this process cleans up
            // as far as it can.
            let _ = writeln!(pipe, "{line}");
        }
    }

    /// Lets it clean up now, and waits until it has.
    pub(super) async fn clean_up(self) -> Result<()> {
        let waited = tokio::task::spawn_blocking(move || {
            let mut guardian = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(guardian.stdin.take());
            guardian.wait()
        });
        waited.await.context("a task panicked")?.context("cannot wait for the guardian").map(drop)
    }
}
