//! Cleans up after a test process, in whatever way it ended.
//!
//! A small shell script reads from a pipe that only the test process holds open. It is told which processes
//! and directories there are. When the pipe breaks (a normal end, a panic, SIGKILL), it kills the processes
//! and removes the directories. A test process that unwinds also cleans up by itself; this is for the ends
//! that nobody can catch.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

const SCRIPT: &str = include_str!("guardian.sh");
/// The space for the server's files, its log of changes and some dozens of test databases of 10 MB each.
const ENOUGH_KIB: u64 = 4 << 20;
/// The variable with which the database server of a failed test outlives the test process.
pub(crate) const KEEP: &str = "PAYONCE_TEST_KEEP";

static GUARDIAN: LazyLock<Mutex<Child>> = LazyLock::new(|| Mutex::new(start()));
static SCRATCH: LazyLock<PathBuf> = LazyLock::new(make_scratch);

/// A directory of this test process, removed when it ends.
pub fn scratch() -> &'static Path {
    &SCRATCH
}

/// Registers a process to be killed.
pub(crate) fn watch(pid: u32) {
    tell(&format!("watch {pid}"));
}

/// Takes a process that ended off the list, before the system gives its number to another one.
pub(crate) fn forget(pid: u32) {
    tell(&format!("forget {pid}"));
}

/// Registers a process with all that it starts, as long as they stay in its group.
pub(crate) fn watch_group(leader: u32) {
    tell(&format!("watch -{leader}"));
}

/// Takes a group that ended off the list.
pub(crate) fn forget_group(leader: u32) {
    tell(&format!("forget -{leader}"));
}

/// Registers a directory to be removed, once the database server in it has been stopped.
pub(crate) fn remove(directory: &Path) {
    tell(&format!("remove {}", directory.display()));
}

/// Leaves the directories, and the server, so that a failed test can be inspected.
pub(crate) fn keep() {
    tell("keep");
}

fn tell(line: &str) {
    let mut guardian = GUARDIAN.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = guardian.stdin.as_mut().expect("the guardian was started with a pipe");
    writeln!(pipe, "{line}").expect("the guardian reads as long as we live");
}

fn start() -> Child {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal ends the tests, and not the guardian.
        .process_group(0)
        .spawn()
        .expect("/bin/sh runs")
}

fn make_scratch() -> PathBuf {
    let name = format!("payonce-test-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let path = temporary().join(name);
    remove(&path);
    // Where the tests run as root, the database runs as another user, who must pass through.
    fs::DirBuilder::new().mode(0o711).create(&path).expect("the temporary directory is writable");
    path
}

/// The directory for temporary files: memory where there is plenty. Making a database takes 26 ms there and
/// 40 to 240 ms on a disk (measured), most of it for the creation of 300 files.
fn temporary() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if std::env::var_os("TMPDIR").is_none() && free_kib(memory).is_some_and(|free| free >= ENOUGH_KIB) {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

fn free_kib(directory: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    // The output is a header, then: file system, size, used, available, …
    String::from_utf8(output.stdout).ok()?.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}
