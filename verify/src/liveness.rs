//! Liveness: no payment is forgotten. Each that is not over has a time at which a worker looks, and a worker
//! did look. None is only taken over again and again. Each that is held has an open break, by which a person
//! was asked.

use anyhow::Result;
use domain::ids::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use super::ours::{EventRow, PaymentRow, Standing, advice};
use super::outage::gateways_away;
use super::report::Check;

/// The takeover in a row at which workers hold a payment, whatever else happens.
const TAKEOVERS_MAX: usize = 6;

/// The rule that says what counts as forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// How long a payment may be due, in seconds.
    pub(super) grace_s: u32,
    /// How far away the time may be at which a worker looks at a payment, in seconds.
    pub(super) longest_wait_s: u32,
    /// Whether nothing may be under way at all.
    pub(super) at_rest: bool,
}

impl Rule {
    /// Whether a worker may still be having a charge voided, `voiding_s` seconds after it was asked to.
    pub(super) fn allows_to_be_voiding(self, voiding_s: Option<f64>) -> bool {
        !self.at_rest && voiding_s.is_some_and(|voiding_s| voiding_s <= f64::from(self.grace_s))
    }
}

/// The payments to look at again.
#[derive(Debug)]
pub(super) struct Liveness {
    rule: Rule,
    suspects: Vec<Suspect>,
    /// The gateways that every worker that lives has found away.
    away: Vec<String>,
    /// Payments that have been due for too long, but wait for nothing except their gateway.
    pub(super) held_back: u64,
    pub(super) check: Check,
}

/// A payment to look at again, and how it was.
#[derive(Debug)]
struct Suspect {
    id: Uuid,
    version: i32,
    takeovers: usize,
}

/// How often it was taken over since it was last settled, or first claimed.
fn takeovers_in_a_row(events: &[EventRow]) -> usize {
    events.iter().rev().take_while(|event| event.event == "taken_over").count()
}

/// Whether no worker will end this. A worker that took it over for the sixth time a moment ago is about to
/// hold it.
fn is_taken_over_without_end(takeovers: usize, overdue_s: Option<f64>) -> bool {
    let lease_is_over = overdue_s.is_none_or(|overdue_s| overdue_s > 0.0);
    takeovers > TAKEOVERS_MAX || takeovers == TAKEOVERS_MAX && lease_is_over
}

fn is_over(status: &str) -> bool {
    !matches!(status, "pending" | "processing")
}

impl Liveness {
    pub(super) const fn new(rule: Rule) -> Self {
        Self { rule, suspects: Vec::new(), away: Vec::new(), held_back: 0, check: Check::new("liveness") }
    }

    /// Looks at a payment for the first time.
    pub(super) fn see(&mut self, payment: &PaymentRow, events: &[EventRow]) {
        self.check.checked += 1;
        if is_over(&payment.status) {
            return;
        }
        if payment.held_reason.is_some() {
            if !payment.has_open_break {
                self.check
                    .blame(PaymentId::from(payment.id), "is held, but no open break asks a person about it");
            }
            return;
        }
        let takeovers = takeovers_in_a_row(events);
        let is_out_of_time = self.is_overdue(payment.overdue_s) || self.is_far(payment.overdue_s);
        if self.rule.at_rest || takeovers >= TAKEOVERS_MAX || is_out_of_time {
            self.suspects.push(Suspect { id: payment.id, version: payment.version, takeovers });
        }
    }

    fn is_overdue(&self, overdue_s: Option<f64>) -> bool {
        overdue_s.is_none_or(|overdue_s| overdue_s > f64::from(self.rule.grace_s))
    }

    /// Whether its next look comes only long after the longest wait would be over.
    fn is_far(&self, overdue_s: Option<f64>) -> bool {
        overdue_s.is_some_and(|overdue_s| -overdue_s > f64::from(self.rule.longest_wait_s))
    }

    /// The payments to look at again.
    pub(super) fn suspects(&self) -> impl Iterator<Item = Uuid> {
        self.suspects.iter().map(|suspect| suspect.id)
    }

    /// Looks for the second time. A payment that moved meanwhile was not forgotten.
    pub(super) fn see_again(&mut self, now: &Standing) {
        let Ok(at) = self.suspects.binary_search_by(|suspect| suspect.id.cmp(&now.id)) else { return };
        let Some(suspect) = self.suspects.get(at) else { return };
        let (has_moved, takeovers) = (suspect.version != now.version, suspect.takeovers);
        if is_over(&now.status) || now.is_held {
            return;
        }
        let id = PaymentId::from(now.id);
        if !has_moved && is_taken_over_without_end(takeovers, now.overdue_s) {
            self.check.blame(
                id,
                format!(
                    "is {}, was taken over {takeovers} times in a row and neither settled nor held: \
                     each worker that has it is lost",
                    now.status
                ),
            );
            return;
        }
        if !has_moved
            && self.is_overdue(now.overdue_s)
            && self.away.contains(&now.gateway)
            && !self.rule.at_rest
        {
            self.held_back += 1;
            return;
        }
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

    /// Reads in what workers wrote down whether the gateway is away.
    pub(super) async fn ask_workers(&mut self, pool: &PgPool) -> Result<()> {
        self.away = gateways_away(pool).await?;
        Ok(())
    }

    /// Blames jobs that are left, where none may be.
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

/// The jobs about payments that are not done: id and status.
async fn live_jobs(pool: &PgPool) -> Result<Vec<(String, String)>> {
    let jobs = sqlx::query!(
        r#"select id as "id!", status as "status!" from apalis.jobs where job_type = 'payments' and status = 'Pending'
            union all
           select id, status from apalis.jobs where job_type = 'payments' and status in ('Queued', 'Running')"#
    );
    let jobs = jobs.fetch_all(pool).await.map_err(advice)?;
    Ok(jobs.into_iter().map(|job| (job.id, job.status)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_took_it_over_for_the_sixth_time_has_its_lease_to_hold_it_in() {
        for (takeovers, overdue_s, is_endless) in [
            (5, Some(100.0), false),
            (6, Some(-20.0), false),
            (6, Some(0.1), true),
            (7, Some(-20.0), true),
            (7, None, true),
        ] {
            assert_eq!(
                is_taken_over_without_end(takeovers, overdue_s),
                is_endless,
                "{takeovers} {overdue_s:?}"
            );
        }
    }
}
