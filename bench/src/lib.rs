//! Measures Payonce on this machine beside the database under it, in one run on one private Postgres.
//! Absolute figures drift from machine to machine and from hour to hour, but their ratio to the bare
//! lifecycle stays.
//!
//! It reports and judges nothing. It measures Payonce's own programs, each a process of its own with its
//! default settings. Its times come from the rows in the database wherever they can.

mod bare;
mod client;
mod cost;
mod cycle;
mod latency;
mod metric;
mod moves;
pub mod plot;
pub mod report;
mod server;
mod site;

use std::path::PathBuf;

use anyhow::Result;
use tokio::process::Command;

use self::report::Report;
use self::server::BenchServer;
pub use self::site::fill;

/// The size of a run.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Seconds of the bare lifecycle, once before and once after everything else.
    pub bare_secs: u64,
    /// Payments in each measurement of throughput.
    pub payments: u64,
    /// Payments one after the other, for latency while idle.
    pub idle: u64,
    /// Payments that come at once, a hundred at a time.
    pub crowd: u64,
    /// Transfers in each measurement of accounts.
    pub transfers: u64,
    /// The numbers of accounts between which they are, one for each measurement.
    pub accounts: Vec<u64>,
    /// The number of stored payments and of workers, for each measurement of throughput. Latencies are
    /// measured on the first of these.
    pub settings: Vec<(u64, usize)>,
}

impl Scale {
    /// The size of a full run.
    #[must_use]
    pub fn full() -> Self {
        let settings = vec![(10_000, 1), (10_000, 2), (10_000, 4), (100_000, 1), (1_000_000, 1)];
        Self {
            bare_secs: 10,
            payments: 20_000,
            idle: 200,
            crowd: 1000,
            transfers: 20_000,
            accounts: vec![1_000, 2],
            settings,
        }
    }

    /// The same, but with few payments stored.
    #[must_use]
    pub fn quick() -> Self {
        let settings = vec![(10_000, 1), (10_000, 2), (10_000, 4)];
        Self { bare_secs: 5, idle: 50, settings, ..Self::full() }
    }
}

/// Starts the program of that name: `api`, `worker` or `simgateway`.
pub type Programs = dyn Fn(&str) -> Command + Sync;

/// Measures everything, on a server that lives in `directory` meanwhile.
///
/// # Errors
/// A program is missing or ended, or payments did not succeed.
pub async fn measure(scale: &Scale, programs: &Programs, directory: PathBuf) -> Result<Report> {
    let server = Box::pin(BenchServer::start(directory)).await?;
    let measured = tokio::select! {
        report = Box::pin(measure_on(&server, scale, programs)) => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    server.remove().await?;
    measured
}

async fn measure_on(server: &BenchServer, scale: &Scale, programs: &Programs) -> Result<Report> {
    let mut report = Report::new(server.version().await?);
    say("the bare lifecycle");
    report.bare.push(bare::lifecycle(server, scale.bare_secs).await?);
    for (index, &(stored, workers)) in scale.settings.iter().enumerate() {
        say(&format!("{stored} payments stored, {workers} worker(s)"));
        let mut site = site::Site::open(server, programs, stored).await?;
        site.add_workers(workers).await?;
        cycle::warm_up(&mut site, scale.payments).await?;
        if index == 0 {
            let (idle, replay) = latency::idle(&mut site, scale.idle).await?;
            report.idle = Some(idle);
            report.replay = Some(replay);
            report.crowd = Some(latency::crowd(&mut site, scale.crowd).await?);
        }
        report.cycles.push(cycle::measure(&mut site, scale.payments).await?);
        site.close().await?;
    }
    let site = site::Site::open(server, programs, 0).await?;
    for &accounts in &scale.accounts {
        say(&format!("transfers between {accounts} accounts"));
        report.moves.push(moves::measure(&site, (accounts, scale.transfers, scale.bare_secs)).await?);
    }
    site.close().await?;
    say("the bare lifecycle, again");
    report.bare.push(bare::lifecycle(server, scale.bare_secs).await?);
    Ok(report)
}

/// Writes one line to standard error, as standard output is for the table.
#[expect(clippy::print_stderr, reason = "a run takes minutes, and says where it is")]
fn say(what: &str) {
    eprintln!("{what} …");
}
