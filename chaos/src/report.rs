//! The report of a run: what it showed, and what it did not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use terminal::output;

use super::books::{Figures, Verdict};
use super::faults::{Fired, Measured, network};
use super::load::Counts;
use super::plan::{Plan, Scenario};
use super::timing;

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Nothing was lost, nothing was done twice, and everything came to an end.
    Held,
    /// The same, but payments wait for a person that should not.
    WaitingForAPerson,
    /// Something was lost, done twice, or did not end.
    Violated,
    /// It cannot be run here.
    Skipped,
}

impl Outcome {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self::Held | Self::Skipped => ExitCode::SUCCESS,
            Self::Violated => ExitCode::FAILURE,
            Self::WaitingForAPerson => ExitCode::from(3),
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::WaitingForAPerson => "waiting for a person",
            Self::Violated => "VIOLATED",
            Self::Skipped => "skipped",
        }
    }
}

/// The clients' requests and answers, in numbers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Clients {
    attempted: u64,
    acknowledged: u64,
    /// Attempted and never acknowledged: they may have been recorded or not.
    unknown: u64,
    requests: u64,
    unanswered: u64,
    put_off: u64,
    statuses: BTreeMap<String, u64>,
}

impl Clients {
    pub(super) fn of(counts: &Counts, statuses: BTreeMap<String, u64>) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (attempted, acknowledged) = (read(&counts.attempted), read(&counts.acknowledged));
        Self {
            attempted,
            acknowledged,
            unknown: attempted.saturating_sub(acknowledged),
            requests: read(&counts.exchanges),
            unanswered: read(&counts.unanswered),
            put_off: read(&counts.put_off),
            statuses,
        }
    }
}

/// Everything that was seen, from which the report is drawn.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) fired: Fired,
    pub(super) measured: Measured,
    pub(super) clients: Clients,
    pub(super) figures: Figures,
    /// What clients found that must not be, and why the run was given up.
    pub(super) wrong: Vec<String>,
    pub(super) held: BTreeSet<String>,
    pub(super) charged_wrongly: BTreeSet<String>,
    pub(super) verdict: Verdict,
    pub(super) recovered_in: Duration,
    pub(super) lasted: Duration,
}

/// The report as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    scenario: String,
    pub(super) outcome: Outcome,
    /// The reasons, unless it held.
    why: Vec<String>,
    seed: u64,
    replay: String,
    timing: String,
    faults: Fired,
    faults_fired: u64,
    measured: Measured,
    #[serde(flatten)]
    clients: Option<Clients>,
    #[serde(flatten)]
    figures: Option<Figures>,
    /// 1 + kills × payments that a worker holds at most ÷ payments.
    attempts_bound: Option<f64>,
    held: usize,
    violations: u64,
    /// The upper bound, with a confidence of 95 %, of the share of payments that are violated: 3 ÷ payments,
    /// where none was.
    violation_rate_below_at_95: Option<f64>,
    /// The time from the last fault until every payment had ended.
    recovered_in_s: f64,
    lasted_s: f64,
    verify: Option<Value>,
    kept: Option<PathBuf>,
}

impl Report {
    /// The report of a run that cannot be made here.
    pub(super) fn skipped(plan: &Plan, why: &str) -> Self {
        Self {
            scenario: plan.scenario.name(),
            outcome: Outcome::Skipped,
            why: vec![why.to_owned()],
            seed: plan.seed,
            replay: plan.replay(),
            timing: timing::in_words(plan),
            faults: Fired::new(),
            faults_fired: 0,
            measured: Measured::new(),
            clients: None,
            figures: None,
            attempts_bound: None,
            held: 0,
            violations: 0,
            violation_rate_below_at_95: None,
            recovered_in_s: 0.0,
            lasted_s: 0.0,
            verify: None,
            kept: None,
        }
    }

    pub(super) fn of(plan: &Plan, seen: Seen) -> Self {
        let why = judge(plan, &seen);
        let waits = seen.verdict.code == 3 || !seen.held.is_empty();
        // Where a past came back, the script says what waits for a person, and why.
        let may_wait = plan.scenario == Scenario::Restore || seen.held == seen.charged_wrongly;
        let outcome = match (why.is_empty(), waits && !may_wait) {
            (false, _) => Outcome::Violated,
            (true, true) => Outcome::WaitingForAPerson,
            (true, false) => Outcome::Held,
        };
        let violations = seen.verdict.report["violations"].as_u64().unwrap_or(0);
        let checked = seen.figures.payments as f64;
        Self {
            outcome,
            faults_fired: seen.fired.values().sum(),
            faults: seen.fired,
            measured: seen.measured,
            attempts_bound: attempts_bound(plan, checked),
            held: seen.held.len(),
            violations,
            violation_rate_below_at_95: (violations == 0 && checked > 0.0).then(|| 3.0 / checked),
            clients: Some(seen.clients),
            figures: Some(seen.figures),
            recovered_in_s: seconds(seen.recovered_in),
            lasted_s: seconds(seen.lasted),
            verify: Some(seen.verdict.report),
            why,
            ..Self::skipped(plan, "")
        }
    }

    /// The report with the directory where everything was left.
    pub(super) fn kept_in(self, directory: PathBuf) -> Self {
        Self { kept: Some(directory), ..self }
    }

    pub(super) fn print_json(&self) -> Result<()> {
        output::json(self)
    }

    pub(super) fn print(&self) -> Result<()> {
        let outcome = match (self.outcome, self.why.first()) {
            (Outcome::Skipped, Some(why)) => format!("skipped: {why}"),
            (outcome, _) => outcome.in_words().to_owned(),
        };
        let mut rows = vec![("scenario", self.scenario.clone()), ("outcome", outcome)];
        if self.outcome != Outcome::Skipped {
            rows.extend(self.why.iter().map(|why| ("  because", why.clone())));
        }
        rows.extend(self.faults.iter().map(|(what, times)| ("  fired", format!("{times} {what}"))));
        rows.extend(self.measured.iter().map(|(what, figure)| ("  measured", format!("{what}: {figure}"))));
        if let (Some(clients), Some(figures)) = (&self.clients, &self.figures) {
            rows.extend(Self::rows_of_clients(clients));
            rows.extend(self.rows_of_books(figures));
        }
        if let Some(kept) = &self.kept {
            rows.push(("kept", kept.display().to_string()));
        }
        rows.extend([
            ("timing", self.timing.clone()),
            ("seed", self.seed.to_string()),
            ("again", self.replay.clone()),
        ]);
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        output::table(&["CHAOS", ""], &rows)
    }

    fn rows_of_clients(clients: &Clients) -> Vec<(&'static str, String)> {
        let Clients { attempted, acknowledged, unknown, requests, unanswered, put_off, statuses } = clients;
        let mut rows = vec![
            ("orders", format!("{attempted} attempted, {acknowledged} acknowledged, {unknown} unknown")),
            ("requests", format!("{requests}, of which {unanswered} unanswered and {put_off} put off")),
        ];
        rows.extend(statuses.iter().map(|(status, count)| ("  ended", format!("{count} {status}"))));
        rows
    }

    fn rows_of_books(&self, figures: &Figures) -> Vec<(&'static str, String)> {
        let bound = self.attempts_bound.map(|bound| format!(" (at most {bound:.3})")).unwrap_or_default();
        let rate = match self.violation_rate_below_at_95 {
            Some(rate) => format!("; 95 % sure that less than {rate:.6} of payments are"),
            None => String::new(),
        };
        vec![
            (
                "payments",
                format!("{}, {} not ended, {} held", figures.payments, figures.not_ended, self.held),
            ),
            (
                "attempts",
                format!("{:.3} on average{bound}, {} at most", figures.attempts_mean, figures.attempts_max),
            ),
            ("retries spent", figures.retries_spent.to_string()),
            ("takeovers", figures.takeovers.to_string()),
            ("came too late", format!("{}, changing nothing", figures.came_late)),
            ("violations", format!("{}{rate}", self.violations)),
            ("recovered in", format!("{:.1} s after the last fault", self.recovered_in_s)),
            ("lasted", format!("{:.1} s", self.lasted_s)),
        ]
    }
}

/// The reasons why the run did not hold. Empty where it held.
fn judge(plan: &Plan, seen: &Seen) -> Vec<String> {
    let mut why = seen.wrong.clone();
    let Seen { figures, clients, verdict, .. } = seen;
    if seen.fired.values().sum::<u64>() == 0 {
        why.push("no fault fired, so nothing was shown".to_owned());
    }
    if plan.scenario == Scenario::Partition {
        let none_of = |what: &&str| !seen.fired.contains_key(what);
        let missing: Vec<&str> = network::CUT.into_iter().filter(none_of).collect();
        if !missing.is_empty() {
            why.push(format!("the gateway was not cut off: there were no {}", missing.join(", no ")));
        }
    }
    if figures.not_ended > 0 {
        why.push(format!("{} payments did not end", figures.not_ended));
    }
    let payments = figures.payments.unsigned_abs();
    if payments < clients.acknowledged || payments > clients.attempted {
        why.push(format!(
            "{} orders were attempted and {} acknowledged, but there are {payments} payments",
            clients.attempted, clients.acknowledged
        ));
    }
    if verdict.code == 1 {
        why.push(format!("payonce verify found {} violations", verdict.report["violations"]));
    }
    if seen.held != seen.charged_wrongly && !seen.charged_wrongly.is_empty() {
        let missed = seen.charged_wrongly.difference(&seen.held).count();
        if missed > 0 {
            why.push(format!("{missed} payments charged a wrong amount are not held"));
        }
    }
    if plan.scenario == Scenario::Workers {
        if figures.retries_spent > 0 {
            why.push(format!("{} retries were spent, though only workers died", figures.retries_spent));
        }
        let bound = attempts_bound(plan, figures.payments as f64).unwrap_or(f64::INFINITY);
        if figures.attempts_mean > bound {
            why.push(format!("{:.3} attempts on average are more than {bound:.3}", figures.attempts_mean));
        }
    }
    why
}

/// The bound of attempts for each payment. Only what a worker holds when it is killed may need one
/// more attempt.
fn attempts_bound(plan: &Plan, payments: f64) -> Option<f64> {
    let bound = 1.0 + f64::from(plan.kills) * f64::from(timing::CONCURRENCY) / payments.max(1.0);
    (plan.scenario == Scenario::Workers).then_some(bound)
}

/// The seconds, to the millisecond: more would be noise.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
