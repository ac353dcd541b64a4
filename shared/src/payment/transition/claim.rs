//! Claims: the right to talk to the gateway about a payment, which one worker has at a time. A claim is one
//! of the events `attempt_started`, `taken_over` and `verifying`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::decide::{Purpose, Situation};
use domain::ids::{ClaimToken, GatewayKey, GatewayName, MerchantId, PaymentId};
use domain::money::{Currency, Money};
use domain::status::{EventType, HeldReason};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::batch::Work;
use crate::database::failure::Failure;
use crate::database::{InTime as _, Lend, Seat, Standing, durable, millis, standby};
use crate::gateway::ChargeOrder;
use crate::payment::shares::{Quota, Share, Shares};
use crate::platform::metrics;
use crate::queue;

/// The right to talk to the gateway about one payment, once.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The payment that was claimed.
    pub payment_id: PaymentId,
    /// The key under which the gateway is asked.
    pub key: GatewayKey,
    /// The token that fences the outcome: each write of it must name the token.
    pub token: ClaimToken,
    /// What the claim may be used for.
    pub purpose: Purpose,
    /// Whether it is for the look that comes before anything else, since the payment's past may be forgotten
    /// here.
    pub looks_first: bool,
    /// The merchant whose payment it is.
    pub merchant_id: MerchantId,
    /// The amount that is owed. None if this version cannot read it; then the payment is held.
    pub money: Option<Money>,
    /// The token of the payment method to charge.
    pub payment_method: String,
    /// The correlation id that is passed on to the gateway and the logs.
    pub correlation_id: String,
    /// The facts that decide the next step.
    pub situation: Situation,
    /// Whether another worker held the payment and let its lease run out.
    pub is_takeover: bool,
    /// How many leases ran out in a row before this claim.
    pub takeovers: u32,
    /// Why the payment is held at once, and nothing is asked about it. Its workers were lost by it, this
    /// version cannot read it, or its history lacks a part.
    pub held_for: Option<HeldReason>,
    /// The time of the claim, by the database's clock.
    pub at: DateTime<Utc>,
    /// The claim's part of the worker's calls, for as long as the claim lives.
    pub share: Option<Arc<Share>>,
    /// How long after its due time the payment was claimed.
    pub delay: Duration,
    /// A moment of the claimant's own clock before the claim was asked for. The send window is counted from
    /// it, so that it ends before the one that the database wrote down.
    pub asked_at: Instant,
    /// Whether the server that has this claim still takes writes, since that same moment.
    pub standing: Standing,
}

impl Claim {
    /// The order to charge this amount.
    #[must_use]
    pub fn order(&self, money: Money) -> ChargeOrder<'_> {
        ChargeOrder {
            key: &self.key,
            money,
            payment_method: &self.payment_method,
            reference: self.payment_id,
            correlation_id: &self.correlation_id,
        }
    }

    /// The event that was written with the claim.
    #[must_use]
    pub const fn event(&self) -> EventType {
        match (self.purpose, self.is_takeover) {
            (Purpose::Charge, _) => EventType::AttemptStarted,
            (Purpose::Verify | Purpose::Void, true) => EventType::TakenOver,
            (Purpose::Verify | Purpose::Void, false) => EventType::Verifying,
        }
    }
}

/// How long a claim lasts, and how long after it a charge may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The time after which any worker may take the payment over.
    pub lease: Duration,
    /// The time after which the claimant itself does not send the charge any more.
    pub send_window: Duration,
}

/// Who claims, and for whom it may ask.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// The worker's name, which the events of its claims carry.
    pub worker: Arc<str>,
    /// The gateway that it asks. What is charged at another one it never claims.
    pub gateway: GatewayName,
    /// How long its claims last.
    pub lease: Lease,
}

/// Claims those of `ids` that are due and that no worker holds. A missing one has ended, is held, is not due,
/// is charged at another gateway, or is another worker's. What must still happen to it has a `due_at` of its
/// own.
///
/// # Errors
/// The database's error. If a claim was committed and cannot even be read back, its lease runs out and the
/// payment is looked up.
pub async fn claim(on: &impl Lend, ids: &[PaymentId], claimant: &Claimant) -> sqlx::Result<Vec<Claim>> {
    claim_in((Company::Others, &Quota::default()), on, ids, claimant).await
}

/// Claims one payment for a worker that has nothing else in hand, even if its claim was lost twice in a row.
///
/// # Errors
/// See [`claim`].
pub async fn claim_alone(pool: &PgPool, id: PaymentId, claimant: &Claimant) -> sqlx::Result<Option<Claim>> {
    Ok(claim_in((Company::Nobody, &Quota::default()), pool, &[id], claimant).await?.pop())
}

/// The other payments in the hands of the worker that claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Others,
    Nobody,
}

async fn claim_in(
    (company, quota): (Company, &Quota),
    on: &impl Lend,
    ids: &[PaymentId],
    claimant: &Claimant,
) -> sqlx::Result<Vec<Claim>> {
    let (asked_at, standing) = (Instant::now(), on.standing());
    let token = ClaimToken::generate();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let statement = claim_rows(on, &ids, token, claimant, (company, quota));
    let rows = match durable("claim", statement).await {
        // The connection broke: the claim may have been committed all the same.
        Err(why) if Failure::of(&why).may_be_done() => rows_claimed_by(on.pool(), &ids, token).await,
        other => other,
    };
    let rows = rows.inspect_err(|_| metrics::claim_failed(ids.len()))?;
    let claims: Vec<Claim> =
        rows.into_iter().map(|row| row.into_claim(token, asked_at, standing.clone())).collect();
    for claim in &claims {
        metrics::claimed(claim.purpose, claim.event(), claim.delay);
        if claim.is_takeover {
            metrics::taken_over(&claimant.gateway);
        }
    }
    metrics::claimed_nothing(ids.len().saturating_sub(claims.len()));
    Ok(claims)
}

/// The result of asking for a claim.
#[derive(Debug)]
pub enum Taken {
    /// The payment is claimed.
    Claim(Box<Claim>),
    /// The payment was not ours to take.
    Nothing,
    /// There is no such payment.
    NoSuchPayment,
}

/// Claims payments for many tasks at once.
pub struct Claiming {
    /// The connection by which they are claimed.
    pub seat: Seat,
    /// Who claims them.
    pub claimant: Claimant,
    /// How the worker's calls are shared out.
    pub shares: Arc<Shares>,
}

impl Work for Claiming {
    type Item = PaymentId;
    type Answer = Taken;
    type Error = sqlx::Error;

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, ids: &[PaymentId]) -> sqlx::Result<Vec<Taken>> {
        let with = (Company::Others, &self.shares.quota());
        let claims = claim_in(with, &self.seat, ids, &self.claimant).await?;
        let shared =
            |claim: Claim| (claim.payment_id, Claim { share: Some(self.shares.take(&claim)), ..claim });
        let mut by_id: HashMap<_, _> = claims.into_iter().map(shared).collect();
        let unclaimed: Vec<Uuid> =
            ids.iter().filter(|id| !by_id.contains_key(id)).map(|id| id.uuid()).collect();
        let unknown = match unclaimed.is_empty() {
            true => Vec::new(),
            false => unknown(self.seat.pool(), &unclaimed).await?,
        };
        // A payment that was asked for twice is given once.
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
    claimant: &Claimant,
    (company, quota): (Company, &Quota),
) -> sqlx::Result<Vec<ClaimedRow>> {
    let Claimant { worker, gateway, lease } = claimant;
    #[cfg(debug_assertions)]
    if let Some(sql) = super::sabotage::claim() {
        return super::sabotage::claim_without_guard(on.pool(), sql, (ids, token, claimant)).await;
    }
    let mut connection = on.lend().await?;
    let claimed = sqlx::query_file_as!(
        ClaimedRow,
        "queries/payment_claim.sql",
        ids,
        token.uuid(),
        millis(lease.lease),
        millis(lease.send_window),
        &**worker,
        company == Company::Nobody,
        queue::PAYMENTS,
        quota.may_bind(ids.len()).then_some(quota.looks),
        quota.of_each,
        &quota.merchants,
        &quota.of_these,
        gateway.as_str()
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    connection.back(claimed)
}

/// Those of `ids` that belong to no payment.
async fn unknown(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select n.id as \"id!\" from unnest($1::uuid[]) as n (id) where not exists (select from payments p where p.id = n.id)",
        ids
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// The rows that a claim took whose answer was lost.
async fn rows_claimed_by(pool: &PgPool, ids: &[Uuid], token: ClaimToken) -> sqlx::Result<Vec<ClaimedRow>> {
    let claimed = sqlx::query_file_as!(ClaimedRow, "queries/payment_claimed.sql", ids, token.uuid())
        .fetch_all(pool)
        .in_time()
        .await;
    // A server that ended meanwhile did not wait for its standby.
    standby::barrier(pool).in_time().await?;
    claimed
}

/// How far the database's clock is set back as a rule, at most.
const AHEAD_MAX_MS: i64 = 60_000;

#[derive(sqlx::FromRow)]
pub(super) struct ClaimedRow {
    id: Uuid,
    merchant_id: Uuid,
    amount: String,
    currency: String,
    payment_method: String,
    correlation_id: String,
    gateway_key: Option<String>,
    looks_first: bool,
    from_a_return_ms: Option<i64>,
    at: DateTime<Utc>,
    may_charge: bool,
    lease_expired: bool,
    voiding: bool,
    was_sent: bool,
    is_whole: bool,
    takeovers: i32,
    is_blamed: bool,
    in_doubt: bool,
    retries_spent: i32,
    delay_count: i32,
    verify_count: i32,
    not_found_count: i32,
    delay_ms: i64,
    age_ms: i64,
    doubt_age_ms: i64,
    first_sent_age_ms: i64,
    send_by_age_ms: i64,
    void_age_ms: i64,
}

/// The age of the first charge. One that is said to have left in the future left at an unknown time: no key
/// is trusted for it.
fn first_sent_age(ms: i64) -> Duration {
    if ms < -AHEAD_MAX_MS { Duration::MAX } else { Duration::from_millis(u64::try_from(ms).unwrap_or(0)) }
}

impl ClaimedRow {
    /// Makes the claim. It never fails: a row that cannot be understood is no other row's trouble.
    fn into_claim(self, token: ClaimToken, asked_at: Instant, standing: Standing) -> Claim {
        let age = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let money = self.money();
        Claim {
            payment_id: self.id.into(),
            key: GatewayKey::of(self.gateway_key, self.id.into()),
            token,
            purpose: match (self.may_charge, self.voiding && !self.looks_first) {
                (true, _) => Purpose::Charge,
                (false, false) => Purpose::Verify,
                (false, true) => Purpose::Void,
            },
            looks_first: self.looks_first,
            merchant_id: self.merchant_id.into(),
            money,
            held_for: match (self.is_whole, self.is_blamed, money) {
                (false, ..) => Some(HeldReason::Contradiction),
                (true, true, _) => Some(HeldReason::Poison),
                (true, false, None) => Some(HeldReason::Unreadable),
                (true, false, Some(_)) => None,
            },
            payment_method: self.payment_method,
            correlation_id: self.correlation_id,
            situation: Situation {
                in_doubt: self.in_doubt,
                retries_spent: self.retries_spent.unsigned_abs(),
                delay_count: self.delay_count.unsigned_abs(),
                verify_count: self.verify_count.unsigned_abs(),
                not_found_count: self.not_found_count.unsigned_abs(),
                age: age(self.age_ms),
                doubt_age: age(self.doubt_age_ms),
                first_sent_age: first_sent_age(self.first_sent_age_ms),
                send_by_age: age(self.send_by_age_ms),
                void_age: age(self.void_age_ms),
                was_sent: self.was_sent,
                is_probe: false,
                is_voiding: self.voiding,
                from_a_return: self.from_a_return_ms.map(age),
            },
            takeovers: self.takeovers.unsigned_abs(),
            is_takeover: self.lease_expired,
            delay: age(self.delay_ms),
            at: self.at,
            share: None,
            asked_at,
            standing,
        }
    }

    fn money(&self) -> Option<Money> {
        let currency: Currency = self.currency.parse().ok()?;
        Money::new(self.amount.parse().ok()?, currency).ok()
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
