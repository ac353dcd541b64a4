//! One process of Payonce: started until it is ready, killed, frozen, started again where it was.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::guardian::Guardian;
use crate::service;

/// How long a start that finds no database yet is repeated.
const START_DEADLINE: Duration = Duration::from_secs(120);
const ONE_START: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How long a process may take to end after it was told to.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// A process, running or not.
#[derive(Debug)]
pub(super) struct Process {
    role: service::Command,
    /// The payonce that it is a program of. None means this one.
    program: Option<PathBuf>,
    environment: Vec<(&'static str, String)>,
    directory: PathBuf,
    log: PathBuf,
    guardian: Guardian,
    running: Option<Running>,
    address: String,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: Pid,
    /// Held open, so that nothing that it prints can fail.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a process in that role, and waits until it is ready.
    pub(super) async fn start(
        (role, number): (service::Command, usize),
        program: Option<&Path>,
        environment: Vec<(&'static str, String)>,
        directory: &Path,
        guardian: &Guardian,
    ) -> Result<Self> {
        let mut process = Self {
            role,
            program: program.map(Path::to_owned),
            environment,
            directory: directory.to_owned(),
            log: directory.join(format!("{}-{number}.log", role.as_str())),
            guardian: guardian.clone(),
            running: None,
            address: String::new(),
        };
        process.revive().await?;
        Ok(process)
    }

    /// Sets a variable of its environment, from its next start on.
    pub(super) fn set(&mut self, variable: &'static str, value: String) {
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value));
    }

    /// Makes it a program of that payonce, or of this one, from its next start on.
    pub(super) fn becomes(&mut self, program: Option<&Path>) {
        self.program = program.map(Path::to_owned);
    }

    /// The URL where it listens, the same over all its lives.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its process number. None where it is not running.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid.as_raw().unsigned_abs())
    }

    /// Whether it lives, running or frozen.
    pub(super) fn is_alive(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        if matches!(running.child.try_wait(), Ok(None)) {
            return true;
        }
        self.gone();
        false
    }

    /// Starts it again where it was, unless it lives, and waits until it is ready.
    pub(super) async fn revive(&mut self) -> Result<()> {
        if self.is_alive() {
            return Ok(());
        }
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            self.spawn()?;
            match timeout(ONE_START, self.ready_line()).await {
                Ok(Some(ready)) => return self.remember_address(&ready),
                // Its database is still away, or another process has its port for a moment.
                Ok(None) | Err(_) if Instant::now() < deadline => {
                    self.kill9().await;
                    sleep(TRY_AGAIN).await;
                }
                Ok(None) | Err(_) => {
                    bail!("{} does not start; see {}", self.role.as_str(), self.log.display())
                }
            }
        }
    }

    fn spawn(&mut self) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))?;
        let program = self.program.clone().map_or_else(service::this_program, Ok)?;
        let mut command = Command::new(program);
        command.args(["service", self.role.as_str()]);
        // This directory has no .env that the program would read.
        command.env_clear().current_dir(&self.directory);
        for passed_on in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(passed_on) {
                command.env(passed_on, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(log));
        let mut child =
            command.kill_on_drop(true).process_group(0).spawn().context("cannot start this program again")?;
        let (Some(pid), Some(stdout)) = (child.id(), child.stdout.take()) else {
            bail!("{} ended while it was started", self.role.as_str());
        };
        self.guardian.process(pid);
        let stdout = BufReader::new(stdout).lines();
        self.running = Some(Running { child, pid: Pid::from_raw(pid.cast_signed()), _stdout: stdout });
        Ok(())
    }

    /// The line with which it says that it is ready. None where it ends before.
    async fn ready_line(&mut self) -> Option<Value> {
        let line = self.running.as_mut()?._stdout.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Keeps the address of its first start for all further ones.
    fn remember_address(&mut self, ready: &Value) -> Result<()> {
        let (field, variable) = match self.role {
            service::Command::Api => ("api", "API_ADDR"),
            service::Command::Worker => ("metrics", "METRICS_ADDR"),
            service::Command::Simgateway | service::Command::Guardian => ("gateway", "GATEWAY_ADDR"),
        };
        let url = ready.get(field).and_then(Value::as_str);
        let url = url.with_context(|| format!("{} says {ready}", self.role.as_str()))?;
        self.address = url.to_owned();
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, url.trim_start_matches("http://").to_owned()));
        Ok(())
    }

    /// Kills it with SIGKILL and waits until it is gone. Answers whether it lived.
    pub(super) async fn kill9(&mut self) -> bool {
        self.signal(Signal::SIGKILL) && self.ended().await
    }

    /// Asks it to end with SIGTERM and waits until it has. Answers whether it lived.
    pub(super) async fn terminate(&mut self) -> bool {
        if !self.signal(Signal::SIGTERM) {
            return false;
        }
        timeout(END_DEADLINE, self.ended()).await.is_ok() || self.kill9().await
    }

    /// Freezes it with SIGSTOP. Answers whether it lived.
    pub(super) fn freeze(&mut self) -> bool {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after a freeze.
    pub(super) fn thaw(&mut self) -> bool {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&mut self, signal: Signal) -> bool {
        self.is_alive() && self.running.as_ref().is_some_and(|running| kill(running.pid, signal).is_ok())
    }

    async fn ended(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        let ended = running.child.wait().await.is_ok();
        self.gone();
        ended
    }

    fn gone(&mut self) {
        if let Some(running) = self.running.take() {
            self.guardian.gone(running.pid.as_raw().unsigned_abs());
        }
    }
}
