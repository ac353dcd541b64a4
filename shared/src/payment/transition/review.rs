//! The end of a review: approved, denied, or expired. Whoever comes first decides.
//!
//! Invariant: review, payment, event, job and what an account reserved end in one statement. So a payment is
//! never charged that nobody approved.

use domain::ids::PaymentId;
use domain::review::Verdict;
use domain::status::EventType;
use sqlx::PgPool;

use crate::database::{InTime as _, durable, millis};
use crate::platform::metrics;
use crate::queue;

/// The end that somebody wants for a review.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The payment in review.
    pub payment: PaymentId,
    /// What is wanted.
    pub verdict: Verdict,
    /// The person who decides, by name, or `payonce` where the time is over.
    pub by: String,
    /// The credential by which that person came.
    pub credential: Option<String>,
    /// Why, for whoever reads it later.
    pub note: Option<String>,
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reviewed {
    /// It is decided so, now.
    Done,
    /// It was decided so before.
    Before,
    /// It was decided otherwise before, or its time was over.
    Otherwise,
    /// There is no such review here.
    NoSuch,
    /// Its time is not over yet.
    Early,
    /// The past came back: it may have been approved and charged before that. Approving it has the gateway
    /// asked first.
    Forgotten,
}

/// How long a worker may look before another one takes over, for the few payments whose past came back.
const LEASE: std::time::Duration = std::time::Duration::from_secs(30);

/// Decides a review, once.
///
/// # Errors
/// The database's error; then nothing was decided. If the connection broke, it may be: ask again.
pub async fn decide(pool: &PgPool, decision: &Decision) -> sqlx::Result<Reviewed> {
    let jobs = queue::jobs_for(std::iter::once(decision.payment));
    let statement = sqlx::query_scalar!(
        r#"select decide_review($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) as "verdict!""#,
        decision.payment.uuid(),
        decision.verdict.as_str(),
        decision.by,
        decision.credential,
        decision.note,
        jobs.ids.first().map_or("", String::as_str),
        jobs.bodies.first().map_or(&[][..], Vec::as_slice),
        queue::PAYMENTS,
        millis(LEASE),
        i32::try_from(domain::account::HOLD_MAX.num_seconds()).unwrap_or(i32::MAX)
    );
    let verdict = durable("review", statement.fetch_one(pool).in_time()).await?;
    let reviewed = match verdict.as_str() {
        "pending" | "processing" => done(EventType::Approved),
        "succeeded" => done(EventType::Succeeded),
        "failed" => done(EventType::Failed),
        "before" => Reviewed::Before,
        "otherwise" => Reviewed::Otherwise,
        "none" => Reviewed::NoSuch,
        "early" => Reviewed::Early,
        "forgotten" => Reviewed::Forgotten,
        other => return Err(sqlx::Error::Protocol(format!("decide_review gave {other}"))),
    };
    Ok(reviewed)
}

fn done(event: EventType) -> Reviewed {
    metrics::event_written(event.as_str());
    Reviewed::Done
}
