//! A second gateway beside that of a system: a simulator of its own, with a database of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::Exit;
use crate::{Client, Launch, Process, System, TestDatabase, guardian};

/// The name of the second gateway.
pub const SECOND: &str = "second";

/// A second gateway, and the file that names both.
#[derive(Debug)]
pub struct Second {
    /// The simulator's process.
    pub process: Process,
    /// The simulator's own database.
    pub database: TestDatabase,
    file: PathBuf,
    program: &'static str,
}

impl Second {
    /// Starts it beside the gateway of `system`.
    pub async fn beside(system: &System, program: &'static str) -> Self {
        let database = TestDatabase::fresh_empty().await;
        let process = start(program, &database, "127.0.0.1:0").await;
        let (first, second) = (system.gateway.address("gateway"), process.address("gateway"));
        Self { file: file(first, second, ""), process, database, program }
    }

    /// The variables by which a process knows both gateways.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        [("GATEWAYS", self.file.display().to_string()), ("GATEWAY_URL", String::new())]
    }

    /// Says more of the second gateway in the file: lines of TOML.
    pub fn terms(&mut self, system: &System, lines: &str) {
        self.file = file(system.gateway.address("gateway"), self.process.address("gateway"), lines);
    }

    /// Has each gateway's name stand at the other one's address.
    pub fn exchange_addresses(&mut self, system: &System) {
        self.file = file(self.process.address("gateway"), system.gateway.address("gateway"), "");
    }

    /// Has each gateway's name stand at its own address.
    pub fn exchange_back(&mut self, system: &System) {
        self.terms(system, "");
    }

    /// Has both names stand at the address of the system's gateway.
    pub fn both_at_the_first(&mut self, system: &System) {
        let first = system.gateway.address("gateway");
        self.file = file(first, first, "");
    }

    /// A client of a merchant that is charged at the second gateway, made by the command line.
    pub async fn merchant(&self, system: &System, name: &str) -> Client {
        let arguments = ["keys", "create", "--json", "--merchant", name, "--gateway", SECOND];
        let (exit, process) = self.payonce(system, arguments).await;
        assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
        let made: serde_json::Value = serde_json::from_str(&process.stdout()).expect("one line of JSON");
        system.client.with_secret(made["secret"].as_str().expect("a secret").to_owned())
    }

    /// Runs the command line with both gateways in its environment.
    pub async fn payonce<'a>(
        &self,
        system: &System,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> (Exit, Process) {
        let launch = Launch::payonce(self.program).args(arguments).envs(self.env());
        launch.env("DATABASE_URL", &system.database.url).run().await
    }

    /// The arguments by which `payonce verify` reads both journals.
    #[must_use]
    pub fn verify_arguments(&self, system: &System) -> [String; 4] {
        let of = |name: &str, process: &Process| format!("{name}={}", process.address("gateway"));
        let flag = || "--gateway-url".to_owned();
        [flag(), of("default", &system.gateway), flag(), of(SECOND, &self.process)]
    }

    /// Starts it again where it was, after it ended.
    pub async fn restart(&mut self) {
        let address = self.process.address("gateway").trim_start_matches("http://").to_owned();
        self.process = start(self.program, &self.database, &address).await;
    }
}

async fn start(program: &'static str, database: &TestDatabase, address: &str) -> Process {
    Launch::simgateway(program)
        .env("GATEWAY_DATABASE_URL", &database.url)
        .env("GATEWAY_ADDR", address)
        .start()
        .await
}

/// Writes the file that names both gateways, under a name of its own.
fn file(first: &str, second: &str, terms: &str) -> PathBuf {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let path = guardian::scratch().join(format!("gateways-{number}.toml"));
    let text = format!("[default]\nurl = \"{first}\"\n\n[{SECOND}]\nurl = \"{second}\"\n{terms}\n");
    fs::write(&path, text).expect("the scratch directory is writable");
    path
}
