//! Refunds: taken up, claimed and settled.
//!
//! Invariants: the payment itself never changes. The gateway is asked only under a committed, current claim.
//! What is reserved and what was given back never exceed what was captured: the totals are locked by each
//! statement that changes them, and a constraint refuses more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::decide::{Situation, Spends};
use domain::idempotency::{Key, RENDERER};
use domain::ids::{ClaimToken, GatewayName, MerchantId, OperationId, PaymentId};
use domain::money::{Currency, Money};
use domain::operation::{ExpectedEffect, OperationEvent, OperationStep, fingerprint_of_refund};
use domain::posting::{Columns, refund_columns};
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, Lend as _, durable, millis};
use crate::platform::metrics;

/// A refund that is asked for, checked as far as no balance has to be known.
#[derive(Debug, Clone)]
pub struct NewRefund {
    /// The id that it will have, if its key is free.
    pub id: OperationId,
    /// Whose payment it is.
    pub merchant: MerchantId,
    /// What is given back.
    pub payment: PaymentId,
    /// The client's key.
    pub key: Key,
    /// How much. None for all that is left.
    pub amount: Option<Decimal>,
    /// The merchant's free text.
    pub reason: Option<String>,
    /// The merchant's own names and values.
    pub metadata: Value,
    /// The id that follows it through worker, gateway and logs.
    pub correlation_id: String,
}

impl NewRefund {
    /// The SHA-256 of the normalised request.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint_of_refund(self.amount, self.reason.as_deref(), &self.metadata)
    }
}

/// What a request for a refund came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunding {
    /// The key stands for this refund.
    Taken {
        /// The refund's id.
        id: OperationId,
        /// Whether an earlier request had taken the key.
        is_replay: bool,
        /// When the key was recorded.
        at: DateTime<Utc>,
    },
    /// The key stands for this refusal, in a word of `RefundRefusal` and its facts.
    Refused {
        /// The word.
        code: String,
        /// The facts.
        detail: Value,
        /// Whether an earlier request had taken the key.
        is_replay: bool,
        /// When the key was recorded.
        at: DateTime<Utc>,
    },
    /// The key came with another request before.
    KeyReused,
    /// The merchant has no such payment.
    NoSuchPayment,
}

struct Taken {
    verdict: Option<String>,
    code: Option<String>,
    detail: Option<Value>,
    fingerprint: Option<Vec<u8>>,
    renderer: Option<i16>,
    object_id: Option<Uuid>,
    recorded_at: Option<DateTime<Utc>>,
}

/// Takes up a refund, refuses it, or finds what its key stands for. One statement, which may be repeated.
///
/// # Errors
/// The database's error; then nothing was recorded. If the connection broke, it may be: ask again under the
/// same key.
pub async fn refund(pool: &PgPool, new: &NewRefund) -> sqlx::Result<Refunding> {
    let fingerprint = new.fingerprint();
    let statement = sqlx::query_as!(
        Taken,
        "select verdict, code, detail, fingerprint, renderer, object_id, recorded_at
           from refund_payment($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        new.merchant.uuid(),
        new.payment.uuid(),
        new.key.as_str(),
        &fingerprint,
        RENDERER,
        new.id.uuid(),
        new.amount,
        new.reason,
        new.metadata,
        new.correlation_id
    );
    let taken = durable("refund_accept", statement.fetch_one(pool).in_time()).await?;
    refunding(taken, new, fingerprint)
}

fn refunding(taken: Taken, new: &NewRefund, fingerprint: [u8; 32]) -> sqlx::Result<Refunding> {
    let odd = || sqlx::Error::Protocol("refund_payment gave an answer that is none".to_owned());
    match taken.verdict.as_deref() {
        Some("no_payment") => return Ok(Refunding::NoSuchPayment),
        Some("reused") => return Ok(Refunding::KeyReused),
        Some("done" | "refused" | "remembered") => {}
        Some(_) | None => return Err(odd()),
    }
    if taken.fingerprint.as_deref() != Some(&fingerprint) {
        return Ok(Refunding::KeyReused);
    }
    if taken.renderer != Some(RENDERER) {
        return Err(sqlx::Error::Protocol("this program is older than the key".to_owned()));
    }
    let (Some(object), Some(at)) = (taken.object_id, taken.recorded_at) else { return Err(odd()) };
    // This very request recorded it, also if a connection broke after the commit and it asks again.
    let is_replay = taken.verdict.as_deref() == Some("remembered") && object != new.id.uuid();
    Ok(match taken.code {
        Some(code) => Refunding::Refused { code, detail: taken.detail.unwrap_or_default(), is_replay, at },
        None => {
            if !is_replay {
                metrics::refund_event(OperationEvent::Created);
            }
            Refunding::Taken { id: object.into(), is_replay, at }
        }
    })
}

/// The right to ask the gateway once about a refund.
#[derive(Debug, Clone)]
pub struct ClaimedRefund {
    /// The token that fences the result.
    pub token: ClaimToken,
    /// The payment that is given back.
    pub payment_id: PaymentId,
    /// What the refund must look like. None if this version cannot read its amount or currency.
    pub expected: Option<ExpectedEffect>,
    /// Its id.
    pub id: OperationId,
    /// Whether it may be sent. If not, it may only be looked up.
    pub may_send: bool,
    /// How many leases ran out in a row before this claim.
    pub takeovers: u32,
    /// The facts that decide the next step.
    pub situation: Situation,
    /// The correlation id that is passed on to the gateway and the logs.
    pub correlation_id: String,
}

/// Whether a refund is due that this gateway can be asked about. Costs next to nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn refund_is_due(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "select exists (select from operations
                         where gateway = $1 and due_at <= clock_timestamp() and kind = 'refund') as \"is_due!\"",
        gateway.as_str()
    )
    .fetch_one(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Claims one refund that is due, for `lease`, to be sent within `send_window`; none if none is due.
///
/// # Errors
/// The database's error. If the claim was committed all the same, its lease runs out, and the refund is
/// looked up then.
pub async fn claim_refund(
    pool: &PgPool,
    gateway: &GatewayName,
    (lease, send_window): (Duration, Duration),
    worker: &str,
) -> sqlx::Result<Option<ClaimedRefund>> {
    let token = ClaimToken::generate();
    let statement = sqlx::query_file_as!(
        Row,
        "queries/operation_claim.sql",
        token.uuid(),
        millis(lease),
        gateway.as_str(),
        millis(send_window),
        worker
    );
    let row = durable("refund_claim", statement.fetch_optional(pool).in_time()).await?;
    Ok(row.map(|row| row.claimed(token)))
}

struct Row {
    id: Uuid,
    payment_id: Uuid,
    amount: Decimal,
    currency: String,
    gateway_key: String,
    charge_id: String,
    correlation_id: String,
    sends: bool,
    in_doubt: bool,
    takeover_count: i32,
    retries_spent: i32,
    delay_count: i32,
    verify_count: i32,
    not_found_count: i32,
    age_ms: i64,
    doubt_age_ms: i64,
    first_sent_age_ms: i64,
    send_by_age_ms: i64,
}

impl Row {
    fn claimed(self, token: ClaimToken) -> ClaimedRefund {
        let ms = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let money = self.currency.parse::<Currency>().ok();
        let money = money.and_then(|currency| Money::new(self.amount, currency).ok());
        let id = OperationId::from(self.id);
        metrics::refund_event(match (self.sends, self.takeover_count) {
            (true, _) => OperationEvent::AttemptStarted,
            (false, 0) => OperationEvent::Verifying,
            (false, _) => OperationEvent::TakenOver,
        });
        ClaimedRefund {
            token,
            payment_id: self.payment_id.into(),
            expected: money.map(|money| ExpectedEffect {
                key: self.gateway_key,
                id,
                charge_id: self.charge_id,
                money,
            }),
            id,
            may_send: self.sends,
            takeovers: self.takeover_count.unsigned_abs(),
            situation: Situation {
                in_doubt: self.in_doubt,
                retries_spent: self.retries_spent.unsigned_abs(),
                delay_count: self.delay_count.unsigned_abs(),
                verify_count: self.verify_count.unsigned_abs(),
                not_found_count: self.not_found_count.unsigned_abs(),
                age: ms(self.age_ms),
                doubt_age: ms(self.doubt_age_ms),
                first_sent_age: ms(self.first_sent_age_ms),
                send_by_age: ms(self.send_by_age_ms),
                ..Situation::default()
            },
            correlation_id: self.correlation_id,
        }
    }
}

/// What a claim came to, to be written.
#[derive(Debug, Clone)]
pub struct RefundSettlement {
    /// The refund.
    pub id: OperationId,
    /// The claim's token.
    pub token: ClaimToken,
    /// What happens now.
    pub step: OperationStep,
    /// What the gateway said.
    pub evidence: Value,
}

/// What a settlement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledRefund {
    /// It is written.
    Moved,
    /// It had been written before.
    Repeated,
    /// The claim was gone: nothing changed, and the evidence is kept.
    Late,
}

/// Writes what a claim came to, and so ends the claim. One statement, which may be repeated.
///
/// # Errors
/// The database's error; then nothing was written.
pub async fn settle_refund(pool: &PgPool, settlement: &RefundSettlement) -> sqlx::Result<SettledRefund> {
    let RefundSettlement { id, token, step, evidence } = settlement;
    let written = Written::of(step);
    let Columns { event_types, debit_kinds, credit_kinds, codes } = refund_columns();
    let statement = sqlx::query_file!(
        "queries/operation_settle.sql",
        id.uuid(),
        token.uuid(),
        step.event().as_str(),
        step.status().as_str(),
        written.reason,
        evidence,
        written.wait_ms,
        matches!(step, OperationStep::Retry { .. }),
        written.spends,
        matches!(step, OperationStep::Doubt { counts_not_found: true, .. }),
        written.transaction_id,
        written.failure.map(|(code, _)| code),
        written.failure.map(|(_, message)| message),
        written.held_reason,
        &event_types,
        &debit_kinds,
        &credit_kinds,
        &codes
    )
    .fetch_one(pool)
    .in_time();
    let settled = durable("refund_settle", statement).await?;
    if settled.moved {
        metrics::refund_event(step.event());
        return Ok(SettledRefund::Moved);
    }
    if settled.is_late {
        metrics::came_late();
        return Ok(SettledRefund::Late);
    }
    Ok(SettledRefund::Repeated)
}

/// A step, as the statement writes it.
#[derive(Default)]
struct Written<'a> {
    reason: Option<&'static str>,
    wait_ms: Option<i64>,
    spends: bool,
    transaction_id: Option<&'a str>,
    failure: Option<(&'a str, &'a str)>,
    held_reason: Option<&'static str>,
}

impl<'a> Written<'a> {
    fn of(step: &'a OperationStep) -> Self {
        match step {
            OperationStep::Succeed(effect) => Self { transaction_id: Some(&effect.id), ..Self::default() },
            OperationStep::Fail(refusal) => {
                Self { failure: Some((&refusal.code, &refusal.message)), ..Self::default() }
            }
            OperationStep::Retry { wait, reason, spends } => Self {
                reason: Some(reason.as_str()),
                wait_ms: Some(millis(*wait)),
                spends: *spends == Spends::Try,
                ..Self::default()
            },
            OperationStep::Doubt { wait, reason, .. } => {
                Self { reason: Some(reason.as_str()), wait_ms: Some(millis(*wait)), ..Self::default() }
            }
            OperationStep::Hold(reason) => {
                Self { reason: Some(reason.as_str()), held_reason: Some(reason.as_str()), ..Self::default() }
            }
        }
    }
}
