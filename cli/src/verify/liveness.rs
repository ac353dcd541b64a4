//! Liveness: no payment is forgotten. Each that is not over has a time at which somebody looks, and somebody did; each
//! that is held has a break open, by which a person was asked.

use anyhow::Result;
use shared::ids::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use super::ours::{PaymentRow, Standing, live_jobs};
use super::report::Check;

/// What counts as forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// For how long a payment may be due.
    pub(super) grace_s: u32,
    /// How far away the time may be at which somebody looks at a payment.
    pub(super) longest_wait_s: u32,
    /// Whether nothing may be under way at all.
    pub(super) at_rest: bool,
}

impl Rule {
    /// Whether a worker may still be having a charge voided, for which it was asked so long ago.
    pub(super) fn allows_to_be_voiding(self, voiding_s: Option<f64>) -> bool {
        !self.at_rest && voiding_s.is_some_and(|voiding_s| voiding_s <= f64::from(self.grace_s))
    }
}

/// The payments to look at again, and in which version they were.
#[derive(Debug)]
pub(super) struct Liveness {
    rule: Rule,
    suspects: Vec<(Uuid, i32)>,
    pub(super) check: Check,
}

fn is_over(status: &str) -> bool {
    !matches!(status, "pending" | "processing")
}

impl Liveness {
    pub(super) const fn new(rule: Rule) -> Self {
        Self { rule, suspects: Vec::new(), check: Check::new("liveness") }
    }

    /// Looks at a payment for the first time.
    pub(super) fn see(&mut self, payment: &PaymentRow) {
        self.check.checked += 1;
        if is_over(&payment.status) {
            return;
        }
        if payment.held_reason.is_some() {
            if !payment.has_open_break {
                self.check
                    .blame(PaymentId::from(payment.id), "is held, but no open break asks a person about it");
            }
        } else if self.rule.at_rest || self.is_overdue(payment.overdue_s) || self.is_far(payment.overdue_s) {
            self.suspects.push((payment.id, payment.version));
        }
    }

    fn is_overdue(&self, overdue_s: Option<f64>) -> bool {
        overdue_s.is_none_or(|overdue_s| overdue_s > f64::from(self.rule.grace_s))
    }

    /// Whether nobody looks before long after any wait is over.
    fn is_far(&self, overdue_s: Option<f64>) -> bool {
        overdue_s.is_some_and(|overdue_s| -overdue_s > f64::from(self.rule.longest_wait_s))
    }

    /// Whom to look at again.
    pub(super) fn suspects(&self) -> impl Iterator<Item = Uuid> {
        self.suspects.iter().map(|(id, _)| *id)
    }

    /// Looks for the second time: what moved meanwhile was not forgotten.
    pub(super) fn see_again(&mut self, now: &Standing) {
        let Ok(at) = self.suspects.binary_search_by(|(id, _)| id.cmp(&now.id)) else { return };
        let has_moved = self.suspects.get(at).is_none_or(|(_, version)| *version != now.version);
        if is_over(&now.status) || now.is_held {
            return;
        }
        let id = PaymentId::from(now.id);
        if !has_moved && self.is_overdue(now.overdue_s) {
            let since = now.overdue_s.map_or("has no time at which anybody looks".to_owned(), |overdue_s| {
                format!("has been due for {overdue_s:.0} s, and nobody took it")
            });
            self.check.blame(
                id,
                format!("is {}, {since}: does a worker run, and does the gateway answer?", now.status),
            );
        } else if !has_moved && self.is_far(now.overdue_s) {
            let due_in_s = -now.overdue_s.unwrap_or_default();
            self.check.blame(
                id,
                format!(
                    "is {}, and due only in {due_in_s:.0} s, later than after any wait: was the database's clock wrong? \
                     A worker's next reconciliation mends it",
                    now.status
                ),
            );
        } else if self.rule.at_rest {
            self.check.blame(id, format!("is {}, and has not ended", now.status));
        }
    }

    /// Whether jobs are left, where none may be.
    pub(super) async fn check_jobs(&mut self, pool: &PgPool) -> Result<()> {
        if !self.rule.at_rest {
            return Ok(());
        }
        for (id, status) in live_jobs(pool).await? {
            self.check.blame(format!("job {id}"), format!("is {status}, where all should be done"));
        }
        Ok(())
    }
}
