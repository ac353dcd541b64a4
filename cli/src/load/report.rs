//! The figures of a load test, as a table and as JSON.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use terminal::output;

use super::{Sent, Statuses};

/// The line that `--json` ends with.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    total: u64,
    accepted: usize,
    errors: u64,
    error_rate: f64,
    accepted_per_s: f64,
    finished: usize,
    finished_per_s: f64,
    end_to_end_s: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    avg_ms: f64,
}

impl Report {
    pub(super) fn new(
        total: u64,
        sent: &Sent,
        statuses: &Statuses,
        accepting: Duration,
        end_to_end: Duration,
    ) -> Self {
        let mut latencies = sent.latencies.clone();
        latencies.sort_unstable();
        let accepted = latencies.len();
        let errors = sent.errors.values().sum();
        let finished = statuses.ended();
        let sum: Duration = latencies.iter().sum();
        Self {
            total,
            accepted,
            errors,
            error_rate: ratio(errors as f64, total as f64),
            accepted_per_s: ratio(accepted as f64, accepting.as_secs_f64()),
            finished,
            finished_per_s: ratio(finished as f64, end_to_end.as_secs_f64()),
            end_to_end_s: rounded(end_to_end.as_secs_f64()),
            p50_ms: percentile_ms(&latencies, 50),
            p95_ms: percentile_ms(&latencies, 95),
            p99_ms: percentile_ms(&latencies, 99),
            avg_ms: ratio(sum.as_secs_f64() * 1000.0, accepted as f64),
        }
    }

    pub(super) fn print(&self, statuses: &Statuses) -> Result<()> {
        let mut rows = vec![
            ("requests", self.total.to_string()),
            ("accepted", self.accepted.to_string()),
            ("errors", format!("{} ({:.2} %)", self.errors, self.error_rate * 100.0)),
            ("accepted per second", format!("{:.0}", self.accepted_per_s)),
            ("payments ended", self.finished.to_string()),
            ("ended per second", format!("{:.0}", self.finished_per_s)),
            ("first request to last end", format!("{:.2} s", self.end_to_end_s)),
            ("answer p50", format!("{:.1} ms", self.p50_ms)),
            ("answer p95", format!("{:.1} ms", self.p95_ms)),
            ("answer p99", format!("{:.1} ms", self.p99_ms)),
            ("answer average", format!("{:.1} ms", self.avg_ms)),
        ];
        rows.extend(statuses.0.iter().map(|(status, count)| (status.as_str(), count.to_string())));
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        output::table(&["MEASURE", "VALUE"], &rows)
    }
}

/// The smallest value that at least `percent` of all do not exceed, or 0 without values. `sorted` is in
/// ascending order.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let value = sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    rounded(value.as_secs_f64() * 1000.0)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { rounded(part / whole) } else { 0.0 }
}

/// The value to three decimals: more would be noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let millis: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();

        let found = [50, 95, 99].map(|percent| percentile_ms(&millis, percent));

        assert_eq!(found, [5.0, 10.0, 10.0]);
    }

    #[test]
    fn without_an_answer_there_is_nothing_to_divide_by() {
        let sent = Sent { errors: [("503 overloaded".to_owned(), 2)].into(), ..Sent::default() };

        let report = Report::new(2, &sent, &Statuses::default(), Duration::ZERO, Duration::ZERO);

        assert_eq!((report.error_rate, report.p50_ms, report.avg_ms), (1.0, 0.0, 0.0));
    }
}
