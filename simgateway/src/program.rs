//! The program: settings, logs, signals, exit code.
//!
//! Standard output carries exactly one line, the JSON that says the gateway is ready. Logs go to
//! standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use terminal::environment;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::LogFormat;
use crate::{Gateway, Settings, log};

/// Runs the gateway with settings from the environment until Ctrl-C or SIGTERM.
#[must_use]
pub fn main() -> ExitCode {
    let format = LogFormat::from_env();
    log::start(format.as_ref().ok().copied().flatten());

    let known = environment::check().map_err(|it| anyhow::anyhow!("{}: {}", it.name, it.why));
    match known.and(format).and_then(|_| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    cancel_on_signal(shutdown.clone())?;

    let gateway = Gateway::bind(Settings::from_env()?).await?.alone();
    announce(&gateway).context("cannot write the ready line to standard output")?;
    gateway.run(shutdown).await
}

/// The line on standard output that says where the gateway can be reached.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    service: &'static str,
    gateway: String,
}

fn announce(gateway: &Gateway) -> anyhow::Result<()> {
    let url = format!("http://{}", gateway.addr());
    let line = serde_json::to_string(&Ready { event: "ready", service: "simgateway", gateway: url })?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted, shutting down"),
            _ = terminate.recv() => tracing::info!("terminated, shutting down"),
        }
        shutdown.cancel();
    });
    Ok(())
}
