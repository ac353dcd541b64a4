//! `payonce service`: this program as one of the processes that `payonce chaos` starts and breaks, so that
//! these are always the same build. And the guardian, which cleans up after a chaos that was itself killed.
//!
//! For trying out and for chaos. A deployment runs the programs `api` and `worker`, which are the same.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a database server may take to end after it was told to.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);
/// How often removing a directory is tried while it still changes.
const REMOVE_TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// One of the processes that `payonce chaos` starts
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Command {
    /// The API
    #[command(after_help = "\
Example:
  payonce service api

Exit codes: 0 ended in order, 1 failed, 2 called wrongly.")]
    Api,
    /// A worker
    #[command(after_help = "\
Example:
  payonce service worker

Exit codes: 0 ended in order, 1 failed, 2 called wrongly.")]
    Worker,
    /// The simulated gateway
    #[command(after_help = "\
Example:
  payonce service simgateway

Exit codes: 0 ended in order, 1 failed, 2 called wrongly.")]
    Simgateway,
    /// Ends and removes what it was told of, once its standard input ends
    #[command(hide = true)]
    Guardian,
}

impl Command {
    /// Its name on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Simgateway => "simgateway",
            Self::Guardian => "guardian",
        }
    }
}

/// The path of this program, to start it again: the same build, even where another one has meanwhile taken
/// its place in the file system.
pub(crate) fn this_program() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// Runs as that process, to its end. Each of them has a runtime of its own.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Api => api::main(),
        Command::Worker => worker::main(),
        Command::Simgateway => simgateway::main(),
        Command::Guardian => guard(),
    }
}

/// Reads what there is to clean up for as long as its writer lives, and then cleans up. The system closes the
/// pipe however a process ends, while a child that is stopped could not do it.
fn guard() -> ExitCode {
    let (mut processes, mut servers) = (BTreeSet::new(), BTreeSet::new());
    let (mut mounts, mut directories, mut is_kept) = (Vec::new(), Vec::new(), false);
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_once(' ') {
            Some(("process", pid)) => drop(processes.insert(number(pid))),
            Some(("server", pid)) => drop(servers.insert(number(pid))),
            Some(("gone", pid)) => {
                processes.remove(&number(pid));
                servers.remove(&number(pid));
            }
            Some(("mount", path)) => mounts.push(path.to_owned()),
            Some(("directory", path)) => directories.push(path.to_owned()),
            None if line == "keep" => is_kept = true,
            Some(_) | None => {}
        }
    }
    processes.into_iter().flatten().for_each(|pid| signal(pid, Signal::SIGKILL));
    servers.into_iter().flatten().for_each(end_server);
    if is_kept {
        return ExitCode::SUCCESS;
    }
    mounts.iter().for_each(|path| unmount(path));
    directories.iter().for_each(|path| remove(Path::new(path)));
    ExitCode::SUCCESS
}

/// A process number. Zero and below would be whole groups.
fn number(text: &str) -> Option<i32> {
    text.parse().ok().filter(|&pid| pid > 1)
}

fn signal(pid: i32, signal: Signal) {
    // The process may be gone by now, which is as well.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Ends a server at once but in order, since one that is killed leaves shared memory behind.
fn end_server(pid: i32) {
    signal(pid, Signal::SIGCONT);
    signal(pid, Signal::SIGQUIT);
    let deadline = Instant::now() + SERVER_PATIENCE;
    while Instant::now() < deadline && kill(Pid::from_raw(pid), None).is_ok() {
        thread::sleep(PAUSE);
    }
    signal(pid, Signal::SIGKILL);
}

fn unmount(path: &str) {
    // Unmounted lazily: a server that is about to end must not hold it.
    let mut umount = Program::new("umount");
    let _ = umount.args(["-l", path]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn remove(path: &Path) {
    for _ in 0..REMOVE_TRIES {
        if fs::remove_dir_all(path).is_ok() || !path.exists() {
            return;
        }
        thread::sleep(PAUSE);
    }
}
