//! The integration tests: one program, so that they share a database server and link once.
#![expect(clippy::unwrap_used, reason = "a test reports by failing")]

mod apart;
mod batches;
mod benchmark;
mod breaker;
mod browser;
mod chaos;
mod command_line;
mod corrections;
mod crashes;
mod dead_letters;
mod door;
mod doubt;
mod drain;
mod expiry;
mod gateway;
mod harness;
mod http;
mod idempotency;
mod late;
mod limit;
mod logs;
mod matrix;
mod metrics;
mod migrate;
mod model;
mod money_path;
mod operator;
mod ops;
mod outage;
mod plans;
mod poison;
mod probe;
mod queue;
mod readme;
mod rebuild;
mod reconcile;
mod recovery;
mod remedy;
mod schedules;
mod schema;
mod seat;
mod shares;
mod shipping;
mod storm;
mod teeth;
mod tidy;
mod tokens;
mod verify;

/// The program that can be any of Payonce's processes.
const PROGRAM: &str = env!("CARGO_BIN_EXE_process");
