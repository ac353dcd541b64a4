//! The result of the checks: counts, the first offenders, and the verdict.

use std::fmt::Display;

use anyhow::Result;
use serde::Serialize;
use terminal::output;

/// How many offenders are named for each check. The counts are of all.
const NAMED: usize = 10;

/// One check of many subjects.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    name: &'static str,
    /// How many subjects were looked at.
    pub(super) checked: u64,
    violations: u64,
    first: Vec<Offence>,
}

/// One subject that is not as it must be, and what is wrong with it.
#[derive(Debug, Serialize)]
struct Offence {
    subject: String,
    says: String,
}

impl Check {
    /// A check that has seen nothing yet.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, checked: 0, violations: 0, first: Vec::new() }
    }

    /// Counts a violation, and names it if it is among the first.
    pub(super) fn blame(&mut self, subject: impl Display, says: impl Into<String>) {
        self.violations += 1;
        if self.first.len() < NAMED {
            self.first.push(Offence { subject: subject.to_string(), says: says.into() });
        }
    }
}

/// Payments that a person ended without proof. The journal may contradict them without a violation, as nobody
/// claimed to know.
#[derive(Debug, Default, Serialize)]
pub(super) struct Unproven {
    payments: u64,
    /// The number of them that the journal contradicts.
    refuted: u64,
    first: Vec<Offence>,
}

impl Unproven {
    /// This number of payments, of which none is refuted yet.
    pub(super) fn of(payments: usize) -> Self {
        Self { payments: payments.try_into().unwrap_or(u64::MAX), ..Self::default() }
    }

    /// Takes note that the journal contradicts one.
    pub(super) fn refute(&mut self, subject: impl Display, says: impl Into<String>) {
        self.refuted += 1;
        if self.first.len() < NAMED {
            self.first.push(Offence { subject: subject.to_string(), says: says.into() });
        }
    }
}

/// The clients' requests in numbers, each customer and key counted once.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Acknowledged {
    pub(super) attempted: u64,
    pub(super) acknowledged: u64,
    /// Sent, and never answered with 2xx: the payment may exist or not.
    pub(super) unknown: u64,
    pub(super) lost: u64,
    pub(super) unexpected: u64,
    pub(super) duplicated: u64,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    pub(super) violations: u64,
    pub(super) waiting_for_a_person: u64,
    pub(super) unproven: Unproven,
    /// Payments that have been due for too long, and only because every worker finds the gateway away.
    pub(super) held_back: u64,
    pub(super) in_flight: u64,
    pub(super) acknowledged: Option<Acknowledged>,
    pub(super) payments: u64,
    pub(super) charges: u64,
    /// Charges of forgotten payments, told to a person and adopted by none.
    pub(super) orphans: u64,
}

impl Report {
    /// How many violations all `checks` found.
    pub(super) fn sum(checks: &[Check]) -> u64 {
        checks.iter().map(|check| check.violations).sum()
    }

    /// How many payments and contradictions only a person can put right.
    pub(super) const fn for_a_person(&self) -> u64 {
        self.waiting_for_a_person.saturating_add(self.unproven.refuted)
    }

    /// Prints the table, the offenders, and the sentence that counts.
    pub(super) fn print(&self) -> Result<()> {
        let rows: Vec<Vec<String>> = self
            .checks
            .iter()
            .map(|check| vec![check.name.to_owned(), check.checked.to_string(), check.violations.to_string()])
            .collect();
        output::table(&["CHECK", "CHECKED", "VIOLATIONS"], &rows)?;
        for check in &self.checks {
            for offence in &check.first {
                output::line(&format!("{}: {} {}", check.name, offence.subject, offence.says))?;
            }
            let unnamed = check.violations.saturating_sub(NAMED as u64);
            if unnamed > 0 {
                output::line(&format!("{}: and {unnamed} more", check.name))?;
            }
        }
        if let Some(told) = self.acknowledged {
            let Acknowledged { attempted, acknowledged, unknown, lost, unexpected, duplicated } = told;
            output::line(&format!(
                "clients: {attempted} attempted, {acknowledged} acknowledged, {unknown} unknown; \
                 {lost} lost, {unexpected} unexpected, {duplicated} duplicated"
            ))?;
        }
        let Unproven { payments: unproven, refuted, first } = &self.unproven;
        if *unproven > 0 {
            output::line(&format!("{unproven} ended by a person without proof, {refuted} of them refuted"))?;
            for it in first {
                output::line(&format!("unproven: {} {}", it.subject, it.says))?;
            }
        }
        if self.held_back > 0 {
            output::line(&format!(
                "{} held back, because every worker finds the gateway away",
                self.held_back
            ))?;
        }
        let Self { payments, charges, in_flight, violations, .. } = self;
        let waiting_for_a_person = &self.for_a_person();
        if self.orphans > 0 {
            output::line(&format!("{} charges stand of payments that are forgotten here", self.orphans))?;
        }
        output::line(&format!(
            "{payments} payments, {in_flight} of them under way; {charges} charges stand"
        ))?;
        output::line(&match (violations, waiting_for_a_person) {
            (0, 0) => "nothing charged twice, lost or forgotten".to_owned(),
            (0, waiting) => {
                format!("no violations; {waiting} wait for a person: see the operators' page")
            }
            (found, waiting) => {
                format!(
                    "{found} violations; {waiting} wait for a person. Change nothing by hand: docs/RUNBOOK.md"
                )
            }
        })
    }
}
