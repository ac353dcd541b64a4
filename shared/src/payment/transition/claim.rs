//! T7 and T8: the right to talk to the gateway about a payment goes to one worker at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::batch::Work;
use crate::db::{InTime as _, Lend, Seat, millis};
use crate::ids::{ClaimToken, PaymentId};
use crate::money::{Currency, Money};
use crate::payment::status::EventType;
use crate::retry::Situation;
use crate::{fault, metrics, queue};

/// What a claim may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// T7: to charge.
    Charge,
    /// T8: to look up.
    Verify,
    /// T8 after T16a: to void, and nothing else.
    Void,
}

impl Purpose {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Verify => "verify",
            Self::Void => "void",
        }
    }
}

/// The right to talk to the gateway about one payment, once.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Of what.
    pub payment_id: PaymentId,
    /// Fences the outcome.
    pub token: ClaimToken,
    /// What it may be used for.
    pub purpose: Purpose,
    /// What is owed.
    pub money: Money,
    /// The token to charge.
    pub payment_method: String,
    /// Passed on to the gateway and the logs.
    pub correlation_id: String,
    /// What decides the next step.
    pub situation: Situation,
    /// Whether somebody else held it and let its lease run out.
    pub is_takeover: bool,
    /// How many leases ran out in a row before it.
    pub takeovers: u32,
    /// Whether the payment is what its workers were lost by. It is held then, and nothing is asked.
    pub is_blamed: bool,
    /// How long after its due time it was claimed.
    pub delay: Duration,
    /// By the claimant's own clock, before the claim was asked for: what the send window is counted from, so that it ends
    /// before the one that the database wrote down.
    pub asked_at: Instant,
}

impl Claim {
    /// The event that was written with it.
    #[must_use]
    pub const fn event(&self) -> EventType {
        match (self.purpose, self.is_takeover) {
            (Purpose::Charge, _) => EventType::AttemptStarted,
            (Purpose::Verify | Purpose::Void, true) => EventType::TakenOver,
            (Purpose::Verify | Purpose::Void, false) => EventType::Verifying,
        }
    }
}

/// How long a claim lasts, and for how long after it a charge may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// After this anybody may take the payment over.
    pub lease: Duration,
    /// After this the claimant itself does not send the charge any more.
    pub send_window: Duration,
}

/// T7 and T8: claims those of `ids` that are due and that nobody holds. What is missing from the answer was not ours
/// to take: ended, held, not due, or somebody else's; whatever must still happen to it has a `due_at` of its own.
///
/// # Errors
/// The database's. Where a claim was committed and cannot even be read back, its lease runs out and the payment is
/// looked up.
pub async fn claim(
    on: &impl Lend,
    ids: &[PaymentId],
    worker: &str,
    lease: Lease,
) -> sqlx::Result<Vec<Claim>> {
    claim_in(Company::Others, on, ids, worker, lease).await
}

/// The same for one payment, by a worker that has nothing else in hand: also one whose claim was lost twice in a row.
///
/// # Errors
/// See [`claim`].
pub async fn claim_alone(
    pool: &PgPool,
    id: PaymentId,
    worker: &str,
    lease: Lease,
) -> sqlx::Result<Option<Claim>> {
    Ok(claim_in(Company::Nobody, pool, &[id], worker, lease).await?.pop())
}

/// Who else is in the hands of the worker that claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Others,
    Nobody,
}

async fn claim_in(
    company: Company,
    on: &impl Lend,
    ids: &[PaymentId],
    worker: &str,
    lease: Lease,
) -> sqlx::Result<Vec<Claim>> {
    let asked_at = Instant::now();
    let token = ClaimToken::generate();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let statement = claim_rows(on, &ids, token, (worker, company), lease);
    let rows = match fault::durable("claim", statement).await {
        // The connection broke: it may have been committed all the same.
        Err(sqlx::Error::Io(_)) => rows_claimed_by(on.pool(), &ids, token).await,
        other => other,
    };
    let rows = rows.inspect_err(|_| metrics::claim_failed(ids.len()))?;
    let claims =
        rows.into_iter().map(|row| row.into_claim(token, asked_at)).collect::<sqlx::Result<Vec<_>>>()?;
    metrics::claimed(&claims, ids.len());
    Ok(claims)
}

/// What became of asking for a claim.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Claim(Box<Claim>),
    /// It was not ours to take.
    Nothing,
    /// There is no such payment.
    NoSuchPayment,
}

/// T7 and T8 for many payments at once.
pub struct Claiming {
    /// Where they are claimed.
    pub seat: Seat,
    /// Named in the events of its claims.
    pub worker: Arc<str>,
    /// How long they last.
    pub lease: Lease,
}

impl Work for Claiming {
    type Item = PaymentId;
    type Answer = Taken;
    type Error = sqlx::Error;

    async fn work(&self, ids: &[PaymentId]) -> sqlx::Result<Vec<Taken>> {
        let claims = claim(&self.seat, ids, &self.worker, self.lease).await?;
        let mut by_id: HashMap<_, _> = claims.into_iter().map(|claim| (claim.payment_id, claim)).collect();
        let unclaimed: Vec<Uuid> =
            ids.iter().filter(|id| !by_id.contains_key(id)).map(|id| id.uuid()).collect();
        let unknown = match unclaimed.is_empty() {
            true => Vec::new(),
            false => unknown(self.seat.pool(), &unclaimed).await?,
        };
        // Who asked twice gets it once.
        Ok(ids
            .iter()
            .map(|id| match by_id.remove(id) {
                Some(claim) => Taken::Claim(Box::new(claim)),
                None if unknown.contains(&id.uuid()) => Taken::NoSuchPayment,
                None => Taken::Nothing,
            })
            .collect())
    }
}

async fn claim_rows(
    on: &impl Lend,
    ids: &[Uuid],
    token: ClaimToken,
    (worker, company): (&str, Company),
    lease: Lease,
) -> sqlx::Result<Vec<ClaimedRow>> {
    #[cfg(debug_assertions)]
    if let Some(sql) = super::sabotage::claim() {
        return super::sabotage::claim_without_guard(on.pool(), sql, (ids, token, worker, lease)).await;
    }
    let mut connection = on.lend().await?;
    let claimed = sqlx::query_file_as!(
        ClaimedRow,
        "queries/payment_claim.sql",
        ids,
        token.uuid(),
        millis(lease.lease),
        millis(lease.send_window),
        worker,
        company == Company::Nobody,
        queue::PAYMENTS
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    connection.back(claimed)
}

/// Those of `ids` that are no payment's.
async fn unknown(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select n.id as \"id!\" from unnest($1::uuid[]) as n (id) where not exists (select from payments p where p.id = n.id)",
        ids
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// What a claim took whose answer was lost.
async fn rows_claimed_by(pool: &PgPool, ids: &[Uuid], token: ClaimToken) -> sqlx::Result<Vec<ClaimedRow>> {
    sqlx::query_file_as!(ClaimedRow, "queries/payment_claimed.sql", ids, token.uuid())
        .fetch_all(pool)
        .in_time()
        .await
}

/// The database's clock may be set back by so much in the ordinary course of things.
const AHEAD_MAX_MS: i64 = 60_000;

#[derive(sqlx::FromRow)]
pub(super) struct ClaimedRow {
    id: Uuid,
    amount: Decimal,
    currency: String,
    payment_method: String,
    correlation_id: String,
    may_charge: bool,
    lease_expired: bool,
    voiding: bool,
    takeovers: i32,
    is_blamed: bool,
    in_doubt: bool,
    retries_spent: i32,
    verify_count: i32,
    not_found_count: i32,
    delay_ms: i64,
    age_ms: i64,
    doubt_age_ms: i64,
    first_sent_age_ms: i64,
    send_by_age_ms: i64,
    void_age_ms: i64,
}

/// A charge that is said to have left in the future left at a time that is not known: no key is trusted for that.
fn first_sent_age(ms: i64) -> Duration {
    if ms < -AHEAD_MAX_MS { Duration::MAX } else { Duration::from_millis(u64::try_from(ms).unwrap_or(0)) }
}

impl ClaimedRow {
    fn into_claim(self, token: ClaimToken, asked_at: Instant) -> sqlx::Result<Claim> {
        let age = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let currency: Currency = self.currency.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        Ok(Claim {
            payment_id: self.id.into(),
            token,
            purpose: match (self.may_charge, self.voiding) {
                (true, _) => Purpose::Charge,
                (false, false) => Purpose::Verify,
                (false, true) => Purpose::Void,
            },
            money: Money::new(self.amount, currency).map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
            payment_method: self.payment_method,
            correlation_id: self.correlation_id,
            situation: Situation {
                in_doubt: self.in_doubt,
                retries_spent: self.retries_spent.unsigned_abs(),
                verify_count: self.verify_count.unsigned_abs(),
                not_found_count: self.not_found_count.unsigned_abs(),
                age: age(self.age_ms),
                doubt_age: age(self.doubt_age_ms),
                first_sent_age: first_sent_age(self.first_sent_age_ms),
                send_by_age: age(self.send_by_age_ms),
                void_age: age(self.void_age_ms),
            },
            takeovers: self.takeovers.unsigned_abs(),
            is_blamed: self.is_blamed,
            is_takeover: self.lease_expired,
            delay: age(self.delay_ms),
            asked_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_trusted_for_a_charge_that_is_said_to_leave_in_hours() {
        assert_eq!(first_sent_age(1_500), Duration::from_millis(1_500));
        assert_eq!(first_sent_age(-AHEAD_MAX_MS), Duration::ZERO);
        assert_eq!(first_sent_age(-8 * 3_600_000), Duration::MAX);
    }
}
