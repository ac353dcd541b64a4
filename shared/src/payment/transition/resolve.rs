//! What a person does without a look at the gateway: gives a held payment back to the workers, or closes a
//! break. Each says who decided, and why. All else that a person decides about a held payment is in `decide`.
//!
//! Invariant: a release is about one version of the payment. If two people decide at once, one wins, and the
//! other decides nothing.

use domain::decide::Reason;
use domain::ids::PaymentId;
use domain::status::EventType;
use serde_json::json;
use sqlx::PgPool;

use crate::database::{InTime as _, durable};
use crate::platform::{metrics, text};
use crate::queue;

const REASON_LENGTH_MAX: usize = 1000;

/// The person who decided, and the reason; both are always given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Justification {
    by: String,
    reason: String,
}

impl Justification {
    /// A name and a reason, without blanks around them.
    ///
    /// # Errors
    /// One of them is missing, too long, or has characters that hide (see [`text`]).
    pub fn new(by: &str, reason: &str) -> Result<Self, Unusable> {
        let Ok(by) = text::name(by.trim()) else {
            let why =
                "must name a person, in at most 255 characters, none of them a control or zero-width one";
            return Err(Unusable { field: "by", why });
        };
        let Some(reason) = text::lines(reason, REASON_LENGTH_MAX) else {
            let why = "must say why, in at most 1000 characters, none of them a control or zero-width one";
            return Err(Unusable { field: "reason", why });
        };
        Ok(Self { by, reason })
    }

    /// The name of the person.
    pub(crate) fn by(&self) -> &str {
        &self.by
    }

    /// The reason that the person gave.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it has just this name and this reason.
    #[must_use]
    pub fn is(&self, by: Option<&str>, reason: Option<&str>) -> bool {
        (Some(self.by.as_str()), Some(self.reason.as_str())) == (by, reason)
    }
}

/// A field that cannot be recorded as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct Unusable {
    /// The name of the field.
    pub field: &'static str,
    /// What the field must be.
    pub why: &'static str,
}

/// Gives a held payment back to the workers. That writes `released`, and closes the payment's breaks and dead
/// letter. The workers look again, or void if a void has started, and hold it once more if nothing changed.
/// Answers the new version. None if the payment is not held in that version any more, or while a decision
/// about it is being checked.
///
/// # Errors
/// The database's error; then nothing was written. If the connection broke, all of it may be: the payment's
/// history tells.
pub async fn release(
    pool: &PgPool,
    payment_id: PaymentId,
    version: i32,
    justification: &Justification,
) -> sqlx::Result<Option<i32>> {
    let jobs = queue::jobs_for(std::iter::once(payment_id));
    let statement = sqlx::query_file_scalar!(
        "queries/payment_resolve.sql",
        payment_id.uuid(),
        version,
        Reason::ByHand.as_str(),
        json!({ "by": justification.by, "reason": justification.reason }),
        &jobs.ids,
        &jobs.bodies,
        queue::PAYMENTS,
        justification.by,
        justification.reason
    )
    .fetch_optional(pool)
    .in_time();
    let moved = durable("resolve", statement).await?;
    if moved.is_some() {
        metrics::event_written(EventType::Released.as_str());
    }
    Ok(moved)
}

/// Closes a break whose payment is not held; those of a held payment end with a decision about it. Answers
/// false if it was closed already, or belongs to a held payment.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn close_break(pool: &PgPool, id: i64, justification: &Justification) -> sqlx::Result<bool> {
    // The payment is locked, so that it cannot become held over a break that closes under it.
    let statement = sqlx::query!(
        "with free as materialized (
             select p.id from payments p join breaks b on b.payment_id = p.id
              where b.id = $1 and p.held_reason is null
                for no key update of p)
         update breaks b
            set closed_at = clock_timestamp(), closed_by = $2, closed_reason = $3
          where b.id = $1 and b.closed_at is null
            and (b.payment_id is null or b.payment_id in (select id from free))",
        id,
        justification.by,
        justification.reason
    )
    .execute(pool)
    .in_time();
    let closed = durable("close_break", statement).await?;
    Ok(closed.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_decided_without_a_name_and_a_reason() {
        for by in ["", "  ", "a\u{0}", "a\u{200b}", "\u{202e}a", &"x".repeat(256)] {
            assert_eq!(Justification::new(by, "because").unwrap_err().field, "by");
        }
        for reason in ["", " \n ", "a\u{0}", "\u{1b}[2J", "\u{202e}a", &"x".repeat(1001)] {
            assert_eq!(Justification::new("ada", reason).unwrap_err().field, "reason");
        }
        assert_eq!(Justification::new(" ada ", " two\r\nlines ").unwrap().reason, "two\nlines");
    }
}
