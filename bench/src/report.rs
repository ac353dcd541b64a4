//! The results of a run: the figures as JSON, as a table and as plots.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

pub use crate::cost::{Cost, Statement};
use crate::plot::{Plot, number};

/// All figures of a run. They are measured; ratios are left to the reader.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// When the run began, on how many cores, and on which version of the server.
    pub machine: Machine,
    /// Payments per second of the bare lifecycle, before and after everything else.
    pub bare: Vec<f64>,
    /// Throughput in each setting.
    pub cycles: Vec<Cycle>,
    /// Latency of one payment after the other. None until it was measured.
    pub idle: Option<Idle>,
    /// Latency of the same requests again. None until it was measured.
    pub replay: Option<Replay>,
    /// Latency of many requests at once. None until it was measured.
    pub crowd: Option<Crowd>,
    /// Transfers between accounts: spread, and on one pair.
    pub moves: Vec<Moves>,
}

/// The machine, and the time of the run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// When the run began, in UTC.
    pub at: String,
    /// The number of cores.
    pub cores: usize,
    /// The version of the Postgres server.
    pub postgres: String,
}

/// Throughput in one setting, in payments per second.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cycle {
    /// The number of payments stored when it began.
    pub stored: u64,
    /// The number of worker processes.
    pub workers: usize,
    /// The number of payments in each measurement.
    pub payments: u64,
    /// From the first request to the last payment settled.
    pub settled_per_s: f64,
    /// Accepted while no worker ran.
    pub accepted_per_s: f64,
    /// Settled while no request came.
    pub drained_per_s: f64,
    /// The cost of the payments from HTTP to settled.
    pub cost: Cost,
}

/// Latency of one payment after the other, on one connection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Idle {
    /// The time to answer each request.
    pub post: Distribution,
    /// From each payment's acceptance to its end, as the database has it.
    pub settled: Distribution,
}

/// Latency of the same requests again, after their payments ended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Replay {
    /// The time to each answer, as the client saw it.
    pub client: Distribution,
    /// The median time, as the API counted it. It lies within a bucket of the API's histogram.
    pub server_p50_ms: Option<f64>,
    /// The mean time as the API counted it, exactly.
    pub server_mean_ms: Option<f64>,
}

/// Latency of many requests at once.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Crowd {
    /// The number of requests.
    pub requests: u64,
    /// The number of requests at a time.
    pub connections: u64,
    /// The time to answer each request.
    pub post: Distribution,
    /// From each payment's acceptance to its end, as the database has it.
    pub settled: Distribution,
    /// From the first request to the end of the last payment.
    pub last_settled_s: f64,
}

/// Transfers between some accounts, each a request of its own.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Moves {
    /// The number of accounts. Two are a hot pair.
    pub accounts: u64,
    /// The number of transfers.
    pub transfers: u64,
    /// Movements per second of pgbench, each in a transaction of its own.
    pub bare_per_s: f64,
    /// Transfers per second over HTTP.
    pub moved_per_s: f64,
    /// The time to answer each request.
    pub answer: Distribution,
    /// By how many bytes the tables and their indexes grew for each transfer.
    pub bytes_per_transfer: f64,
}

/// How long things took, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// Half took no longer.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest: none took longer.
    pub max_ms: f64,
    /// The time that the fastest 1 %, 2 %, … 100 % did not exceed.
    pub percentiles_ms: Vec<f64>,
}

impl Distribution {
    /// The distribution of these milliseconds. Each percentile is a value that occurred; all are 0
    /// without values.
    #[must_use]
    pub fn of(mut values_ms: Vec<f64>) -> Self {
        values_ms.sort_unstable_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let rank = (values_ms.len() * percent).div_ceil(100);
            values_ms.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            p50_ms: percentile(50),
            p95_ms: percentile(95),
            p99_ms: percentile(99),
            max_ms: percentile(100),
            percentiles_ms: (1..=100).map(percentile).collect(),
        }
    }

    fn curve(&self) -> Vec<(f64, f64)> {
        let known = self.percentiles_ms.iter().zip(1_u32..).filter(|&(&ms, _)| ms > 0.0);
        known.map(|(&ms, percent)| (ms, f64::from(percent))).collect()
    }
}

impl Report {
    pub(crate) fn new(postgres: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
        Self { machine: Machine { at, cores, postgres }, ..Self::default() }
    }

    /// The mean of the bare lifecycle's runs, because the machine drifts.
    fn bare_per_s(&self) -> f64 {
        self.bare.iter().sum::<f64>() / self.bare.len().max(1) as f64
    }

    /// The table: figure, value, and its ratio to the bare lifecycle where it has one.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows: Vec<[String; 3]> = Vec::new();
        let bare = self.bare_per_s();
        let mut row = |name: String, value: String, ratio: Option<f64>| {
            rows.push([name, value, ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"))]);
        };
        let per_s = |value: f64| format!("{}/s", number(value.round()));
        let ms = |value: f64| format!("{value:.2} ms");
        row("bare lifecycle, mean of two runs".to_owned(), per_s(bare), Some(1.0));
        for cycle in &self.cycles {
            let at = format!("{} stored, {} worker(s)", number(cycle.stored as f64), cycle.workers);
            for (what, value) in [
                ("HTTP to settled", cycle.settled_per_s),
                ("accepted alone", cycle.accepted_per_s),
                ("drained alone", cycle.drained_per_s),
            ] {
                row(format!("{at}: {what}"), per_s(value), (bare > 0.0).then(|| value / bare));
            }
        }
        if let Some(crowd) = &self.crowd {
            let at = format!("{} requests, {} at a time", number(crowd.requests as f64), crowd.connections);
            let Distribution { p50_ms, p95_ms, p99_ms, .. } = crowd.post;
            let answers = format!("{p50_ms:.1} / {p95_ms:.1} / {p99_ms:.1} ms");
            row(format!("{at}: answer p50 / p95 / p99"), answers, None);
            row(format!("{at}: last payment settled"), format!("{:.2} s", crowd.last_settled_s), None);
        }
        if let Some(idle) = &self.idle {
            row("idle: answer p50".to_owned(), ms(idle.post.p50_ms), None);
            row("idle: accepted to settled p50".to_owned(), ms(idle.settled.p50_ms), None);
        }
        if let Some(replay) = &self.replay {
            row("replay: client p50".to_owned(), ms(replay.client.p50_ms), None);
            let told = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), ms);
            row("replay: server p50".to_owned(), told(replay.server_p50_ms), None);
            row("replay: server mean".to_owned(), told(replay.server_mean_ms), None);
        }
        self.moves.iter().for_each(|moves| move_rows(moves, &mut row));
        if let Some(cycle) = self.cycles.first() {
            cost_rows(&cycle.cost, &mut row);
        }
        let Machine { at, cores, postgres } = &self.machine;
        format!("{at}, {cores} cores, PostgreSQL {postgres}\n\n{}", aligned(&rows))
    }

    /// The plots: name of the file, and picture.
    #[must_use]
    pub fn plots(&self) -> Vec<(&'static str, String)> {
        let with_one_worker = || self.cycles.iter().filter(|cycle| cycle.workers == 1);
        let line = |of: &dyn Fn(&Cycle) -> f64| with_one_worker().map(|c| (c.stored as f64, of(c))).collect();
        let throughput = Plot {
            title: "Throughput against payments stored, one worker",
            x: "payments stored",
            y: "payments/s",
            lines: vec![
                ("bare lifecycle".to_owned(), line(&|_| self.bare_per_s())),
                ("accepted alone".to_owned(), line(&|cycle| cycle.accepted_per_s)),
                ("drained alone".to_owned(), line(&|cycle| cycle.drained_per_s)),
                ("HTTP to settled".to_owned(), line(&|cycle| cycle.settled_per_s)),
            ],
        };
        let mut curves = Vec::new();
        if let Some(idle) = &self.idle {
            curves.push(("idle: answered".to_owned(), idle.post.curve()));
            curves.push(("idle: settled".to_owned(), idle.settled.curve()));
        }
        if let Some(replay) = &self.replay {
            curves.push(("replay: answered".to_owned(), replay.client.curve()));
        }
        if let Some(crowd) = &self.crowd {
            curves.push(("100 at a time: answered".to_owned(), crowd.post.curve()));
            curves.push(("100 at a time: settled".to_owned(), crowd.settled.curve()));
        }
        let latency = Plot { title: "How many took no longer", x: "milliseconds", y: "%", lines: curves };
        let named = [("throughput.svg", throughput.svg()), ("latency.svg", latency.svg())];
        named.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
    }

    /// Writes the report, the table and the plots into a directory.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let mut files = self.plots();
        files.push(("report.json", serde_json::to_string_pretty(self)? + "\n"));
        files.push(("table.txt", self.table()));
        let written = std::fs::create_dir_all(directory).and_then(|()| {
            files.iter().try_for_each(|(name, text)| std::fs::write(directory.join(name), text))
        });
        written.with_context(|| format!("cannot write to {}", directory.display()))
    }
}

fn move_rows(moves: &Moves, row: &mut impl FnMut(String, String, Option<f64>)) {
    let Moves { accounts, bare_per_s, moved_per_s, answer, bytes_per_transfer, .. } = moves;
    let at = format!("{} accounts", number(*accounts as f64));
    let per_s = |value: f64| format!("{}/s", number(value.round()));
    row(format!("{at}: pgbench's movements"), per_s(*bare_per_s), Some(1.0));
    row(
        format!("{at}: transfers"),
        per_s(*moved_per_s),
        (*bare_per_s > 0.0).then(|| moved_per_s / bare_per_s),
    );
    let Distribution { p50_ms, p95_ms, p99_ms, .. } = answer;
    row(format!("{at}: answer p50 / p95 / p99"), format!("{p50_ms:.1} / {p95_ms:.1} / {p99_ms:.1} ms"), None);
    row(format!("{at}: stored per transfer"), format!("{} bytes", number(bytes_per_transfer.round())), None);
}

fn cost_rows(cost: &Cost, row: &mut impl FnMut(String, String, Option<f64>)) {
    let payonce = ["api", "worker", "postgres"].iter().filter_map(|name| cost.cpu_s_per_1000.get(*name));
    let total: f64 = payonce.sum();
    row("CPU for 1,000 payments: api + worker + postgres".to_owned(), format!("{total:.3} s"), None);
    for (name, secs) in &cost.cpu_s_per_1000 {
        row(format!("CPU for 1,000 payments: {name}"), format!("{secs:.3} s"), None);
    }
    for (name, megabytes) in &cost.peak_memory_mb {
        row(format!("peak memory: {name}"), format!("{megabytes:.0} MB"), None);
    }
    row("WAL per payment".to_owned(), format!("{} bytes", number(cost.wal_bytes_per_payment)), None);
    if let Some(statements) = cost.statements_per_payment {
        row("statements per payment".to_owned(), format!("{statements:.3}"), None);
    }
}

/// Columns as wide as their widest cell, under headings.
fn aligned(rows: &[[String; 3]]) -> String {
    let headings = ["FIGURE", "VALUE", "OF THE BARE"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&headings]).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths = [width(0), width(1)];
    let lines = [&headings].into_iter().chain(rows).map(|[name, value, ratio]| {
        let line = format!("{name:0$}  {value:>1$}  {ratio}", widths[0], widths[1]);
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let cost = Cost {
            cpu_s_per_1000: [("api", 0.1), ("load", 0.5), ("postgres", 0.2), ("worker", 0.05)]
                .map(|(name, secs)| (name.to_owned(), secs))
                .into(),
            wal_bytes_per_payment: 4321.0,
            statements_per_payment: Some(0.25),
            ..Cost::default()
        };
        let cycle =
            |stored, workers, settled_per_s| Cycle { stored, workers, settled_per_s, ..Cycle::default() };
        Report {
            bare: vec![9_000.0, 11_000.0],
            cycles: vec![
                Cycle { cost, ..cycle(10_000, 1, 2_500.0) },
                cycle(10_000, 4, 1.0),
                cycle(1_000_000, 1, 2_400.0),
            ],
            crowd: Some(Crowd { post: Distribution::of(vec![1.0, 2.0, 3.0]), ..Crowd::default() }),
            ..Report::default()
        }
    }

    #[test]
    fn throughput_is_given_as_a_ratio_to_the_mean_of_the_bare_runs() {
        let table = report().table();
        let line =
            |beginning: &str| table.lines().find(|line| line.starts_with(beginning)).unwrap().to_owned();

        assert!(line("bare lifecycle").ends_with("10,000/s  1.000"), "{table}");
        assert!(line("10,000 stored, 1 worker(s): HTTP to settled").ends_with("2,500/s  0.250"), "{table}");
        assert!(line("CPU for 1,000 payments: api + worker + postgres").ends_with("0.350 s"), "{table}");
        assert!(line("statements per payment").ends_with("0.250"), "{table}");
    }

    #[test]
    fn a_plot_shows_the_settings_with_one_worker() {
        let plots = report().plots();

        assert_eq!(
            plots.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["throughput.svg", "latency.svg"]
        );
        let settled = plots[0].1.lines().rfind(|line| line.starts_with("<polyline")).unwrap();
        assert_eq!(settled.matches(',').count(), 2, "{settled}");
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let found = Distribution::of((1..=10).rev().map(f64::from).collect());

        assert_eq!((found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms), (5.0, 10.0, 10.0, 10.0));
        assert_eq!(Distribution::of(Vec::new()).max_ms, 0.0);
    }
}
