//! Refunds, returns and disputes as they stand: read alone.

use chrono::{DateTime, Utc};
use domain::ids::{MerchantId, PaymentId};
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::InTime as _;

/// A refund, return or dispute as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table `operations`, which explains them")]
pub struct Refund {
    pub id: Uuid,
    pub payment_id: Uuid,
    pub origin: String,
    pub amount: String,
    pub currency: String,
    pub reason: Option<String>,
    pub metadata: Value,
    pub created_at: DateTime<Utc>,
    pub status: String,
    pub held_reason: Option<String>,
    pub due_at: Option<DateTime<Utc>>,
    pub gateway_transaction_id: Option<String>,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub version: i32,
    pub updated_at: DateTime<Utc>,
    pub terminal_at: Option<DateTime<Utc>>,
}

/// Of which kind an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Money given back.
    Refund,
    /// Money that a bank took back.
    Return,
    /// A charge that its customer disputes.
    Dispute,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Return => "return",
            Self::Dispute => "dispute",
        }
    }
}

/// Which operations of a merchant are wanted.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// This one.
    One(Uuid),
    /// Those of this payment, newest first: at most so many, all older than this one.
    Of(PaymentId, Option<Uuid>, i64),
}

/// The operations of this kind that are wanted. Those of other merchants are not there.
///
/// # Errors
/// Returns the database's error.
pub async fn find(
    pool: &PgPool,
    merchant: MerchantId,
    kind: Kind,
    wanted: Wanted,
) -> sqlx::Result<Vec<Refund>> {
    let (id, payment, before, limit) = match wanted {
        Wanted::One(id) => (Some(id), None, None, 1),
        Wanted::Of(payment, before, limit) => (None, Some(payment.uuid()), before, limit),
    };
    sqlx::query_file_as!(
        Refund,
        "queries/operation_find.sql",
        merchant.uuid(),
        id,
        payment,
        before,
        limit,
        kind.as_str()
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// What was given back of a payment, of whatever merchant: refunds that are done, and that the gateway made
/// without us. Beside it, what is reserved for refunds under way. None if nobody ever asked for a refund.
///
/// # Errors
/// Returns the database's error.
pub async fn totals(pool: &PgPool, payment: PaymentId) -> sqlx::Result<Option<(Decimal, Decimal)>> {
    let totals = sqlx::query!(
        "select refunded + adopted as \"refunded!\", reserved from refund_totals where payment_id = $1",
        payment.uuid()
    );
    let totals = totals.fetch_optional(pool).in_time().await?;
    Ok(totals.map(|it| (it.refunded, it.reserved)))
}

/// A refund for people who operate Payonce, of whatever merchant.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `operations`, which explains them")]
pub struct Shown {
    pub id: Uuid,
    pub payment_id: Uuid,
    pub kind: String,
    pub origin: String,
    pub amount: Decimal,
    pub currency: String,
    pub status: String,
    pub held_reason: Option<String>,
    pub due_at: Option<DateTime<Utc>>,
    pub in_doubt: bool,
    pub gateway_transaction_id: Option<String>,
    pub failure_code: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// The refunds of a payment, oldest first, or all that are held.
///
/// # Errors
/// Returns the database's error.
pub async fn shown(pool: &PgPool, of: Option<PaymentId>) -> sqlx::Result<Vec<Shown>> {
    sqlx::query_as!(
        Shown,
        "select id, payment_id, kind, origin, amount, currency, status, held_reason, due_at, in_doubt, gateway_transaction_id,
                failure_code, created_at
           from operations
          where case when $1::uuid is null then held_reason is not null else payment_id = $1 end
          order by id
          limit 1000",
        of.map(PaymentId::uuid)
    )
    .fetch_all(pool)
    .in_time()
    .await
}
