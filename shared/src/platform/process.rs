//! What API and worker do the same way: logs, one line on stdout once they are ready, and an orderly end on
//! SIGTERM or Ctrl-C.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::platform::{config, fault, telemetry};

/// Runs a program to its end: sets up logs and signals, and logs why it failed.
pub fn run<F, E>(service: &'static str, program: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let dotenv = config::load();
    let logs = telemetry::start(service);
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string()).and_then(
            |runtime| {
                dotenv.and(logs).map_err(|e| e.to_string())?;
                fault::check().map_err(|e| e.to_string())?;
                let ended = runtime
                    .block_on(async { program(shutdown_signal()).await.map_err(|e| format!("{e:#}")) });
                // A blocked thread, such as a name look-up, does not hold up the end.
                runtime.shutdown_timeout(Duration::from_secs(1));
                ended
            },
        );
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a program that was told to end a second time, before it was done.
const EXIT_TOLD_TWICE: i32 = 130;

/// A token that the first SIGTERM or Ctrl-C cancels. The second one ends the process at once, which is safe
/// at any moment.
#[must_use]
pub fn shutdown_signal() -> CancellationToken {
    let shutdown = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        match signal(kind) {
            Ok(mut signals) => {
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    signals.recv().await;
                    tracing::info!("shutting down");
                    shutdown.cancel();
                    signals.recv().await;
                    tracing::warn!("told twice: ending at once");
                    std::process::exit(EXIT_TOLD_TWICE);
                });
            }
            Err(why) => {
                tracing::error!(%why, "cannot listen for signals: only SIGKILL will end this process")
            }
        }
    }
    shutdown
}

/// Says on stdout that the program is ready, as one line of JSON.
#[expect(clippy::print_stdout, reason = "the one line that programs which start this one wait for")]
pub fn announce(ready: &Value) {
    println!("{ready}");
}
