//! Corrections of the books about a payment that is over. One person proposes, another approves, and a worker
//! posts after a comparison with the gateway's journal and a look.
//!
//! Invariants: the payment itself never changes. The gateway is asked only under a committed, current claim,
//! which stands in the correction. One correction is open for a payment at a time.

use std::time::Duration;

use domain::correction::{Booked, Journal, KINDS, Proposed, judge};
use domain::held::Seen;
use domain::ids::{ClaimToken, GatewayKey, GatewayName, PaymentId};
use domain::money::{Currency, Money};
use domain::outcome::{Expected, Outcome as _, is_storable};
use domain::posting::AccountKind;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Justification, Unusable};
use crate::database::{InTime as _, Lend as _, durable, millis};

/// A person, by the credential that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name under which the person is recorded.
    pub name: String,
    /// The name of the credential.
    pub credential: String,
    /// The beginning of the hash of the credential's key.
    pub key: String,
}

/// A correction as a person proposes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    payment_id: PaymentId,
    kind: String,
    amount: Decimal,
    charge_id: Option<String>,
    reason: String,
    by: Person,
}

impl Proposal {
    /// A proposal that `amount` stands at the gateway after all, by that charge; or nothing, by none.
    ///
    /// # Errors
    /// A field cannot be recorded, or amount and charge do not go together.
    pub fn new(
        payment_id: PaymentId,
        kind: &str,
        (amount, charge_id): (Decimal, Option<String>),
        reason: &str,
        by: Person,
    ) -> Result<Self, Unusable> {
        let justification = Justification::new(&by.name, reason)?;
        if !KINDS.iter().any(|(known, _)| *known == kind) {
            let why = "must be charge_missing, charge_refunded, amount_differs, charge_found or other_charge";
            return Err(Unusable { field: "kind", why });
        }
        if amount < Decimal::ZERO || amount > Decimal::from(1_000_000_000_000_i64) {
            return Err(Unusable { field: "amount", why: "must be what stands at the gateway: 0 or more" });
        }
        if (amount > Decimal::ZERO) != charge_id.is_some() {
            return Err(Unusable {
                field: "charge_id",
                why: "goes with an amount that stands, and with no 0",
            });
        }
        if charge_id.as_deref().is_some_and(|id| !is_storable(id)) {
            let why = "must be given as the gateway shows it, in at most 255 characters";
            return Err(Unusable { field: "charge_id", why });
        }
        let reason = justification.reason().to_owned();
        Ok(Self { payment_id, kind: kind.to_owned(), amount, charge_id, reason, by })
    }
}

/// The result of proposing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposing {
    /// The proposal is this correction, which another person has to approve; also if it was proposed before.
    Open(i64),
    /// That correction of the payment has not ended.
    Another(i64),
    /// There is no such payment.
    NoSuchPayment,
    /// The payment is not over, and only what is over is corrected.
    UnderWay,
}

/// Proposes a correction of a payment that is over.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn propose(pool: &PgPool, proposal: &Proposal) -> sqlx::Result<Proposing> {
    let Proposal { payment_id, kind, amount, charge_id, reason, by } = proposal;
    let statement = sqlx::query!(
        "with target as materialized (select id, terminal_at is not null as is_over from payments
                                      where id = $1 and not from_balance),
         proposed as (
             insert into corrections (payment_id, kind, amount, charge_id, reason, proposed_by, proposed_with, proposed_key,
                                      proposed_at)
             select id, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() from target where is_over
                 on conflict (payment_id) where ended_at is null do nothing
             returning id)
         select (select id from proposed) as \"id?\", (select is_over from target) as \"is_over?\"",
        payment_id.uuid(),
        kind,
        amount,
        charge_id.as_deref(),
        reason,
        by.name,
        by.credential,
        by.key
    )
    .fetch_one(pool)
    .in_time();
    let proposed = durable("correction_propose", statement).await?;
    match (proposed.id, proposed.is_over) {
        (Some(id), _) => return Ok(Proposing::Open(id)),
        (None, None) => return Ok(Proposing::NoSuchPayment),
        (None, Some(false)) => return Ok(Proposing::UnderWay),
        (None, Some(true)) => {}
    }
    let open = sqlx::query!(
        "select id, kind = $2 and amount = $3 and charge_id is not distinct from $4 and reason = $5 and proposed_with = $6
                    as \"is_so!\"
           from corrections where payment_id = $1 order by id desc limit 1",
        payment_id.uuid(),
        kind,
        amount,
        charge_id.as_deref(),
        reason,
        by.credential
    )
    .fetch_one(pool)
    .in_time()
    .await?;
    Ok(if open.is_so { Proposing::Open(open.id) } else { Proposing::Another(open.id) })
}

/// The result of approving a correction, or of taking it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approving {
    /// It is done, now or before by the same person.
    Done,
    /// The person who proposed it cannot approve it, under any name.
    SamePerson,
    /// Another person has approved it, or it has ended.
    Otherwise,
    /// There is no correction of that number.
    NoSuchCorrection,
}

/// Approves a correction that another person proposed. From now on workers carry it out.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn approve(pool: &PgPool, id: i64, by: &Person) -> sqlx::Result<Approving> {
    let statement = sqlx::query!(
        "update corrections
            set approved_by = $2, approved_with = $3, approved_key = $4, approved_at = clock_timestamp()
          where id = $1 and ended_at is null and approved_at is null and proposed_with <> $3 and proposed_key <> $4",
        id,
        by.name,
        by.credential,
        by.key
    )
    .execute(pool)
    .in_time();
    if durable("correction_approve", statement).await?.rows_affected() == 1 {
        return Ok(Approving::Done);
    }
    let found = sqlx::query!(
        "select approved_with, proposed_with = $2 or proposed_key = $3 as \"is_proposer!\" from corrections where id = $1",
        id,
        by.credential,
        by.key
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(match found {
        None => Approving::NoSuchCorrection,
        Some(found) if found.is_proposer => Approving::SamePerson,
        Some(found) if found.approved_with.as_deref() == Some(by.credential.as_str()) => Approving::Done,
        Some(_) => Approving::Otherwise,
    })
}

/// Takes back a correction that has not ended, approved or not.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn withdraw_correction(
    pool: &PgPool,
    id: i64,
    justification: &Justification,
) -> sqlx::Result<Approving> {
    let statement = sqlx::query!(
        "update corrections
            set ended_at = clock_timestamp(), outcome = 'withdrawn', refusal = $2 || ': ' || $3
          where id = $1 and ended_at is null",
        id,
        justification.by(),
        justification.reason()
    )
    .execute(pool)
    .in_time();
    if durable("correction_withdraw", statement).await?.rows_affected() == 1 {
        return Ok(Approving::Done);
    }
    let outcome = sqlx::query_scalar!("select outcome from corrections where id = $1", id);
    Ok(match outcome.fetch_optional(pool).in_time().await? {
        None => Approving::NoSuchCorrection,
        Some(outcome) if outcome.as_deref() == Some("withdrawn") => Approving::Done,
        Some(_) => Approving::Otherwise,
    })
}

/// The right to look at the gateway once for a correction.
#[derive(Debug, Clone)]
pub struct Correcting {
    /// The correction that carries the claim.
    pub correction_id: i64,
    /// The token that fences the result.
    pub token: ClaimToken,
    /// The payment that is corrected.
    pub payment_id: PaymentId,
    /// What its charge must look like.
    pub expected: Expected,
    /// The correlation id that is passed on to the gateway and the logs.
    pub correlation_id: String,
    kind: String,
    amount: Decimal,
    charge_id: Option<String>,
    booked: Booked,
    journal: Option<Journal>,
    last_break: i64,
}

impl Correcting {
    /// The amount to post after this look.
    ///
    /// # Errors
    /// The sentence that tells the people who asked why nothing is posted.
    pub fn delta(&self, seen: &Seen) -> Result<Decimal, String> {
        let proposed =
            Proposed { kind: &self.kind, amount: self.amount, charge_id: self.charge_id.as_deref() };
        judge(proposed, &self.booked, seen, self.journal.as_ref())
    }
}

/// Whether there is anything to claim that this gateway can be asked about. Costs next to nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn correction_is_due(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<bool> {
    // Not joined: no plan may begin with the payments, of which there are many.
    sqlx::query_scalar!(
        "select exists (select from corrections c
                         where (select p.gateway from payments p where p.id = c.payment_id) = $1
                           and approved_at is not null and ended_at is null
                           and (c.due_at is null or c.due_at <= clock_timestamp())
                           and not exists (select from gateway_cursors g
                                            where g.gateway = $1 and g.whole_at < c.approved_at)) as \"is_due!\"",
        gateway.as_str()
    )
    .fetch_one(&mut *pool.lend().await?)
    .in_time()
    .await
}

/// Claims one correction that must be compared with this gateway, for `lease`; none if none is due.
///
/// # Errors
/// The database's error. If the claim was committed all the same, its lease runs out and a worker looks then.
pub async fn claim_correction(
    pool: &PgPool,
    gateway: &GatewayName,
    lease: Duration,
) -> sqlx::Result<Option<Correcting>> {
    let token = ClaimToken::generate();
    let lease = millis(lease);
    let statement =
        sqlx::query_file_as!(Row, "queries/correction_claim.sql", token.uuid(), lease, gateway.as_str());
    let row = durable("correction_claim", statement.fetch_optional(pool).in_time()).await?;
    row.map(|row| row.into_correcting(token)).transpose()
}

struct Row {
    id: i64,
    payment_id: Uuid,
    kind: String,
    amount: Decimal,
    charge_id: Option<String>,
    owed: Decimal,
    currency: String,
    correlation_id: String,
    gateway_key: Option<String>,
    booked: Decimal,
    booked_charge: Option<String>,
    may_be_charged: bool,
    has_journal: bool,
    standing: Value,
    effects: i64,
    is_other: bool,
    last_break: i64,
}

impl Row {
    fn into_correcting(self, token: ClaimToken) -> sqlx::Result<Correcting> {
        let currency: Currency = self.currency.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let money = Money::new(self.owed, currency).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let standing: Vec<(String, Decimal)> = serde_json::from_value::<Vec<(String, String)>>(self.standing)
            .map_err(|e| sqlx::Error::Decode(Box::new(e)))?
            .into_iter()
            .map(|(charge_id, net)| Ok((charge_id, net.parse()?)))
            .collect::<Result<_, rust_decimal::Error>>()
            .map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let journal = Journal { standing, was_charged: self.effects > 0, is_other: self.is_other };
        Ok(Correcting {
            correction_id: self.id,
            token,
            payment_id: self.payment_id.into(),
            expected: Expected {
                key: GatewayKey::of(self.gateway_key, self.payment_id.into()),
                payment_id: self.payment_id.into(),
                money,
            },
            correlation_id: self.correlation_id,
            kind: self.kind,
            amount: self.amount,
            charge_id: self.charge_id,
            booked: Booked {
                amount: self.booked,
                currency,
                charge_id: self.booked_charge,
                may_be_charged: self.may_be_charged,
            },
            journal: self.has_journal.then_some(journal),
            last_break: self.last_break,
        })
    }
}

/// The result of carrying out a correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Corrected {
    /// This amount is posted.
    Posted(Decimal),
    /// The correction is refused, in these words.
    Refused(String),
    /// Nothing is clear yet: a worker looks again.
    Again,
}

/// Writes down the result, and posts the amount if there is one. Answers false if the claim was gone before.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn record_correction(
    pool: &PgPool,
    correcting: &Correcting,
    (corrected, seen): (&Corrected, &Seen),
    evidence: &Value,
) -> sqlx::Result<bool> {
    let (outcome, refusal, delta) = match corrected {
        Corrected::Posted(delta) => (Some("posted"), None, Some(*delta)),
        Corrected::Refused(why) => (Some("refused"), Some(why), None),
        Corrected::Again => (None, None, None),
    };
    let statement = sqlx::query_file!(
        "queries/correction_record.sql",
        correcting.correction_id,
        correcting.token.uuid(),
        outcome,
        refusal,
        seen.as_str(),
        evidence,
        delta,
        AccountKind::GatewayClearing.as_str(),
        AccountKind::MerchantPayable.as_str(),
        correcting.last_break
    )
    .fetch_one(pool)
    .in_time();
    let recorded = durable("correction_record", statement).await?;
    Ok(recorded.took_effect || recorded.was_recorded)
}
