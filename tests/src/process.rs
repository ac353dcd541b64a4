//! Payonce's programs as real processes, which tests stop, continue, kill and wait for.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use shared::merchant::auth::Presented;
use shared::merchant::pepper::Peppers;
use shared::merchant::scope::Scope;

use crate::guardian;
use crate::wait::{DEADLINE, wait_for, wait_for_within};

const TAIL_LINES: usize = 40;

/// The arguments with which `payonce dev` takes free ports, so that several run beside each other.
pub const FREE_PORTS: [&str; 10] = [
    "--api-addr",
    "127.0.0.1:0",
    "--ops-addr",
    "127.0.0.1:0",
    "--board-addr",
    "127.0.0.1:0",
    "--metrics-addr",
    "127.0.0.1:0",
    "--gateway-addr",
    "127.0.0.1:0",
];
/// The pepper of all processes of a test.
pub const PEPPER: &str = "a-pepper-for-tests-0123456789abcdef";

/// The same pepper, for the test itself.
///
/// # Panics
/// It does not: the pepper is long enough.
#[must_use]
pub fn peppers() -> Peppers {
    Peppers::read(PEPPER).expect("a pepper")
}

/// A secret as an API hands it to a statement.
///
/// # Panics
/// The secret is garbled.
#[must_use]
pub fn presented(secret: &str) -> Presented {
    Presented::read(secret, &peppers(), Scope::PaymentsWrite).expect("a secret")
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself, with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

/// A process about to be started, with a clean environment.
#[derive(Debug)]
pub struct Launch {
    role: &'static str,
    command: Command,
}

impl Launch {
    /// Launches the API. `program` is the test program that can play every role:
    /// `env!("CARGO_BIN_EXE_process")`.
    pub fn api(program: impl AsRef<OsStr>) -> Self {
        Self::role(program, "api")
    }

    /// Launches one worker process.
    pub fn worker(program: impl AsRef<OsStr>) -> Self {
        Self::role(program, "worker")
    }

    /// Launches the simulated gateway.
    pub fn simgateway(program: impl AsRef<OsStr>) -> Self {
        Self::role(program, "simgateway")
    }

    /// Launches the command line, for which [`Launch::args`] says what to do.
    pub fn payonce(program: impl AsRef<OsStr>) -> Self {
        Self::role(program, "payonce")
    }

    /// Launches a process that prints how the program in [`Launch::args`] understands its environment.
    pub fn settings(program: impl AsRef<OsStr>) -> Self {
        Self::role(program, "settings")
    }

    fn role(program: impl AsRef<OsStr>, role: &'static str) -> Self {
        let mut command = Command::new(program);
        // The scratch directory has no .env, which a developer may keep in the checkout.
        command.arg(role).env_clear().current_dir(guardian::scratch()).stdin(Stdio::null());
        for passed_on in ["PATH", "HOME", "PAYONCE_CONTRACT_SEEN"] {
            if let Some(value) = std::env::var_os(passed_on) {
                command.env(passed_on, value);
            }
        }
        command.env("API_KEY_PEPPER", PEPPER);
        if role == "api" {
            // Tests come with many wrong keys from one address.
            command.env("ADMIN_TRIES_PER_MIN", "1000000");
        }
        Self { role, command }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs<V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Lets it have at most so many file descriptors.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\""));
        limited
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear()
            .stdin(Stdio::null());
        limited.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = self.command.get_current_dir() {
            limited.current_dir(directory);
        }
        self.command = limited;
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Adds arguments to its command line.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts the process and waits until it says that it is ready.
    pub async fn start(self) -> Process {
        let mut process = self.spawn();
        process.wait_until_ready().await;
        process
    }

    /// Runs the process to its end.
    pub async fn run(self) -> (Exit, Process) {
        self.run_within(DEADLINE).await
    }

    /// Runs the process to its end, which may take until `deadline`.
    pub async fn run_within(self, deadline: Duration) -> (Exit, Process) {
        let mut process = self.spawn();
        let exit = process.wait_exit_within(deadline).await;
        (exit, process)
    }

    /// Starts the process and returns at once.
    #[must_use]
    #[expect(clippy::zombie_processes, reason = "it is waited for by its number, which also reports stops")]
    pub fn spawn(mut self) -> Process {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let output = |stream: &str| guardian::scratch().join(format!("{}-{number}.{stream}", self.role));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        // Files, and not pipes: a stopped or killed process never loses what it said, and nobody has to
        // read along.
        self.command.stdout(File::create(&stdout).expect("the scratch directory is writable"));
        self.command.stderr(File::create(&stderr).expect("the scratch directory is writable"));
        self.command.process_group(0);
        let child = self.command.spawn().expect("the test program can be started");
        guardian::watch(child.id());
        let pid = Pid::from_raw(child.id().cast_signed());
        Process { role: self.role, pid, state: State::Running, ready: Value::Null, stdout, stderr }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Ended(Exit),
}

/// A started process. When it is dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    role: &'static str,
    pid: Pid,
    state: State,
    ready: Value,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Its number in the system.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// The line with which it said that it is ready.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// One of the addresses in that line, such as `api`, `board` or `gateway`.
    #[must_use]
    #[track_caller]
    pub fn address(&self, name: &str) -> &str {
        let address = self.ready.get(name).and_then(Value::as_str);
        address.unwrap_or_else(|| panic!("no address {name} in {}", self.ready))
    }

    /// All that it wrote to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// All that it wrote to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits for the ready line.
    pub async fn wait_until_ready(&mut self) {
        let what = format!("{} to be ready", self.name());
        self.ready = wait_for(what, async || {
            let ended = matches!(self.look(), State::Ended(_));
            // Read after the look, so that the last words of a process that ended are in.
            let line = self.stdout().lines().find_map(ready_line);
            assert!(line.is_some() || !ended, "{} ended before it was ready", self.name());
            line
        })
        .await;
    }

    /// Stops it with SIGSTOP, and waits until none of its threads runs.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.wait_until_stopped().await;
    }

    /// Waits until it has stopped, for example by itself at a fault point.
    pub async fn wait_until_stopped(&mut self) {
        let what = format!("{} to stop", self.name());
        wait_for(what, async || match self.look() {
            State::Running => None,
            State::Stopped => Some(()),
            State::Ended(exit) => panic!("{} ended ({exit:?}) where it should have stopped", self.name()),
        })
        .await;
    }

    /// Lets a stopped process go on.
    pub fn cont(&mut self) {
        self.signal(Signal::SIGCONT);
        self.state = State::Running;
    }

    /// Asks it to end in order, by SIGTERM.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until it has ended, and answers how.
    pub async fn wait_exit(&mut self) -> Exit {
        self.wait_exit_within(DEADLINE).await
    }

    async fn wait_exit_within(&mut self, deadline: Duration) -> Exit {
        let what = format!("{} to end", self.name());
        wait_for_within(deadline, what, async || match self.look() {
            State::Running | State::Stopped => None,
            State::Ended(exit) => Some(exit),
        })
        .await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.look(), State::Ended(_))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) {
        if matches!(self.look(), State::Ended(_)) {
            return;
        }
        self.signal(Signal::SIGKILL);
        while !matches!(self.state, State::Ended(_)) {
            self.wait(WaitPidFlag::empty());
        }
    }

    fn signal(&self, signal: Signal) {
        assert!(!matches!(self.state, State::Ended(_)), "{} ended already", self.name());
        kill(self.pid, signal).expect("our own child can be signalled");
    }

    fn look(&mut self) -> State {
        if !matches!(self.state, State::Ended(_)) {
            self.wait(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED);
        }
        self.state
    }

    /// Waits for its next change. A stop is reported once all threads have stopped, which the state under
    /// `/proc` does not tell.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are for debuggers and differ by system")]
    fn wait(&mut self, how: WaitPidFlag) {
        let status = waitpid(self.pid, Some(how)).expect("our own child can be waited for");
        self.state = match status {
            WaitStatus::Exited(_, code) => State::Ended(Exit::Code(code)),
            WaitStatus::Signaled(_, signal, _) => State::Ended(Exit::Signal(signal as i32)),
            WaitStatus::Stopped(..) => State::Stopped,
            _ => self.state,
        };
        if matches!(self.state, State::Ended(_)) {
            guardian::forget(self.pid());
        }
    }

    fn name(&self) -> String {
        format!("{} (pid {})", self.role, self.pid)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            let said = self.stderr();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("--- standard error of {} ends with:\n{tail}\n---", self.name());
        }
    }
}

fn ready_line(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value.get("event")? == "ready").then_some(value)
}

fn read(path: &PathBuf) -> String {
    let bytes = fs::read(path).expect("the scratch directory is readable");
    String::from_utf8_lossy(&bytes).into_owned()
}
