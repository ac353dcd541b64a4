//! The findings of a rebuild: counts, and each difference by payment and column.

use anyhow::Result;
use domain::ids::PaymentId;
use serde::Serialize;
use terminal::output;

use super::{KEPT, REBUILT};

/// How many are named in JSON, which is one line. The counts are of all. As text each one is named.
const NAMED: usize = 10_000;

/// The mode that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Check,
    Write,
    Swap,
}

/// A column in which a row is not what its events make.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) payment: PaymentId,
    pub(super) column: String,
    /// The row's value. None where it is null.
    pub(super) row: Option<String>,
    /// The value that the events make. None where it is null.
    pub(super) events: Option<String>,
}

/// A payment that is wrong as a whole, and why.
#[derive(Debug, Serialize)]
struct Problem {
    payment: PaymentId,
    says: String,
}

/// Everything that was found and done.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    mode: Mode,
    pub(super) payments: u64,
    pub(super) events: u64,
    /// How many rows of the new table were written.
    pub(super) written: u64,
    /// Whether the new table took the place of the old one.
    pub(super) swapped: bool,
    differences: u64,
    problems: u64,
    first_differences: Vec<Difference>,
    first_problems: Vec<Problem>,
    #[serde(skip)]
    as_json: bool,
}

impl Report {
    pub(super) const fn new(mode: Mode, as_json: bool) -> Self {
        Self {
            mode,
            payments: 0,
            events: 0,
            written: 0,
            swapped: false,
            differences: 0,
            problems: 0,
            first_differences: Vec::new(),
            first_problems: Vec::new(),
            as_json,
        }
    }

    /// Whether the table is what the events make.
    pub(super) const fn is_equal(&self) -> bool {
        self.differences == 0 && self.problems == 0
    }

    /// Counts and names a column that differs.
    pub(super) fn differs(&mut self, it: Difference) -> Result<()> {
        self.differences += 1;
        if !self.as_json {
            let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
            let Difference { payment, column, row, events } = &it;
            return output::line(&format!(
                "{payment}: {column} is {}, its events make it {}",
                show(row),
                show(events)
            ));
        }
        if self.first_differences.len() < NAMED {
            self.first_differences.push(it);
        }
        Ok(())
    }

    /// Counts and names a payment whose row or events are missing, or whose events make no payment.
    pub(super) fn problem(&mut self, payment: PaymentId, says: String) -> Result<()> {
        self.problems += 1;
        if !self.as_json {
            return output::line(&format!("{payment}: {says}"));
        }
        if self.first_problems.len() < NAMED {
            self.first_problems.push(Problem { payment, says });
        }
        Ok(())
    }

    /// Prints the verdict in one sentence, or everything as JSON.
    pub(super) fn print(&self) -> Result<()> {
        if self.as_json {
            let mut all = serde_json::to_value(self)?;
            all["equal"] = self.is_equal().into();
            return output::json(&all);
        }
        let Self { payments, events, written, differences, problems, .. } = self;
        match self.mode {
            Mode::Check => {}
            Mode::Write => output::line(&format!("{written} rows written to {REBUILT}, from events alone"))?,
            Mode::Swap => output::line(&format!(
                "{REBUILT} is payments now ({written} rows were brought up to date). The table that was there is {KEPT}; \
                 when nobody needs it any more: drop table {KEPT}"
            ))?,
        }
        output::line(&match (self.is_equal(), self.mode) {
            (true, _) => format!("{payments} payments, {events} events: the table is what the events make"),
            (false, Mode::Check | Mode::Swap) => format!(
                "{payments} payments, {events} events: {differences} columns differ, {problems} payments are not whole. \
                 Change nothing by hand: docs/RUNBOOK.md says what to do"
            ),
            (false, Mode::Write) => format!(
                "{payments} payments, {events} events: {differences} columns of the table in use differ, {problems} \
                 payments are not whole. payonce rebuild --swap puts {REBUILT} in its place"
            ),
        })
    }
}
